"""What can be read from a state file: jobs, the log, the books, and what was remembered.

Beneath the store, which opens the file and writes it; a view is handed a connection, and only reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
import json
from pathlib import Path
import platform
import sqlite3
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from pydantic_core import from_json

from batchrunner import stateerrors, statefile, system
from batchrunner.core import job as machine, ledger, looks, lostlog, record
from batchrunner.core.assets import Key, Sent
from batchrunner.core.events import Event, Opened
from batchrunner.core.evidence import Baseline
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job
from batchrunner.core.ledger import Line
from batchrunner.core.lostlog import Lost
from batchrunner.core.retry import Instant
from batchrunner.core.totals import Totals
from batchrunner.errors import IllegalTransition


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run that held the state file; pid and host are for the person, not for any decision."""

    id: str
    started_at: Instant
    ended_at: Instant | None
    pid: int
    host: str

    @property
    def is_alive(self) -> bool | None:
        """Whether a process with its number lives; None where that cannot be told from here."""
        return system.is_alive(self.pid) if self.host == platform.node() else None

    @property
    def is_going_on(self) -> bool:
        """Whether it goes on, as far as can be told from here: it is not recorded as ended, and its process lives."""
        return self.ended_at is None and self.is_alive is not False


class Finished(NamedTuple):
    """A job that is done, as far as can be told without reading all of it.

    Attributes:
        output: where its result was to go.
        files: its files as they are recorded, path and bytes.
        group: of the renders that take alike, see `looks.group_of`.
        suspect: why its result may not be what was paid for.
    """

    id: str
    project_id: str | None
    charged: int | None
    output: str
    ended_at: Instant | None
    decided_at: Instant | None
    accepted_at: Instant | None
    rendered_at: Instant | None
    is_seen_late: bool
    group: str
    suspect: str | None
    files: tuple[tuple[str, int], ...]


_FINISHED: Final = """
SELECT id, project_id, charged, json_extract(
  body, '$.spec.output', '$.ended_at', '$.decided_at', '$.accepted_at', '$.rendered_at', '$.is_seen_late', '$.kind',
  '$.spec.model', '$.spec.seconds', '$.suspect', '$.outputs'
)
FROM job NOT INDEXED WHERE is_current = 1 AND state = 'done'
"""
"""A fifth of what it takes to read these jobs; in the order in which they lie in the file, since most are wanted."""


_MARK: Final = "attempt || ' ' || last_event || ' ' || checksum || ' ' || id"
"""What says of a row that it is the one that was read: two that agree in it have the same body. One text, since it is
made and looked up for each row of every reading."""

_OPENED: Final = "coalesce((SELECT seq FROM event WHERE event.job = job.id ORDER BY attempt, seq LIMIT 1), 0)"
"""When a job was first opened, by the number of that event; found by an index of these very columns."""

_READ: Final[WeakValueDictionary[tuple[str, str], Job]] = WeakValueDictionary()
"""Jobs that were read and are still held by somebody, by file and row. To read 100,000 takes seconds, and a run needs
them in several places: for the question, and for the plan under the lock."""


