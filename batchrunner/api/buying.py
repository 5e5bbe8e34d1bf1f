"""Carrying out a plan, and collecting what was bought. What is bought is what was looked at, or what was allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypedDict, Unpack

from batchrunner import batch as batches, outlook as outlooks, planning, waiting
from batchrunner.access import Access, account_of
from batchrunner.api import given, hours
from batchrunner.api.following import Asks, OnEvent, Running, Task, follow, follow_async
from batchrunner.api.hours import When
from batchrunner.api.twins import refuse_in_loop
from batchrunner.api.values import Plan, RunResult
from batchrunner.batch import Batch
from batchrunner.caps import Flags
from batchrunner.core import pins as pinning, remarks, workers
from batchrunner.core.canary import Mode
from batchrunner.core.plan import Wishes
from batchrunner.core.selection import EVERYTHING, Selection
from batchrunner.errors import NotAgreed, UsageError
from batchrunner.planning import Preview
from batchrunner.provider import wire
from batchrunner.session import Goal, Order
from batchrunner.waiting import Waits


class RunOptions(TypedDict, total=False):
    """How a run is to go about it; all of it may be left out.

    Consent is one of: a plan in place of the batch; `max_credits`, the most that this run may spend in whole credits,
    on top of the manifest's caps; `saved`, a plan that was saved and is still what would be bought; or `yes=True`, for
    new and unfinished jobs at whatever the plan of now says. On a sandbox of its own (`sandbox=True`) nothing is spent.

    The others are those of `batchrunner run`: `max_credits_per_job`; `cutoff`, `soft` or `hard`; `wait_for_credits`,
    to go on after a top-up; `start_at`, `stop_at` and `finish_by`, a time of day, a date with a time as text, or a
    `datetime`, over the manifest's window (`start_at="now"` begins at once); `wait_for`, manifests whose runs must be
    over first; `canary`, `go` or `stop`; `ignore_disk_space`; `upload_cache=False`, to send inputs again;
    `access`, the provider, by default that of the environment; `sandbox_scale`, each side of a sandbox's pictures as a
    part of the real one; `log` and `events`, files for the log and for the events as lines of JSON; `webhook_port` and
    `webhook_host`; `workers`, the address of a dask.distributed scheduler or a number of processes that carry the
    bytes; `notices=True`, to send notices as the command does, and `on_job_done`, a program for each job that is done.
    With a batch also, as of `plan`: `select`, `rerender`, `retry_failed`, `history`.
    """

    yes: bool
    max_credits: int
    max_credits_per_job: int
    cutoff: Literal["soft", "hard"]
    wait_for_credits: bool
    start_at: When
    stop_at: When
    finish_by: When
    wait_for: Sequence[str | Path]
    canary: Literal["go", "stop"]
    ignore_disk_space: bool
    upload_cache: bool
    saved: str | Path
    select: Selection
    rerender: bool
    retry_failed: bool
    history: str | Path
    access: Access
    sandbox: bool
    sandbox_scale: float
    log: str | Path
    events: str | Path
    webhook_port: int
    webhook_host: str
    workers: str | int
    notices: bool
    on_job_done: Sequence[str]


def start(what: Batch | Plan, **options: Unpack[RunOptions]) -> Running:
    """A run to be followed: enter it with `with` or `async with`, iterate over its events, `stop` it.

    Raises, at once:
        UsageError: an option has a value that is none of its own.

    Raises, when it is iterated over or at the end of the block:
        NotAgreed: it would spend credits, and nothing allows that.
        PlanMoved: it would buy something else than the plan that was looked at.
        BatchrunnerError: anything else that stands in its way; `batchrunner.errors` has all of them.
    """
    _refuse_wrong(options)
    batch, order = _asked(what, options, _waits(what, options))
    return Running(_task(batch, order, options))


def run(what: Batch | Plan, *, on_event: OnEvent | None = None, **options: Unpack[RunOptions]) -> RunResult:
    """Render what is asked for and bring every clip to disk; goes on where the last run was. As `start`, to its end.

    `on_event` is called with every event. Ctrl-C leaves at once, and nothing is lost.

    Raises:
        UsageError: an option has a value that is none of its own, or an event loop runs in this thread.
        NotAgreed, PlanMoved, BatchrunnerError: as `start`.
    """
    refuse_in_loop("run()", "await run_async(…)")
    return follow(start(what, **options), on_event)


async def run_async(what: Batch | Plan, *, on_event: OnEvent | None = None, **options: Unpack[RunOptions]) -> RunResult:
    """As `run`, beside an event loop. Canceled, it leaves at once, and nothing is lost."""
    return await follow_async(start(what, **options), on_event)


async def run_telling(plan: Plan, tell: Callable[[str], None], **options: Unpack[RunOptions]) -> RunResult:
    """As `run_async`; `tell` hears, in a thread of the run's own, what the command line says to a person."""
    _refuse_wrong(options)
    batch, order = _asked(plan, options, _waits(plan, options))
    return await follow_async(Running(replace(_task(batch, order, options), tell=tell)), None)


