"""The state file: an append-only log of events and a snapshot of every job, in one SQLite database.

The only module that knows SQLite. One process writes (a kernel lock sees to that, and dies with its owner), through
one connection on one thread; readers open the file read-only while a run goes on. Events that arrive together are
committed together, with full sync: when `append` returns, they survive a power cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
import json
import os
from pathlib import Path
import platform
import sqlite3
from types import TracebackType
from typing import Any, Self
import urllib.parse

from filelock import FileLock, Timeout

from batchrunner import __version__
from batchrunner.core import record
from batchrunner.core.events import Event, Opened
from batchrunner.core.evidence import Baseline
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job
from batchrunner.core.retry import Instant
from batchrunner.errors import StateLocked, StateUnusable

APPLICATION_ID = 0x62726E31
"""Marks the file as ours ("brn1"), so that another program's database is never taken for a state file."""

Entry = tuple[Event, Job]
"""An event and the job as it is after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Credits over every attempt: first charged, charged now, given back; and attempts whose charge was never told."""

    held: int = 0
    charged: int = 0
    refunded: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run that held the state file; pid and host are for the person, not for any decision."""

    id: str
    started_at: Instant
    ended_at: Instant | None
    pid: int
    host: str


class View:
    """What can be read from a state file; also while a run is writing it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    def jobs(self) -> list[Job]:
        """The current attempt of every job, in the order in which they were first opened."""
        rows = self._rows(
            "SELECT body FROM job WHERE is_current = 1"
            " ORDER BY (SELECT min(seq) FROM event WHERE event.job = job.id), id"
        )
        return [_job(self.path, body) for (body,) in rows]

    def all_attempts(self) -> list[Job]:
        """Every attempt of every job, the current ones last."""
        return [_job(self.path, body) for (body,) in self._rows("SELECT body FROM job ORDER BY is_current")]

    def attempts(self, job_id: str) -> list[Job]:
        """Every attempt of one job, oldest first."""
        rows = self._rows("SELECT body FROM job WHERE id = ? ORDER BY attempt", job_id)
        return [_job(self.path, body) for (body,) in rows]

    def events(self, job_id: str | None = None) -> Iterator[tuple[str, int, Event]]:
        """The log, oldest first: job id, attempt and event; of one job or of all."""
        query = "SELECT job, attempt, type, version, body FROM event"
        rows = (
            self._rows(f"{query} ORDER BY seq")
            if job_id is None
            else self._rows(f"{query} WHERE job = ? ORDER BY seq", job_id)
        )
        for owner, attempt, kind, version, body in rows:
            try:
                yield owner, attempt, record.event_from_text(kind, version, body)
            except ValueError as error:
                raise _unusable(self.path, f"the log cannot be read: {error}") from error

    def ledger(self) -> int:
        """Credits charged, as last seen, over every attempt ever made; refunds are already out of it."""
        ((total,),) = self._rows("SELECT coalesce(sum(charged), 0) FROM job")
        return int(total)

    def totals(self) -> Totals:
        """Credits over every attempt ever made."""
        ((held, charged, refunded, unknown),) = self._rows(
            "SELECT coalesce(sum(held), 0), coalesce(sum(charged), 0),"
            " coalesce(sum(CASE WHEN state IN ('failed', 'canceled') AND held > charged THEN held - charged END), 0),"
            " coalesce(sum(project_id IS NOT NULL AND charged IS NULL), 0) FROM job"
        )
        return Totals(held=held, charged=charged, refunded=refunded, unknown=unknown)

    def baselines(self) -> list[Baseline]:
        """The quiet moments at which the balance was read, oldest first."""
        rows = self._rows("SELECT at, credits, ledger FROM baseline ORDER BY seq")
        return [Baseline(at=at, credits=credits, ledger=ledger) for at, credits, ledger in rows]

    def baseline(self) -> Baseline | None:
        """The last quiet moment at which the balance was read."""
        rows = self._rows("SELECT at, credits, ledger FROM baseline ORDER BY seq DESC LIMIT 1")
        return next((Baseline(at=at, credits=credits, ledger=ledger) for at, credits, ledger in rows), None)

    def balance_moves(self) -> bool:
        """Whether this account's balance was ever known to follow charges."""
        ((moves,),) = self._rows("SELECT coalesce(max(moves), 0) FROM baseline")
        return bool(moves)

    def fact(self, name: str) -> str | None:
        """What the file as a whole belongs to (`provider`, `account`); None where it was never noted."""
        rows = self._rows("SELECT value FROM fact WHERE name = ?", name)
        return next((value for (value,) in rows), None)

    def last_run(self) -> RunRecord | None:
        """The run that wrote to the file last, whether or not it has ended."""
        rows = self._rows("SELECT id, started_at, ended_at, pid, host FROM run ORDER BY started_at DESC LIMIT 1")
        return next(
            (
                RunRecord(id=run, started_at=started, ended_at=ended, pid=pid, host=host)
                for run, started, ended, pid, host in rows
            ),
            None,
        )

    def learned(self, name: str) -> Any:
        """What an earlier run remembered under a name, from JSON; None where it remembered nothing."""
        for (body,) in self._rows("SELECT body FROM learned WHERE name = ?", name):
            with suppress(ValueError):
                return json.loads(body)
        return None

    def files(self) -> dict[str, Inspected]:
        """What is remembered of local files, by path."""
        rows = self._rows("SELECT path, size, modified_ns, sha256, facts FROM file")
        return {
            path: Inspected(path=path, size=size, modified_ns=modified, sha256=sha, facts=record.facts_from_text(facts))
            for path, size, modified, sha, facts in rows
        }

    def _rows(self, query: str, *values: str | float | None) -> list[tuple]:  # type: ignore[type-arg]
        with _translated(self.path):
            return self._db.execute(query, values).fetchall()


