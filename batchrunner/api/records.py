"""What is on record, and what a person decides about it."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
from typing import Unpack

from batchrunner import batch as batches, foresight, places, present, running, store, verdicts
from batchrunner.access import Access
from batchrunner.api import given
from batchrunner.api.buying import CollectOptions, collecting, place_of
from batchrunner.api.following import _log, follow, follow_async
from batchrunner.api.twins import refuse_in_loop, twin
from batchrunner.api.values import Attempt, JobStatus, RunResult, Status, job_statuses
from batchrunner.batch import Batch
from batchrunner.core import drift, eventlines, findings, ledger as books
from batchrunner.core.drift import Row
from batchrunner.core.eventlines import JobEvent
from batchrunner.core.job import Job, State
from batchrunner.core.ledger import Drift, Line
from batchrunner.core.selection import EVERYTHING, Selection, facts_of, refuse_unmatched
from batchrunner.errors import UsageError
from batchrunner.recorder import Recorder
from batchrunner.session import Goal


def status(manifest: str | Path | Batch, *, state: str | Path | None = None, select: Selection = EVERYTHING) -> Status:
    """How far a batch is, from its state file alone; also while a run goes on.

    Raises:
        UsageError: there is neither the manifest nor its state file, or a word of the selection fits no job.
        StateUnusable: the state file cannot be used.
    """
    given.refuse_no_selection(select)
    path, file = _state_file(manifest, state)
    if not path.exists() and not file.exists():
        raise UsageError(f"there is neither {path} nor {file}")
    with store.open_to_read(file) as view:
        jobs, earlier = (view.jobs(), view.earlier()) if view else ([], [])
        totals = view.totals() if view else store.Totals()
        pauses = present.pauses(view) if view else {}
        now = present.read(view) if view else None
        forecast = foresight.of_run(view, jobs) if view else None
    everything = jobs
    if jobs and select != EVERYTHING:
        refuse_unmatched(select, map(facts_of, jobs))
        chosen = select.choose(map(facts_of, jobs))
        jobs, earlier = ([job for job in some if job.id in chosen] for some in (jobs, earlier))
        totals = store.totals_of([*earlier, *jobs])
    return Status(
        manifest=path,
        state_file=file,
        jobs=job_statuses(jobs, earlier, path.resolve().parent, among=everything),
        totals=totals,
        pauses=pauses,
        is_running=now is not None,
        is_paused=now is not None and now.is_paused,
        waits=now.waits if now else (),
        stalls=now.stalls if now else (),
        forecast=forecast,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundDue:
    """An attempt that is still charged, or may be, and failed or brought something else than was asked for."""

    job: str
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Where every credit went.

    Attributes:
        drift: the account against these lines; None where it was not read twice.
    """

    lines: tuple[Line, ...]
    refunds_due: tuple[RefundDue, ...]
    drift: Drift | None

    @property
    def net(self) -> int:
        """Credits that remain charged."""
        return sum(line.credits for line in self.lines if line.move in {"charged", "settled", "refunded"})


def ledger(manifest: str | Path | Batch, *, state: str | Path | None = None) -> Ledger:
    """Every movement of credits, refunds due, and drift against the account. Reads the state file alone.

    Raises:
        UsageError: there is no state file.
        StateUnusable: it cannot be used.
    """
    path, file = _state_file(manifest, state)
    with store.open_to_read(file) as view:
        if view is None:
            raise UsageError(f"there is no state file {file}, so nothing was bought")
        due = books.refunds_due(view.all_attempts())
        told = job_statuses(due, (), path.resolve().parent)
        return Ledger(
            lines=tuple(view.book()),
            refunds_due=tuple(RefundDue(job=each.id, attempt=each.attempt) for each in told),
            drift=books.drift(view.baselines()),
        )


def compare_charges(
    *manifests: str | Path | Batch, catalog: str | Path | None = None, state: str | Path | None = None
) -> tuple[Row, ...]:
    """What renders were really charged, held against the catalogue's prices. Reads state files alone.

    `state` is the state file of the one manifest, where it is not beside it.

    Raises:
        UsageError: there is neither a manifest nor its state file, or one state file is named for several.
    """
    if state is not None and len(manifests) != 1:
        raise UsageError("a state file is one manifest's: name that alone")
    charges = []
    for manifest in manifests:
        path, file = _state_file(manifest, state)
        if not path.exists() and not file.exists():
            raise UsageError(f"there is neither {path} nor {file}")
        text = places.text_of(path) if path.exists() else None
        prices = places.load_catalog(path, text, os.environ, around=places.around({}, os.environ))
        prices = prices if catalog is None else places.with_file(prices, Path(catalog))
        with store.open_to_read(file) as view:
            attempts = view.all_attempts() if view else []
        charges += [found for attempt in attempts if (found := drift.charge_of(attempt, prices)) is not None]
    return tuple(drift.compare(charges))


def _state_file(manifest: str | Path | Batch, state: str | Path | None) -> tuple[Path, Path]:
    path, file = place_of(manifest, state)
    return path, file or store.path_for(path)


