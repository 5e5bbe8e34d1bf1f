"""The state file: an append-only log of events and a snapshot of every job, in one SQLite database.

The only module that knows SQLite. One process writes (a kernel lock sees to that, and dies with its owner), through
one connection on one thread; readers open the file read-only while a run goes on. Events that arrive together are
committed together, with full sync: when `append` returns, they survive a power cut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
import json
import os
from pathlib import Path
import platform
import sqlite3
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from batchrunner import __version__, snapshots, stateerrors, statefile, statelock, stateread
from batchrunner.core import lostlog, record, totals
from batchrunner.core.assets import Key, Sent
from batchrunner.core.events import Accepted, Adopted, Event, Opened, Resolved, SubmitStarted
from batchrunner.core.evidence import Quiet
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job
from batchrunner.core.lostlog import Lost
from batchrunner.core.retry import Instant
from batchrunner.errors import StateLocked, StateUnusable
from batchrunner.stateview import View

if TYPE_CHECKING:
    from filelock import FileLock

Entry = tuple[Event, Job]
"""An event and the job as it is after it."""

open_to_read = stateread.open_to_read
path_for = statefile.path_for
written_at = statefile.written_at

Totals = totals.Totals
totals_of = totals.totals_of

Told = Callable[[Sequence[Entry]], None]
"""Told of events that are on disk, all of one transaction at once, on the thread that wrote them; must not raise."""


PAID = SubmitStarted | Accepted | Adopted | Resolved
"""Events that must not be lost with a log that is cut or damaged: they are copied into the main file at once.