class Store(View):
    """The state file of a run: its only writer."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: FileLock, run_id: str) -> None:
        super().__init__(path, connection)
        self._lock = lock
        self._run = run_id
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")

    async def append(self, entries: Sequence[Entry]) -> None:
        """Put events and the jobs they led to on disk, in one transaction; durable when it returns."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self.append_now, entries)

    def append_now(self, entries: Sequence[Entry]) -> None:
        """As `append`, for callers without an event loop."""
        events = [
            (job.id, job.attempt, type(event).__name__, record.EVENT_VERSION, event.at, self._run, text)
            for event, job in entries
            for text in (record.event_to_text(event),)
        ]
        # Only the last state of a job is kept; a new attempt closes the one before.
        opened = [(job.id, job.attempt) for event, job in entries if isinstance(event, Opened)]
        snapshots = {(job.id, job.attempt): job for _, job in entries}
        newest = {job.id: job.attempt for job in snapshots.values()}
        rows = [
            (
                job.id,
                job.attempt,
                int(job.attempt == newest[job.id]),
                job.state,
                job.project_id,
                job.held,
                job.charged,
                job.updated_at,
                text,
            )
            for job in snapshots.values()
            for text in (record.job_to_text(job),)
        ]
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO event (job, attempt, type, version, at, run, body) VALUES (?, ?, ?, ?, ?, ?, ?)", events
            )
            db.executemany("UPDATE job SET is_current = 0 WHERE id = ? AND attempt < ?", opened)
            db.executemany(
                "INSERT INTO job (id, attempt, is_current, state, project_id, held, charged, updated_at, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id, attempt) DO UPDATE SET state = excluded.state, project_id = excluded.project_id,"
                " held = excluded.held, charged = excluded.charged, updated_at = excluded.updated_at,"
                " body = excluded.body",
                rows,
            )

    async def add_baseline(self, baseline: Baseline, *, moves: bool) -> None:
        """Remember a quiet moment; `moves` when the balance is known to follow charges on this account."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, lambda: self.add_baseline_now(baseline, moves=moves))

    def add_baseline_now(self, baseline: Baseline, *, moves: bool) -> None:
        """As `add_baseline`, for callers without an event loop."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO baseline (at, credits, ledger, moves) VALUES (?, ?, ?, ?)",
                (baseline.at, baseline.credits, baseline.ledger, int(moves)),
            )

    async def learn(self, name: str, value: Mapping[str, Any] | None) -> None:
        """Remember what is worth knowing the next time, in place of what was remembered under that name."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self._learn, name, json.dumps(value))

    def _learn(self, name: str, body: str) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO learned (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                (name, body),
            )

    def note_fact(self, name: str, value: str) -> None:
        """Note what the file as a whole belongs to."""
        with self._transaction() as db:
            db.execute("INSERT INTO fact (name, value) VALUES (?, ?)", (name, value))

    def remember_files(self, files: Iterable[Inspected]) -> None:
        """Keep what local files contained, so that they need not be read again while they stay as they are."""
        rows = [(f.path, f.size, f.modified_ns, f.sha256, record.facts_to_text(f.facts)) for f in files]
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO file (path, size, modified_ns, sha256, facts) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (path) DO UPDATE SET size = excluded.size, modified_ns = excluded.modified_ns,"
                " sha256 = excluded.sha256, facts = excluded.facts",
                rows,
            )

    def end_run(self, *, at: Instant, exit_code: int) -> None:
        """Note how the run ended; for the person who looks at the file later."""
        with self._transaction() as db:
            db.execute("UPDATE run SET ended_at = ?, exit_code = ? WHERE id = ?", (at, exit_code, self._run))

    def close(self) -> None:
        """Finish what is being written, close the file and let go of the lock."""
        self._writer.shutdown(wait=True)
        with suppress(sqlite3.Error):
            self._db.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_fence(self) -> None:
        """Whether this is still the run that holds the file: a lock can be deleted, or not work on a network's disk.

        Raises:
            StateLocked: another run has begun since.
        """
        (newest,) = self._db.execute("SELECT id FROM run ORDER BY rowid DESC LIMIT 1").fetchone()
        if newest != self._run:
            raise _locked(self.path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check_fence()
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def path_for(manifest: Path) -> Path:
    """The state file that belongs to a manifest: beside it, `<stem>.state.db`; beside the file, not a link to it."""
    real = manifest.resolve()
    return real.with_name(f"{real.stem}.state.db")


def open_for_run(path: Path, *, run_id: str, now: Instant) -> Store:
    """The state file at `path`, locked for one run; created when missing, migrated when old.

    Raises:
        StateLocked: another run holds it.
        StateUnusable: it is damaged, not ours, of a newer version, or its folder cannot be written.
    """
    path = path.resolve()  # one lock, whatever name the file is reached by
    lock = FileLock(_lock_path(path), mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _locked(path) from None
    except OSError as error:
        raise StateUnusable(f"cannot write beside {path}: {error.strerror or error}") from error
    try:
        connection = _connect_to_write(path)
        with _translated(path):
            connection.execute(
                "INSERT INTO run (id, started_at, pid, host, version) VALUES (?, ?, ?, ?, ?)",
                (run_id, now, os.getpid(), platform.node(), __version__),
            )
    except BaseException:
        lock.release()
        raise
    return Store(path, connection, lock, run_id)


@contextmanager
def open_to_read(path: Path) -> Iterator[View | None]:
    """What is in the state file at `path`, without a lock and without changing it; None when there is no file.

    Raises:
        StateUnusable: it is damaged, not ours, or of a newer version.
    """
    path = path.resolve()
    if not path.exists():
        _refuse_orphan(path)
        yield None
        return
    _undo_creation(path)
    with _translated(path):
        connection = sqlite3.connect(_uri(path, _reading_mode(path)), uri=True, isolation_level=None, timeout=10)
    try:
        with _translated(path):
            connection.execute("PRAGMA query_only = ON")
            version = _check_is_ours(path, connection)
        # A file that another process has created but not yet filled is as good as none.
        yield View(path, connection) if version else None
    finally:
        connection.close()


def _connect_to_write(path: Path) -> sqlite3.Connection:
    _refuse_orphan(path)
    _create_private(path)
    with _translated(path):
        connection = sqlite3.connect(
            _uri(path, "rwc"), uri=True, isolation_level=None, check_same_thread=False, timeout=10
        )
    try:
        with _translated(path):
            _check_is_ours(path, connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection)
            # What earlier runs committed goes into the main file, so that it says so even if it is moved alone.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_is_ours(path: Path, connection: sqlite3.Connection) -> int:
    """The file's version; 0 for a file that has no content yet."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION_ID and (owner or version or tables):
        raise _unusable(path, "it is a database of another program")
    newest = len(_migrations())
    if version > newest:
        raise StateUnusable(
            f"{path} was written by a newer version of batchrunner (state version {version}, this one knows {newest})",
            hint="upgrade batchrunner, or name another file with --state",
        )
    return int(version)


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version; each step and its version number are one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(_migrations(), start=1):
        if number > version:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\n"
                f"PRAGMA user_version = {number};\nCOMMIT;"
            )


