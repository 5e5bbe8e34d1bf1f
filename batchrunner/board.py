"""A batch as it is followed from outside: read once, then kept in step with what the log has since; the composition.

Whoever asks pays for what happened since the last time, and not for the number of jobs: while nothing was written, two
files are looked at and none is opened. No connection stays open between two looks, so that a reader is in nobody's way.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
import math
from pathlib import Path
import threading
import time
from typing import Any, Final

from batchrunner import foresight, present, statefile, store
from batchrunner.batch import Batch
from batchrunner.core import awaited, budget, totals
from batchrunner.core.events import Event
from batchrunner.core.forecast import Forecast
from batchrunner.core.job import FINAL, Job
from batchrunner.core.retry import Instant
from batchrunner.core.selection import OPEN
from batchrunner.core.totals import Totals
from batchrunner.errors import StateUnusable
from batchrunner.present import Now
from batchrunner.stateview import RunRecord, View

LOOK_S: Final = 0.5
"""Seconds between two looks at the files, however many ask."""

UNSEEN_S: Final = 10.0
"""After so long they are opened even where they look unchanged: a run that was killed writes nothing more."""

LOGGED: Final = 500
"""Lines of the log that are kept."""

MOST_DIGITS: Final = 19
PATIENCE_S: Final = 0.3
"""Seconds to wait for a state file that somebody has for himself: a page of many does not stand still for one."""

MOST_CHANGES: Final = 5000
"""Changes that are kept for whoever was away for a while; who was away for longer begins anew."""

FORECAST_S: Final = 30.0
"""Between two forecasts of when it will be over: each plays the whole queue."""

_WAL_ENDS: Final = ("", "-wal")

Words = Callable[[Event, Job], str | None]
"""An event as a person would tell it; None for what is not worth a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the log."""

    seq: int
    at: Instant
    job: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A batch in figures, which are those of `status`.

    Attributes:
        reserved: credits that the caps count beside what is charged, since a charge is not told yet, or not final.
        cap: of the manifest's budget, in credits.
        suspects: finished jobs whose result is in doubt.
        forecast: when it will be over; None where nothing goes on, or there is nothing to go by.
        pauses: what waits for another time, and why, by step.
        trouble: why the state file cannot be read, if so.
    """

    jobs: int = 0
    by_state: Mapping[str, int] = field(default_factory=dict)
    estimated: int = 0
    totals: Totals = field(default_factory=Totals)
    reserved: int = 0
    cap: int | None = None
    suspects: int = 0
    forecast: Forecast | None = None
    run: RunRecord | None = None
    now: Now | None = None
    pauses: Mapping[str, str] = field(default_factory=dict)
    trouble: str | None = None

    @property
    def over(self) -> int:
        """Jobs that are done, failed or canceled."""
        return sum(self.by_state.get(str(state), 0) for state in FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is new since a mark.

    Attributes:
        mark: to ask with the next time.
        is_all: whether it has everything, since too much happened since, or the file is another.
        jobs: those that changed, with their numbers.
        lines: of the log.
    """

    mark: str
    is_all: bool
    jobs: tuple[tuple[int, Job], ...]
    lines: tuple[Line, ...]
    summary: Summary


@dataclass(slots=True)
class _Sums:
    """Sums over attempts, kept by what changed."""

    totals: Totals = field(default_factory=Totals)
    reserved: int = 0

    def count(self, job: Job, sign: int) -> None:
        of, now = totals.totals_of([job]), self.totals
        self.totals = Totals(
            held=now.held + sign * of.held,
            charged=now.charged + sign * of.charged,
            refunded=now.refunded + sign * of.refunded,
            unknown=now.unknown + sign * of.unknown,
        )
        self.reserved += sign * (budget.exposure(job) if job.charged is None else budget.reserved_above(job))


class Board:
    """One batch, followed. Safe to ask from several threads."""

    def __init__(self, batch: Batch, *, words: Words, now: Callable[[], float] = time.time) -> None:
        """Follow a batch; nothing is read yet."""
        self.batch = batch
        self._words = words
        self._now = now
        self._lock = threading.Lock()
        self._epoch = 0
        self._looked_at = self._read_at = 0.0
        self._seen: object = None
        self._clear()

    def _clear(self) -> None:
        self._epoch += 1
        self._seq = 0
        self._attempts: dict[tuple[str, int], Job] = {}
        self._current: dict[str, Job] = {}
        self._numbers: dict[str, int] = {}
        self._behind: dict[str, set[str]] = {}
        self._ids: list[str] = []
        self._sums = _Sums()
        self._states: Counter[str] = Counter()
        self._estimated = self._suspects = 0
        self._changes: deque[tuple[int, str]] = deque(maxlen=MOST_CHANGES)
        self._lines: deque[Line] = deque(maxlen=LOGGED)
        self._forecast: Forecast | None = None
        self._forecast_at = -math.inf
        self._run: RunRecord | None = None
        self._present: Now | None = None
        self._pauses: dict[str, str] = {}
        self._trouble: str | None = None
        self._first = 0

    # --- asking ---

    def since(self, mark: str | None) -> Change:
        """What is new since a mark; everything without one."""
        with self._lock:
            self._refresh()
            epoch, _, seq = (mark or "").partition("-")
            is_ours = (
                epoch == str(self._epoch)
                and seq.isdecimal()
                and len(seq) < MOST_DIGITS
                and int(seq) >= self._kept_from()
            )
            after = int(seq) if is_ours else -1
            ids = list(self._ids) if not is_ours else self._changed(after)
            return Change(
                mark=f"{self._epoch}-{self._seq}",
                is_all=not is_ours,
                jobs=tuple((self._numbers[each], self._current[each]) for each in ids),
                lines=tuple(self._lines_after(after)),
                summary=self._summary(),
            )

    def summary(self) -> Summary:
        """The batch in figures."""
        with self._lock:
            self._refresh()
            return self._summary()

    def job(self, number: int) -> Job | None:
        """A job by its number; None where there is none."""
        with self._lock:
            return self._current[self._ids[number]] if 0 <= number < len(self._ids) else None

    def among(self, job: Job) -> dict[str, Job]:
        """The jobs that a job waits for, as far as there are any."""
        with self._lock:
            return {each: self._current[each] for each in job.spec.waits_for if each in self._current}

    def jobs(self) -> list[Job]:
        """Every job as it is now."""
        with self._lock:
            self._refresh()
            return [self._current[each] for each in self._ids]

    def _kept_from(self) -> int:
        return self._changes[0][0] - 1 if len(self._changes) == MOST_CHANGES else self._first

    def _changed(self, after: int) -> list[str]:
        """The jobs with news, and those that wait for one of them: what they are told to wait for is another now."""
        found: set[str] = set()
        for seq, job_id in reversed(self._changes):
            if seq <= after:
                break
            found.add(job_id)
        waiting = {
            each for job_id in found for each in self._behind.get(job_id, ()) if self._current[each].state in OPEN
        }
        return sorted(found | waiting, key=self._numbers.__getitem__)

    def _lines_after(self, after: int) -> list[Line]:
        lines: list[Line] = []
        for line in reversed(self._lines):
            if line.seq <= after:
                break
            lines.append(line)
        return lines[::-1]

    def _summary(self) -> Summary:
        return Summary(
            jobs=len(self._ids),
            by_state={state: count for state, count in self._states.items() if count},
            estimated=self._estimated,
            totals=self._sums.totals,
            reserved=self._sums.reserved,
            cap=self.batch.manifest.budget.credits,
            suspects=self._suspects,
            forecast=self._forecast,
            run=self._run,
            now=self._present,
            pauses=self._pauses,
            trouble=self._trouble,
        )

    # --- reading ---

    def _refresh(self) -> None:
        clock = time.monotonic()
        if clock - self._looked_at < LOOK_S:
            return
        self._looked_at = clock
        path = self.batch.state.resolve()
        found = tuple(_look(path.with_name(path.name + end)) for end in _WAL_ENDS)
        if found == self._seen and clock - self._read_at < UNSEEN_S:
            return
        self._read_at = clock
        identity = found[0][:2] if found[0] else None
        before = self._seen[0][:2] if isinstance(self._seen, tuple) and self._seen[0] else None
        if identity != before:
            self._clear()
        self._seen = found
        try:
            with store.open_to_read(path, is_known=bool(self._seq), patience_s=PATIENCE_S) as view:
                if view is not None:
                    self._read(view)
            self._trouble = None
        except StateUnusable as error:
            self._trouble = str(error)

    def _read(self, view: View) -> None:
        if not self._seq:
            self._read_all(view)
        while news := view.news(self._seq):
            self._take(view, news)
        self._run = view.last_run()
        self._present = present.read(view)
        self._pauses = present.pauses(view)
        self._foresee(view)

    def _foresee(self, view: View) -> None:
        """Forecast the end now and then; nothing while nothing is bought on purpose."""
        if self._present is None or self._present.is_paused:
            self._forecast, self._forecast_at = None, -math.inf
        elif time.monotonic() - self._forecast_at >= FORECAST_S:
            self._forecast_at = time.monotonic()
            self._forecast = foresight.of_record(view, list(self._current.values()), now=self._now())

    def _read_all(self, view: View) -> None:
        """Every attempt once; the numbers of jobs are those of the order in which they were first opened."""
        last = view.last_event()
        for job in view.earlier():
            self._put(job, is_current=False)
        for job in view.jobs():
            self._put(job, is_current=True)
        self._seq = self._first = last
        for seq, job_id, attempt, event in view.news(max(0, last - LOGGED)):
            known = self._attempts.get((job_id, attempt))
            if known is not None and seq <= last:
                self._tell(seq, event, known)

    def _take(self, view: View, news: Iterable[tuple[int, str, int, Event]]) -> None:
        entries = list(news)
        for job_id in dict.fromkeys(job_id for _, job_id, _, _ in entries):
            attempts = view.attempts(job_id)
            for job in attempts:
                self._put(job, is_current=job is attempts[-1])
        for seq, job_id, attempt, event in entries:
            self._changes.append((seq, job_id))
            self._tell(seq, event, self._attempts[job_id, attempt])
        self._seq = entries[-1][0]

    def _tell(self, seq: int, event: Event, job: Job) -> None:
        text = self._words(event, job)
        if text is not None:
            self._lines.append(Line(seq=seq, at=event.at, job=job.id, text=text))

    def _put(self, job: Job, *, is_current: bool) -> None:
        """Take in an attempt as it is now."""
        before = self._attempts.get((job.id, job.attempt))
        if before is not None:
            self._sums.count(before, -1)
        self._attempts[job.id, job.attempt] = job
        self._sums.count(job, 1)
        if not is_current:
            return
        was = self._current.get(job.id)
        if was is not None:
            self._count(was, -1)
        else:
            self._numbers[job.id] = len(self._ids)
            self._ids.append(job.id)
        self._current[job.id] = job
        for each in job.spec.waits_for:
            self._behind.setdefault(each, set()).add(job.id)
        self._count(job, 1)

    def _count(self, job: Job, sign: int) -> None:
        self._states[str(job.state)] += sign
        self._estimated += sign * (job.spec.expected or 0)
        self._suspects += sign * (job.suspect is not None)


def _look(path: Path) -> tuple[int, int, int, int] | None:
    """What shows that a file was written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def found_in(folder: Path) -> list[Path]:
    """The manifests of a folder that have a state file."""
    paths = (path for end in ("*.yaml", "*.yml") for path in folder.glob(end))
    return sorted(path for path in paths if path.is_file() and statefile.path_for(path).exists())


def waiting_words(job: Job, known: Mapping[str, Job], note: Callable[[Job, Mapping[str, Job]], str]) -> str:
    """What a job waits for, in words."""
    return awaited.words(job, known) or note(job, known)


def to_buy(jobs: Iterable[Job]) -> tuple[int, int, int]:
    """What a run may still buy: how many jobs, credits at the most, and how many of them have no known price."""
    some = [job for job in jobs if job.state in OPEN]
    return len(some), sum(job.spec.hold or 0 for job in some), sum(job.spec.hold is None for job in some)


def shape(summary: Summary) -> dict[str, Any]:
    """The figures as JSON, under the names of `status --json`."""
    run = summary.run
    return {
        "jobs": summary.jobs,
        "over": summary.over,
        "by_state": dict(summary.by_state),
        "suspects": summary.suspects,
        "credits": {
            "estimated": summary.estimated,
            "held": summary.totals.held,
            "charged": summary.totals.charged,
            "refunded": summary.totals.refunded,
            "reserved": summary.reserved,
            "unknown": summary.totals.unknown,
            "cap": summary.cap,
        },
        "ends_at": summary.forecast.median_at if summary.forecast else None,
        "ends_late_at": summary.forecast.late_at if summary.forecast else None,
        "ends_by": summary.forecast.basis if summary.forecast else None,
        "started_at": run.started_at if run else None,
        "ended_at": run.ended_at if run else None,
        "pauses": dict(summary.pauses),
        "trouble": summary.trouble,
        **present.shape(summary.now),
    }
