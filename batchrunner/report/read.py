"""Jobs and their log -> what a report tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import json
from statistics import median
from typing import Any, Protocol

from batchrunner.core import job as machine, ledger, totals
from batchrunner.core.budget import group
from batchrunner.core.events import Event
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.ledger import Line
from batchrunner.core.looks import times_of
from batchrunner.core.retry import blames_the_input
from batchrunner.core.selection import BROKEN, code_of
from batchrunner.report.model import Attempt, Card, File, Group, Model, Origin, Report, Series, Uncertain

Log = Sequence[tuple[str, int, Event]]
"""Events with the job and the attempt that they are of, oldest first."""


class Words(Protocol):
    """What the command line says of jobs, and the commands that it advises."""

    @property
    def library(self) -> str:
        """Where the account's projects can be seen."""

    @property
    def download(self) -> str:
        """The command that fetches what is not on disk."""

    @property
    def ledger(self) -> str:
        """The command that lists refunds that are due."""

    def note(self, job: Job) -> str:
        """What a job that has no file waits for, or why it has none."""

    def retry(self, code: str) -> str:
        """The command that tries again what failed for a reason."""

    def answers(self, job: Job) -> tuple[str, str]:
        """The two commands of which a person types one about an uncertain job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is on record of the jobs that a report is of.

    Attributes:
        missing: results that are not where they were put, by path and bytes.
    """

    jobs: Sequence[Job]
    earlier: Sequence[Job]
    log: Log
    lines: Sequence[Line]
    missing: frozenset[tuple[str, int]] = frozenset()