@cache
def _migrations() -> tuple[str, ...]:
    """The migration scripts in order; the first leads to version 1."""
    folder = resources.files("batchrunner.data") / "migrations"
    scripts = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return tuple(script.read_text(encoding="utf-8") for script in scripts)


def _undo_creation(path: Path) -> None:
    """Take back a creation that was killed half-way: a connection that only reads may not, and could open nothing."""
    if path.with_name(f"{path.name}-journal").exists() and os.access(path.parent, os.W_OK):
        with _translated(path), closing(sqlite3.connect(_uri(path, "rw"), uri=True, timeout=10)) as connection:
            connection.execute("PRAGMA user_version").fetchone()


def _reading_mode(path: Path) -> str:
    """How to open the file for reading; in a folder that cannot be written, as a file that nobody is writing."""
    has_log = path.with_name(f"{path.name}-wal").exists()
    return "ro" if has_log or os.access(path.parent, os.W_OK) else "ro&immutable=1"


def _refuse_orphan(path: Path) -> None:
    """Refuse to begin anew where the main file is missing and its log is not: submissions may stand in the log."""
    log = path.with_name(f"{path.name}-wal")
    if not path.exists() and log.exists() and log.stat().st_size:
        raise StateUnusable(
            f"{path} is missing, but {log.name} is there",
            hint="the two belong together, with the file that ends in -shm: bring back the one that was moved",
        )


def _create_private(path: Path) -> None:
    """Make an empty file that only its owner may read, where there is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StateUnusable(f"cannot write the state file {path}: {error.strerror or error}") from error


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _uri(path: Path, mode: str) -> str:
    return f"file:{urllib.parse.quote(str(path.resolve()))}?mode={mode}"


def _locked(path: Path) -> StateLocked:
    """Who holds the state file, as far as it says."""
    holder = None
    with suppress(StateUnusable), open_to_read(path) as view:
        holder = view.last_run() if view else None
    who = f" (pid {holder.pid} on {holder.host})" if holder and holder.ended_at is None else ""
    return StateLocked(
        f"{path} is in use by another run{who}",
        hint="wait for it or stop it; `batchrunner status` shows how far it is. The lock ends with its process.",
    )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _unusable(path, str(error)) from error


def _unusable(path: Path, reason: str) -> StateUnusable:
    return StateUnusable(
        f"the state file {path} cannot be used: {reason}",
        hint="keep a copy of it; it is the only record of what was paid for",
    )


def _job(path: Path, body: str) -> Job:
    try:
        return record.job_from_text(body)
    except ValueError as error:
        raise _unusable(path, f"a job in it cannot be read: {error}") from error