SQLite takes a damaged log for one that ends before the damage, and says nothing. What stood behind it would be bought
again; so nothing paid for stands in the log alone.
"""


class Store(View):
    """The state file of a run: its only writer."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: FileLock, run_id: str, *, told: Told | None = None
    ) -> None:
        super().__init__(path, connection)
        self._lock = lock
        self._run = run_id
        self._told = told
        self._identity = _identity(path)
        self._beside: deque[tuple[str, tuple[str | float, ...]]] = deque()
        self._taken: list[tuple[str, tuple[str | float, ...]]] = []
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")

    def append(self, entries: Sequence[Entry], *, quiet: Quiet | None = None) -> asyncio.Future[None]:
        """Put events and the jobs they led to on disk, and a quiet moment, in one transaction; durable when it is over.

        No coroutine: whoever must see it to its end would need a task for it.
        """
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._writer, lambda: self.append_now(entries, quiet=quiet))

    def append_now(self, entries: Sequence[Entry], *, quiet: Quiet | None = None) -> None:
        """As `append`, for callers without an event loop."""
        events = [
            (job.id, job.attempt, type(event).__name__, record.EVENT_VERSION, event.at, self._run, text)
            for event, job in entries
            for text in (record.event_to_text(event),)
        ]
        # Only the last state of a job is kept; a new attempt closes the one before.
        opened = [(job.id, job.attempt) for event, job in entries if isinstance(event, Opened)]
        latest = {(job.id, job.attempt): (number, job) for number, (_, job) in enumerate(entries, start=1)}
        newest = dict(latest.keys())  # of each job, the attempt that comes last
        with self._taking_along(), self._transaction() as db:
            self._put_beside(db)
            ((before,),) = db.execute("SELECT coalesce(max(seq), 0) FROM event")
            db.executemany(
                "INSERT INTO event (seq, job, attempt, type, version, at, run, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(seq, *event) for seq, event in enumerate(events, start=before + 1)],
            )
            db.executemany(snapshots.CLOSE_EARLIER, opened)
            db.executemany(
                snapshots.PUT,
                [
                    snapshots.row(job, is_current=job.attempt == newest[job.id], last_event=before + number)
                    for number, job in latest.values()
                ],
            )
            if quiet is not None:
                base = quiet.baseline
                db.execute(
                    "INSERT INTO baseline (at, credits, ledger, moves) VALUES (?, ?, ?, ?)",
                    (base.at, base.credits, base.ledger, int(quiet.moves)),
                )
        if any(isinstance(event, PAID) for event, _ in entries):
            with stateerrors.translated(self.path):
                statefile.copy_back(self._db)
        if self._told is not None:
            self._told(entries)

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

    def note_upload(self, key: Key, sent: Sent) -> None:
        """Have noted, with what is written next, where the provider put some content, in place of an earlier upload."""
        self._beside.append(
            (
                "INSERT OR REPLACE INTO upload (sha256, media, extension, file_path, sent_at) VALUES (?, ?, ?, ?, ?)",
                (key.sha256, key.media, key.extension, sent.file_path, sent.sent_at),
            )
        )

    async def forget_upload(self, key: Key, sent: Sent) -> None:
        """Rely no longer on an upload; another one of the same content stays. Durable when it returns."""
        self._beside.append(
            (
                "DELETE FROM upload WHERE sha256 = ? AND media = ? AND extension = ? AND file_path = ?",
                (key.sha256, key.media, key.extension, sent.file_path),
            )
        )
        await self.settle()

    async def settle(self) -> None:
        """Return when what was noted is on disk."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write_beside)

    def _write_beside(self) -> None:
        if self._beside:  # else a transaction that came meanwhile has taken it along
            with self._taking_along(), self._transaction() as db:
                self._put_beside(db)

    def _put_beside(self, db: sqlite3.Connection) -> None:
        """Write what waits to be written, in a transaction that is not its own."""
        while self._beside:
            each = self._beside.popleft()
            self._taken.append(each)
            db.execute(*each)

    @contextmanager
    def _taking_along(self) -> Iterator[None]:
        """Around a transaction that takes along what waits: if nothing comes of it, that waits again."""
        self._taken.clear()
        try:
            yield
        except BaseException:
            self._beside.extendleft(reversed(self._taken))
            raise
        finally:
            self._taken.clear()

    def note_fact(self, name: str, value: str) -> None:
        """Note what the file as a whole belongs to."""
        with self._transaction() as db:
            db.execute("INSERT INTO fact (name, value) VALUES (?, ?)", (name, value))

    def note_lost_log(self, lost: Lost) -> None:
        """Note what is still to be judged of a lost log, in place of what was."""
        with self._transaction() as db:
            db.execute("UPDATE fact SET value = ? WHERE name = ?", (lostlog.to_text(lost), lostlog.FACT))

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
        with suppress(StateUnusable, StateLocked):  # what is lost with it is sent once more
            self._write_beside()
        statefile.close(self.path, self._db)
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
            StateUnusable: the file was moved or deleted: what is written to it now, nobody would find.
        """
        if _identity(self.path) != self._identity:
            raise StateUnusable(
                f"the state file {self.path} was moved or deleted while the run was using it",
                hint="bring it back, with its -wal and -shm, and run again; what was bought until now stands in it",
            )
        (newest,) = self._db.execute("SELECT id FROM run ORDER BY rowid DESC LIMIT 1").fetchone()
        if newest != self._run:
            raise locked(self.path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with stateerrors.translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check_fence()
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands under a name now; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_for_run(path: Path, *, run_id: str, now: Instant, told: Told | None = None) -> Store:
    """The state file at `path`, locked for one run; created when missing, migrated when old.

    Raises:
        StateLocked: another run holds it.
        StateUnusable: it is damaged, not ours, of a newer version, or its folder cannot be written.
    """
    path = path.resolve()  # one lock, whatever name the file is reached by
    lock = statelock.take_lock(path)
    if lock is None:
        raise locked(path)
    try:
        wrong: list[str] = []
        connection = statefile.connect_to_write(path, meanwhile=lambda db: wrong.extend(snapshots.unlike_the_log(db)))
        try:
            stateread.refuse_other_snapshots(path, wrong)
            with stateerrors.translated(path):
                _note_run(connection, run_id, now)
        except BaseException:
            statefile.close(path, connection)
            raise
    except BaseException:
        lock.release()
        raise
    return Store(path, connection, lock, run_id, told=told)


def _note_run(connection: sqlite3.Connection, run_id: str, now: Instant) -> None:
    """Note who is at work, in the main file too: it then tells that it lacks its log, if it is copied alone."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO run (id, started_at, pid, host, version) VALUES (?, ?, ?, ?, ?)",
        (run_id, now, os.getpid(), platform.node(), __version__),
    )
    connection.execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", (statefile.IN_USE, run_id))
    connection.execute("COMMIT")
    statefile.copy_back(connection)


def locked(path: Path) -> StateLocked:
    """Who holds the state file, as far as it says."""
    holder = None
    with suppress(StateUnusable), open_to_read(path) as view:
        holder = view.last_run() if view else None
    who = f" (pid {holder.pid} on {holder.host})" if holder and holder.ended_at is None else ""
    return StateLocked(
        f"{path} is in use by another run{who}",
        hint="wait for it or stop it; `batchrunner status MANIFEST` shows how far it is. The lock ends with its"
        " process.",
    )