# --- lost submissions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What was found out about lost submissions.

    Attributes:
        not_charged: jobs that were proved unpaid, with the evidence; the next run goes on with them.
        uncertain: jobs that a person must decide about, with `adopt` or `resolve`.
        still_open: jobs of which it cannot be told yet; the next charge may tell.
        corrected: charges that the provider changed since, by job and attempt.
    """

    not_charged: dict[str, str]
    uncertain: tuple[JobStatus, ...]
    still_open: tuple[JobStatus, ...]
    corrected: dict[tuple[str, int], int | None]
    result: RunResult


class _Heard:
    """Keeps what the evidence led to."""

    def __init__(self) -> None:
        self.not_charged: dict[str, str] = {}
        self.corrected: dict[tuple[str, int], int | None] = {}

    def __call__(self, event: JobEvent) -> None:
        if event.event == "proved-unpaid":
            self.not_charged[event.job] = event.evidence or ""
        elif event.event == "corrected":
            self.corrected[event.job, event.attempt] = event.credits.charged


def reconcile(
    manifest: str | Path | Batch, *, state: str | Path | None = None, **options: Unpack[CollectOptions]
) -> Reconciled:
    """Find out what became of lost submissions, by the account's balance, and record late refunds. Buys nothing.

    Raises:
        UsageError: there is no state file.
        BatchrunnerError: anything else that stands in its way.
    """
    refuse_in_loop("reconcile()", "await reconcile_async(…)")
    heard = _Heard()
    result = follow(collecting(Goal.JUDGE, manifest, state, EVERYTHING, options), heard)
    return _reconciled(heard, result, status(manifest, state=state))


async def reconcile_async(
    manifest: str | Path | Batch, *, state: str | Path | None = None, **options: Unpack[CollectOptions]
) -> Reconciled:
    """As `reconcile`, beside an event loop."""
    heard = _Heard()
    result = await follow_async(collecting(Goal.JUDGE, manifest, state, EVERYTHING, options), heard)
    return _reconciled(heard, result, status(manifest, state=state))


def _reconciled(heard: _Heard, result: RunResult, now: Status) -> Reconciled:
    return Reconciled(
        not_charged=heard.not_charged,
        uncertain=tuple(job for job in now.jobs if job.state == State.UNCERTAIN),
        still_open=tuple(job for job in now.jobs if job.state == State.SUBMITTING),
        corrected=heard.corrected,
        result=result,
    )


def adopt(
    manifest: str | Path | Batch,
    job: str,
    project_id: str,
    *,
    state: str | Path | None = None,
    access: Access | None = None,
) -> JobStatus:
    """Tell that an uncertain job became a project, which is asked for first; the next run collects it.

    Raises:
        UsageError: it is not uncertain, or the project cannot be it.
        ProviderError: no answer.
    """
    refuse_in_loop("adopt()")
    path, where = place_of(manifest, state)
    batch = batches.read_for_collecting(path, state=where)
    with running.provider(batch, access=access) as chosen:
        recorder = Recorder(say=_log.warning, key=chosen.key)
        after = verdicts.adopt(batch.state, job, project_id, access=chosen, recorder=recorder)
    return _one(after, path)


def resolve(
    manifest: str | Path | Batch,
    job: str,
    *,
    not_created: bool = False,
    give_up: bool = False,
    force: bool = False,
    state: str | Path | None = None,
) -> JobStatus:
    """Decide about an uncertain job, after a look into the library at the provider: submit it again, or write it off.

    `force` submits it again although the account says that it was paid, which may pay for it twice.

    Raises:
        UsageError: it is not uncertain, or seems to be paid.
    """
    if not_created == give_up:
        raise UsageError("say what became of it: not_created=True or give_up=True")

    def confirm(known: Job) -> None:
        if not force:
            raise UsageError(
                verdicts.seems_paid(known),
                hint="look for it in the library and adopt() it; force=True submits it again, which may pay twice",
            )

    path, file = _state_file(manifest, state)
    verdicts.refuse_unknown(file)
    recorder = Recorder(say=_log.warning)
    return _one(verdicts.resolve(file, job, gives_up=give_up, recorder=recorder, confirm=confirm), path)


def _one(job: Job, manifest: Path) -> JobStatus:
    (told,) = job_statuses([job], (), manifest.resolve().parent)
    return told


def history(manifest: str | Path | Batch, job: str, *, state: str | Path | None = None) -> tuple[JobEvent, ...]:
    """All that happened to one job, in every attempt, oldest first; from the state file alone.

    Raises:
        UsageError: there is no state file, or it knows no such job.
        StateUnusable: the state file cannot be used.
    """
    _, file = _state_file(manifest, state)
    with store.open_to_read(file) as view:
        if view is None:
            raise UsageError(f"there is no state file {file}, so nothing has happened yet")
        told = tuple(eventlines.told_of(event, after, run=run) for run, event, after in view.history(job))
        if not told:
            ids = tuple(each.id for each in view.jobs())
            raise UsageError(f"{file} knows no job {job!r}", hint=findings.did_you_mean(job, ids))
    return told


status_async = twin(status)
history_async = twin(history)
ledger_async = twin(ledger)
compare_charges_async = twin(compare_charges)
adopt_async = twin(adopt)
resolve_async = twin(resolve)