class CollectOptions(TypedDict, total=False):
    """How what was bought is collected; all of it may be left out. As of `RunOptions`."""

    access: Access
    sandbox: bool
    log: str | Path
    workers: str | int


def download(
    manifest: str | Path | Batch,
    *,
    state: str | Path | None = None,
    select: Selection = EVERYTHING,
    on_event: OnEvent | None = None,
    **options: Unpack[CollectOptions],
) -> RunResult:
    """Fetch what was paid for and is not on disk: renders not collected yet, and files deleted since. Buys nothing.

    Raises:
        UsageError: there is no state file, or an event loop runs in this thread.
        BatchrunnerError: anything else that stands in its way.
    """
    refuse_in_loop("download()", "await download_async(…)")
    return follow(collecting(Goal.COLLECT, manifest, state, select, options), on_event)


async def download_async(
    manifest: str | Path | Batch,
    *,
    state: str | Path | None = None,
    select: Selection = EVERYTHING,
    on_event: OnEvent | None = None,
    **options: Unpack[CollectOptions],
) -> RunResult:
    """As `download`, beside an event loop."""
    return await follow_async(collecting(Goal.COLLECT, manifest, state, select, options), on_event)


def collecting(
    goal: Goal, manifest: str | Path | Batch, state: str | Path | None, select: Selection, options: CollectOptions
) -> Running:
    """A run that buys nothing; the manifest may be wrong, or miss its inputs."""
    given.refuse_no_selection(select)
    path, where = place_of(manifest, state)
    batch = batches.read_for_collecting(path, state=where)
    order = Order(goal=goal, wishes=Wishes(selection=select))

    async def asked(_access: Access) -> Order:
        return order

    return Running(_task(batch, asked, options))


def place_of(manifest: str | Path | Batch, state: str | Path | None) -> tuple[Path, Path | None]:
    """Where a manifest and its state file are."""
    if isinstance(manifest, Batch):
        return manifest.path, manifest.state if state is None else Path(state)
    return Path(manifest), None if state is None else Path(state)


def _task(batch: Batch, order: Asks, options: RunOptions | CollectOptions) -> Task:
    given = dict(options)
    if options.get("sandbox") and options.get("access") is not None:
        raise UsageError("sandbox=True is a provider of this run's own, and access names another: choose one")
    log, events = (None if (name := given.get(each)) is None else Path(str(name)) for each in ("log", "events"))
    return Task(
        batch=batch,
        order=order,
        access=options.get("access"),
        is_sandbox=options.get("sandbox", False),
        scale=given.get("sandbox_scale", 0.5),  # type: ignore[arg-type]
        log=log,
        events=events,
        webhook_port=given.get("webhook_port"),  # type: ignore[arg-type]
        webhook_host=given.get("webhook_host"),  # type: ignore[arg-type]
        sends_notices=bool(given.get("notices", False)),
        hook=tuple(given.get("on_job_done", ())),  # type: ignore[arg-type]
        workers=None if (said := options.get("workers")) is None else workers.wanted(said),
    )


def _refuse_wrong(options: RunOptions) -> None:
    """Refuse values that are no such thing, before anything is done with them.

    Raises:
        UsageError: naming the option.
    """
    for name in ("max_credits", "max_credits_per_job"):
        given.refuse_no_cap(name, options.get(name))
    for name, words in _WORDS.items():
        value = options.get(name)
        if value is not None and value not in words:
            raise UsageError(f"{name} is {' or '.join(words)}, not {value!r}")
    for name in ("yes", "sandbox", "rerender", "retry_failed", "wait_for_credits", "ignore_disk_space", "upload_cache"):
        if not isinstance(options.get(name, False), bool):
            raise UsageError(f"{name} is True or False, not {options.get(name)!r}")
    given.refuse_no_selection(options.get("select", EVERYTHING))


_WORDS: Final = {"cutoff": ("soft", "hard"), "canary": ("go", "stop")}