def read(record: Record, *, origin: Origin, cap: int | None, words: Words, clean: Callable[[str], str]) -> Report:
    """What a report tells of these jobs; `clean` makes any text fit to be shown."""
    attempts = [*record.earlier, *record.jobs]
    before: dict[str, list[Job]] = {}
    for each in record.earlier:
        before.setdefault(each.id, []).append(each)
    reader = _Reader(words=words, clean=clean, missing=record.missing)
    return Report(
        origin=replace(
            origin,
            first_at=min((job.opened_at for job in attempts), default=None),
            last_at=max((job.updated_at for job in attempts), default=None),
        ),
        cards=tuple(reader.card(job, before.get(job.id, ())) for job in record.jobs),
        by_state=totals.by_state(record.jobs),
        totals=totals.totals_of(attempts),
        estimated=totals.estimated(record.jobs),
        cap=cap,
        groups=tuple(reader.groups(record.jobs)),
        due=tuple(reader.due(job) for job in ledger.refunds_due(attempts)),
        uncertain=tuple(reader.uncertain(job) for job in record.jobs if job.state is State.UNCERTAIN),
        models=tuple(_models(attempts, clean)),
        spend=tuple(ledger.over_time(record.lines)),
        in_flight=_in_flight(record.log),
        download=clean(words.download) if record.missing else None,
        ledger=clean(words.ledger),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Turns jobs into what is told of them."""

    words: Words
    clean: Callable[[str], str]
    missing: frozenset[tuple[str, int]]

    def card(self, job: Job, before: Iterable[Job]) -> Card:
        body = job.spec.body()
        style = body.get("style") if isinstance(body.get("style"), dict) else {}
        earlier = tuple(self.attempt(each) for each in before)
        now = self.attempt(job)
        return Card(
            id=self.clean(job.id),
            kind=str(job.kind),
            model=self.clean(model_of(job)),
            style=self.clean(str((style or {}).get("art_style") or "")),
            tags=tuple(map(self.clean, job.spec.tags)),
            seconds=job.spec.seconds,
            note=self.clean(self.words.note(job)),
            prompt=self.clean(str((style or {}).get("prompt") or "")),
            settings=tuple((self.clean(name), self.clean(value)) for name, value in _settings(body)),
            inputs=tuple((self.clean(name), self.clean(value)) for name, value in _inputs(body)),
            now=now,
            credits=sum(each.charged or 0 for each in (*earlier, now)),
            earlier=earlier,
        )

    def attempt(self, job: Job) -> Attempt:
        trouble = job.trouble
        return Attempt(
            number=job.attempt,
            state=str(job.state),
            project_id=None if job.project_id is None else self.clean(job.project_id),
            estimated=job.spec.expected,
            held=job.held,
            charged=job.charged,
            code=None if trouble is None else self.clean(trouble.code),
            message=None if trouble is None else self.clean(trouble.message),
            suspect=None if job.suspect is None else self.clean(job.suspect),
            edits=tuple(map(self.clean, job.spec.edits)),
            files=tuple(
                File(
                    path=each.path,
                    shown=self.clean(each.path),
                    bytes=each.bytes,
                    is_there=(each.path, each.bytes) not in self.missing,
                    suspect_at_s=each.suspect_at_s,
                )
                for each in job.outputs
            ),
            opened_at=job.opened_at,
            submitted_at=job.submitted_at,
            accepted_at=job.accepted_at,
            rendered_at=job.rendered_at,
            ended_at=job.ended_at,
        )

    def groups(self, jobs: Iterable[Job]) -> Iterator[Group]:
        """Failures by their code, the largest group first."""
        broken: dict[str, list[Job]] = {}
        for job in jobs:
            if job.state in BROKEN:
                broken.setdefault(code_of(job), []).append(job)
        for code, some in sorted(broken.items(), key=lambda group: (-len(group[1]), group[0])):
            said = Counter(job.trouble.message for job in some if job.trouble is not None)
            yield Group(
                code=self.clean(code),
                ids=tuple(self.clean(job.id) for job in some),
                messages=tuple(self.clean(message) for message, _ in said.most_common(3)),
                command=self.clean(self.words.retry(code)),
                is_hopeless=blames_the_input(code),
            )

    def due(self, job: Job) -> ledger.Due:
        told = ledger.due_of(job)
        return replace(
            told,
            job=self.clean(told.job),
            project_id=None if told.project_id is None else self.clean(told.project_id),
            error=None if told.error is None else self.clean(told.error),
            message=None if told.message is None else self.clean(told.message),
        )

    def uncertain(self, job: Job) -> Uncertain:
        adopt, resolve = self.words.answers(job)
        return Uncertain(
            id=self.clean(job.id),
            sent_at=job.submitted_at,
            sent_as=self.clean(job.name or ""),
            message=self.clean(job.trouble.message if job.trouble else ""),
            library=self.words.library,
            adopt=self.clean(adopt),
            resolve=self.clean(resolve),
            is_paid=job.is_paid,
        )


def model_of(job: Job) -> str:
    """What renders a job, in the word that caps count it by."""
    counted_as = group(job.spec)
    return counted_as.model if job.kind is Kind.IMAGE_TO_VIDEO else str(counted_as)


# --- settings --------------------------------------------------------------------------------------------------------


def _settings(body: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a request, by their path; what goes in is told apart."""
    for name, value in body.items():
        if not path and name == "assets":
            continue
        if isinstance(value, dict):
            yield from _settings(value, f"{path}{name}.")
        elif value is not None:
            yield f"{path}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _inputs(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    assets = body.get("assets")
    for name, value in assets.items() if isinstance(assets, dict) else ():
        if isinstance(value, str) and name != "video_source":
            yield name, value


# --- figures over time and by model ----------------------------------------------------------------------------------


def _in_flight(log: Log) -> Series:
    """How many renders the provider was at work on after each moment at which that changed."""
    count, points = 0, []
    for before, after, event in machine.replay_all(log):
        was = before is not None and before.attempt == after.attempt and before.state is State.RENDERING
        change = (after.state is State.RENDERING) - was
        if change:
            count += change
            points.append((event.at, count))
    return tuple(points)


def _models(attempts: Iterable[Job], clean: Callable[[str], str]) -> Iterator[Model]:
    by_model: dict[str, list[Job]] = {}
    for job in attempts:
        by_model.setdefault(model_of(job), []).append(job)
    for name, some in sorted(by_model.items()):
        done = [job for job in some if job.state is State.DONE]
        times = [max(0.0, finished_at - accepted_at) for _, accepted_at, finished_at in times_of(done)]
        charged = [job for job in done if job.charged is not None]
        seconds = sum(job.spec.seconds for job in charged)
        yield Model(
            name=clean(name),
            done=len(done),
            typical_s=median(times) if times else None,
            per_second=sum(job.charged or 0 for job in charged) / seconds if seconds else None,
        )