class View:
    """What can be read from a state file; also while a run is writing it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    def jobs(self) -> list[Job]:
        """The current attempt of every job, in the order in which they were first opened."""
        return self._as_opened("WHERE is_current = 1")

    def jobs_not_done(self, *more: str) -> list[Job]:
        """The current attempt of every job that is not done, and of these others, in the same order as `jobs`."""
        which = "WHERE is_current = 1 AND (state <> 'done' OR id IN (SELECT value FROM json_each(?)))"
        return self._as_opened(which, json.dumps(more))

    def finished(self) -> list[Finished]:
        """The jobs that are done."""
        jobs, job_id = [], ""
        try:
            for job_id, project, charged, said in self._rows(_FINISHED):
                (output, ended, decided, accepted, rendered, late, kind, model, seconds, suspect, outputs) = from_json(
                    said, cache_strings="keys"
                )
                request = "" if model is not None else self._request_of(job_id)
                group = looks.group_of_parts(kind, model, request, seconds)
                files = tuple([(each["path"], each["bytes"]) for each in outputs or ()])
                jobs.append(
                    Finished(
                        job_id,
                        project,
                        charged,
                        output,
                        ended,
                        decided,
                        accepted,
                        rendered,
                        bool(late),
                        group,
                        suspect,
                        files,
                    )
                )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise stateerrors.damaged(self.path, f"its jobs cannot be read: {job_id!r} makes no sense") from error
        return jobs

    def _request_of(self, job_id: str) -> str:
        """What a job asks for; apart from the rest, since only one that was recorded without its model is asked."""
        ((request,),) = self._rows(
            "SELECT json_extract(body, '$.spec.request') FROM job WHERE id = ? AND is_current = 1", job_id
        )
        return str(request)

    def all_attempts(self) -> list[Job]:
        """Every attempt of every job, the current ones last."""
        return self._jobs("ORDER BY is_current")

    def latest_attempts(self, most: int) -> list[Job]:
        """The attempts that the last events tell of, so many of these; the rest of the file is not read."""
        which = "WHERE (id, attempt) IN (SELECT job, attempt FROM event ORDER BY seq DESC LIMIT ?)"
        return self._jobs(which, most)

    def unsettled(self) -> list[Job]:
        """Every attempt that was submitted and is not done, and those that a person decided about."""
        is_open = "state NOT IN ('ready', 'uploaded', 'done')"
        return self._jobs(f"NOT INDEXED WHERE {is_open} OR json_extract(body, '$.decided_at') IS NOT NULL")

    def earlier(self) -> list[Job]:
        """The attempts that were followed by another, oldest first."""
        # Found by the index of the key alone: nearly always there are none, and the rows are long.
        return self._jobs(
            "WHERE id IN (SELECT id FROM job GROUP BY id HAVING count(*) > 1) AND is_current = 0 ORDER BY id, attempt"
        )

    def attempts(self, job_id: str) -> list[Job]:
        """Every attempt of one job, oldest first."""
        return self._jobs("WHERE id = ? ORDER BY attempt", job_id)

    def _as_opened(self, which: str, *values: str) -> list[Job]:
        """The attempts of some rows, in the order in which their jobs were first opened.

        Looked at in the order in which they lie in the file, since by an index each would be sought, and sorted here,
        since SQLite would sort all that is in them.
        """
        found = self._ranked(_OPENED, f"NOT INDEXED {which}", *values)
        found.sort(key=lambda each: (each[0], each[1].id))
        return [job for _, job in found]

    def _jobs(self, which: str, *values: str | int) -> list[Job]:
        """The attempts of some rows, in their order."""
        return [job for _, job in self._ranked("0", which, *values)]

    def _ranked(self, rank: str, which: str, *values: str | int) -> list[tuple[int, Job]]:
        """The attempts of some rows, each with its rank; those that somebody holds are not read again."""
        if not _READ:
            return self._read(rank, which, *values)
        name = str(self.path)  # a text, since two paths take long to be compared
        rows = self._rows(f"SELECT {rank}, {_MARK} FROM job {which}", *values)  # noqa: S608 - ours
        held = [(place, _READ.get((name, mark))) for place, mark in rows]
        ranked = [(place, job) for place, job in held if job is not None]
        return ranked if len(ranked) == len(held) else self._read(rank, which, *values)

    def _read(self, rank: str, which: str, *values: str | int) -> list[tuple[int, Job]]:
        # With their marks, once more or not, so that each is read as of the moment of its mark.
        name, query = str(self.path), f"SELECT {rank}, {_MARK}, body FROM job {which}"  # noqa: S608 - ours
        with stateerrors.translated(self.path), closing(self._db.execute(query, values)) as rows:
            # One after the other, since all bodies at once are half of the memory. Closed also where one is damaged:
            # as long as a reading is open, the log cannot be copied back.
            return [(place, self._job((name, mark), body)) for place, mark, body in rows]

    def _job(self, key: tuple[str, str], body: str) -> Job:
        held = _READ.get(key)
        if held is not None:
            return held
        try:
            job = record.job_from_text(body)
        except ValueError as error:
            raise stateerrors.damaged(self.path, f"its jobs cannot be read: {error}") from error
        _READ[key] = job
        return job

    def events(self, job_id: str | None = None) -> Iterator[tuple[str, int, Event]]:
        """The log, oldest first: job id, attempt and event; of one job or of all."""
        return (each for _, each in self._log(job_id))

    def history(self, job_id: str) -> Iterator[tuple[str, Event, Job]]:
        """All that happened to a job, oldest first: the run it happened in, the event, and the job after it."""
        log = list(self._log(job_id))
        try:
            for (run, _), (_, after, event) in zip(log, machine.replay_all(each for _, each in log), strict=True):
                yield run, event, after
        except IllegalTransition as error:
            raise stateerrors.impossible(self.path, error) from error

    def _log(self, job_id: str | None) -> Iterator[tuple[str, tuple[str, int, Event]]]:
        """The log with the run in which each event happened; "" where that is not known."""
        query = "SELECT run, job, attempt, type, version, body FROM event"
        rows = (
            self._rows(f"{query} ORDER BY seq")
            if job_id is None
            else self._rows(f"{query} WHERE job = ? ORDER BY seq", job_id)
        )
        for run, owner, attempt, kind, version, body in rows:
            try:
                event = record.event_from_text(kind, version, body)
            except ValueError as error:
                raise stateerrors.damaged(self.path, f"its log cannot be read: {error}, of {owner!r}") from error
            if isinstance(event, Opened) and (event.id, event.attempt) != (owner, attempt):
                raise stateerrors.damaged(self.path, f"an event of {owner!r} in its log is about {event.id!r}")
            yield run or "", (owner, attempt, event)

    def news(self, after: int, *, most: int = 5000) -> list[tuple[int, str, int, Event]]:
        """What the log has after an event's number, oldest first: number, job id, attempt and event.

        Costs what it gives: the rest of the log is not read.
        """
        rows = self._rows(
            "SELECT seq, job, attempt, type, version, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?", after, most
        )
        try:
            return [
                (seq, job, attempt, record.event_from_text(kind, version, body))
                for seq, job, attempt, kind, version, body in rows
            ]
        except ValueError as error:
            raise stateerrors.damaged(self.path, f"its log cannot be read: {error}") from error

    def last_event(self) -> int:
        """The number of the last event in the log; 0 where there is none."""
        ((seq,),) = self._rows("SELECT coalesce(max(seq), 0) FROM event")
        return int(seq)

    def book(self) -> list[Line]:
        """Every movement of credits that the log tells of, oldest first."""
        try:
            return list(ledger.lines(self.events()))
        except IllegalTransition as error:
            raise stateerrors.impossible(self.path, error) from error

    def ledger(self) -> int:
        """Credits charged, as last seen, over every attempt ever made; refunds are already out of it."""
        ((total,),) = self._rows("SELECT coalesce(sum(charged), 0) FROM job")
        return int(total)

    def totals(self) -> Totals:
        """Credits over every attempt ever made."""
        ((held, charged, refunded, unknown),) = self._rows(
            "SELECT coalesce(sum(held), 0) + coalesce(sum(json_extract(body, '$.charged_first')), 0),"
            " coalesce(sum(charged), 0),"
            " coalesce(sum(json_extract(body, '$.returned')), 0),"
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

    @property
    def is_in_use(self) -> bool:
        """Whether a run has the file open, or had and was cut short."""
        return self.fact(statefile.IN_USE) is not None

    def lost_log(self) -> Lost | None:
        """What may have happened in a log that was accepted as lost; None where none was."""
        text = self.fact(lostlog.FACT)
        try:
            return None if text is None else lostlog.from_text(text)
        except ValueError as error:
            raise stateerrors.damaged(self.path, f"its note of a lost log cannot be read: {error}") from error

    def last_run(self) -> RunRecord | None:
        """The run that wrote to the file last, whether or not it has ended."""
        rows = self._rows("SELECT id, started_at, ended_at, pid, host FROM run ORDER BY rowid DESC LIMIT 1")
        return next(
            (
                RunRecord(id=run, started_at=started, ended_at=ended, pid=pid, host=host)
                for run, started, ended, pid, host in rows
            ),
            None,
        )

    def first_run(self) -> str | None:
        """The id of the very first run on record, which every copy of the file has in common."""
        return next((run for (run,) in self._rows("SELECT id FROM run ORDER BY rowid LIMIT 1")), None)

    def has_run(self, run_id: str) -> bool:
        """Whether a run is on record."""
        return bool(self._rows("SELECT 1 FROM run WHERE id = ?", run_id))

    def reached(self) -> tuple[str, int] | None:
        """The run that began last, and the number of the last event; None before the first run."""
        last = "SELECT id, (SELECT coalesce(max(seq), 0) FROM event) FROM run ORDER BY rowid DESC LIMIT 1"
        return next(((run, int(events)) for run, events in self._rows(last)), None)

    def learned(self, name: str) -> dict[str, Any] | None:
        """What an earlier run remembered under a name; None where it remembered nothing that can be read."""
        for (body,) in self._rows("SELECT body FROM learned WHERE name = ?", name):
            with suppress(ValueError, RecursionError):
                value = json.loads(body)
                return value if isinstance(value, dict) else None
        return None

    def files(self) -> dict[str, Inspected]:
        """What is remembered of local files, by path; what cannot be read is found out again."""
        files: dict[str, Inspected] = {}
        for path, size, modified, sha, text in self._rows("SELECT path, size, modified_ns, sha256, facts FROM file"):
            with suppress(ValueError):
                facts = record.facts_from_text(text)
                files[path] = Inspected(path=path, size=size, modified_ns=modified, sha256=sha, facts=facts)
        return files

    def uploads(self) -> dict[Key, Sent]:
        """What the provider was sent of our inputs, by content; what it has deleted since included."""
        rows = self._rows("SELECT sha256, media, extension, file_path, sent_at FROM upload")
        return {
            Key(sha256=sha, media=media, extension=extension): Sent(file_path=file_path, sent_at=sent_at)
            for sha, media, extension, file_path, sent_at in rows
        }

    def _rows(self, query: str, *values: str | float | None) -> list[tuple]:  # type: ignore[type-arg]
        with stateerrors.translated(self.path):
            return self._db.execute(query, values).fetchall()