# --- consent ---------------------------------------------------------------------------------------------------------


def _waits(what: Batch | Plan, options: RunOptions) -> Waits:
    """When may be bought, worked out when the run is asked for; the hours of a plan are those it was made for.

    Raises:
        UsageError: a time is none, the window can never be open, or what is waited for is not there.
    """
    asked = hours.asked(
        start_at=options.get("start_at"),
        stop_at=options.get("stop_at"),
        finish_by=options.get("finish_by"),
        wait_for=options.get("wait_for", ()),
        is_rehearsal=options.get("sandbox", False),
    )
    if not isinstance(what, Plan):
        return waiting.planned(what, asked)
    asked = replace(
        asked,
        start_at=asked.start_at or what.asked.start_at,
        stop_at=asked.stop_at or what.asked.stop_at,
        finish_by=asked.finish_by or what.asked.finish_by,
    )
    return waiting.planned(what.batch, asked)


def _asked(what: Batch | Plan, options: RunOptions, waits: Waits) -> tuple[Batch, Asks]:
    """The batch, and what asks for it when the provider is at hand."""
    if isinstance(what, Plan):
        for name in ("select", "rerender", "retry_failed", "history", "saved"):
            if name in options:
                raise UsageError(f"{name} is for run(batch): a plan says already what is to be done")
        return what.batch, lambda access: _as_planned(what, access, options, waits)
    return what, lambda access: _as_allowed(what, access, options, waits)


async def _as_planned(plan: Plan, access: Access, options: RunOptions, waits: Waits) -> Order:
    """What the plan shows.

    Raises:
        PlanMoved: that is no longer what would be bought.
    """
    outlooks.refuse_edited(plan.batch, plan.text_hash)
    wishes = plan.wishes
    account, seen = await _preview(plan.batch, access, wishes, plan.history)
    outlooks.refuse_moved(pinning.pins(plan.made), seen.plan, since=plan.tier, tier=account.tier)
    remarks.refuse_unpriced(seen.plan, plan.batch.manifest.budget)
    return replace(_order(wishes, options, plan.history, seen), waits=waits)


async def _as_allowed(batch: Batch, access: Access, options: RunOptions, waits: Waits) -> Order:
    """What the plan of now shows, if it may be bought.

    Raises:
        NotAgreed: nothing allows that.
    """
    wishes = Wishes(
        rerender=options.get("rerender", False),
        retry_failed=options.get("retry_failed", False),
        selection=options.get("select", EVERYTHING),
    )
    folder = Path(options["history"]) if "history" in options else None
    account, seen = await _preview(batch, access, wishes, folder)
    if (saved := options.get("saved")) is not None:
        outlooks.check(Path(saved), batch, seen.plan, tier=account.tier)
    remarks.refuse_unpriced(seen.plan, batch.manifest.budget)
    bill = seen.plan.bill()
    is_capped, is_shown = options.get("max_credits") is not None, options.get("saved") is not None
    is_agreed = is_capped or is_shown or options.get("yes") or options.get("sandbox")
    if bill.jobs and not is_agreed:
        count = "1 job" if bill.jobs == 1 else f"{bill.jobs:,} jobs"
        raise NotAgreed(
            f"this would buy {count} for {bill.expected:,} credits, {bill.hold:,} at the most, and nothing allows that",
            hint="run(plan(batch)) buys what the plan shows; or name max_credits=…, or yes=True",
        )
    return replace(_order(wishes, options, folder, seen), waits=waits)


async def _preview(batch: Batch, access: Access, wishes: Wishes, history: Path | None) -> tuple[wire.Account, Preview]:
    account = await account_of(access)
    return account, planning.preview(batch, wishes=wishes, tier=account.tier, history_folder=history)


def _order(wishes: Wishes, options: RunOptions, history: Path | None, seen: Preview) -> Order:
    """What was shown, to be bought as it is; what moves in between is refused."""
    flags = Flags(
        max_credits=options.get("max_credits"),
        max_credits_per_job=options.get("max_credits_per_job"),
        cutoff=options.get("cutoff"),
        waits_for_credits=options.get("wait_for_credits", False),
        ignores_disk_space=options.get("ignore_disk_space", False),
        reuses_uploads=options.get("upload_cache", True),
    )
    if "canary" in options:
        flags = replace(flags, canary=Mode(options["canary"]))
    agreed = pinning.pins(seen.plan)
    return Order(wishes=wishes, flags=flags, seen=seen, history=history, agreed=agreed)
