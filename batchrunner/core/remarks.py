"""What is said of a plan's prices before it is agreed to: those that may not be meant, and those nobody knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from statistics import median_low
from typing import Protocol

from batchrunner.core import pricing, yamltext
from batchrunner.core.budget import Budget
from batchrunner.core.catalog import Catalog
from batchrunner.core.job import State
from batchrunner.core.kind import DEFAULT, Kind
from batchrunner.core.plan import Entry, Plan
from batchrunner.core.problem import Place, Problem, Severity
from batchrunner.core.spec import Spec
from batchrunner.errors import UsageError

FAR_DEARER = 10
FAR_DEARER_IN_KIND = 5
"""Times the median price of a second in the same plan, and of its own kind, from which a job is pointed out."""


def fast_clips(made: Plan, catalog: Catalog) -> dict[str, str]:
    """Jobs to be bought whose clip is faster than the rate at which the provider says it estimates."""
    return {
        entry.id: f"its clip runs at {entry.spec.fps:.4g} frames a second, and nothing says whether more than"
        f" {catalog.video_hold_fps} are charged: {entry.spec.hold:,} credits are held"
        for entry in made.submitted
        if entry.will_buy and entry.spec is not None and pricing.is_fast(entry.kind, entry.spec.fps, catalog)
    }


def far_dearer(made: Plan) -> dict[str, str]:
    """Jobs to be bought whose second costs many times what the others' does: most likely a model chosen by mistake."""
    rates = {
        entry.id: (entry.kind, entry.spec.hold / entry.spec.seconds)
        for entry in made.submitted
        if entry.will_buy and entry.spec is not None and entry.spec.hold and entry.spec.seconds
    }
    pointed = {}
    for kind in (None, *Kind):
        own = {job_id: rate for job_id, (of, rate) in rates.items() if kind in {None, of}}
        typical = median_low(own.values()) if len(own) > 1 else 0
        for job_id, rate in own.items():
            if typical and rate >= (FAR_DEARER if kind is None else FAR_DEARER_IN_KIND) * typical:
                times = f"{rate / typical:.0f} times what is usual"
                pointed[job_id] = f"a second of it costs {times}{f' for {kind}' if kind else ''} in this batch"
    return pointed


OTHER_PRICE = "choose another model, add its price to a catalogue file, or write budget: {unpriced: allow} and a hold:"


def hint_for_unpriced(made: Plan, *, knows_plan: bool) -> str:
    """What helps where jobs have no known price; `knows_plan` says whether the account's plan is known."""
    unpriced = (entry.spec for entry in made.submitted if entry.spec is not None and entry.spec.hold is None)
    if knows_plan or not any(map(_leaves_price_open, unpriced)):
        return f"{OTHER_PRICE} on each such job"
    return (
        "name model: and resolution: of each such job; what is left open the account's plan decides, and a key tells it"
    )


def _leaves_price_open(spec: Spec) -> bool:
    """Whether the account's plan decides what is rendered, and with it the price."""
    return spec.model in {None, DEFAULT} or "resolution" not in spec.body()


MOST_NAMED = 3
"""Files that are named where new jobs have theirs already; the rest is counted."""


class Written(Protocol):
    """A job of a manifest, with the place where it is written and its output."""

    @property
    def id(self) -> str: ...

    @property
    def place(self) -> Place: ...

    @property
    def output(self) -> str: ...


def about_taken(made: Plan, jobs: Iterable[Written], taken: Collection[str]) -> Iterator[Problem]:
    """Yield a warning for new jobs at whose output something stands already, which may be their very render.

    A state file belongs to the name of its manifest. Where that was renamed or copied, or the state file is gone, all
    would be bought again.
    """
    new = {entry.id for entry in made.submitted if entry.will_buy and _is_new(entry)}
    there = [job for job in jobs if job.id in new and job.output in taken] if taken else []
    if not there:
        return
    named = ", ".join(yamltext.quoted(job.output) for job in there[:MOST_NAMED])
    others = f" and {len(there) - MOST_NAMED:,} more" if len(there) > MOST_NAMED else ""
    count = "1 new job is" if len(there) == 1 else f"{len(there):,} new jobs are"
    yield Problem(
        place=there[0].place,
        code="output-taken",
        message=f"{count} to be bought, and there is {named}{others} already: what was rendered with another state file"
        " would be paid for twice",
        hint="a state file belongs to the name of its manifest; --state names another",
        severity=Severity.WARNING,
    )


def _is_new(entry: Entry) -> bool:
    """Whether nothing of a job was ever bought, by the state file."""
    known = entry.known
    return known is None or (known.attempt == 1 and known.state in {State.READY, State.UPLOADED} and not known.submits)


def refuse_unpriced(made: Plan, budget: Budget) -> None:
    """Refuse to buy what has no known price, unless the manifest takes the risk in figures.

    Raises:
        UsageError: naming the jobs, and what to write.
    """
    bought = [entry for entry in made.submitted if entry.will_buy or entry.is_in_question]
    without = [entry.id for entry in bought if entry.spec and not entry.spec.is_priced]
    lacking = [entry.id for entry in bought if entry.spec and entry.spec.hold is None]
    if without and not budget.allows_unpriced:
        raise UsageError(
            f"no price is known for {_names(without)}, and a limit that cannot be computed is not a limit",
            hint=hint_for_unpriced(made, knows_plan=True),
        )
    vague = [
        entry.id for entry in bought if entry.spec and entry.kind is Kind.IMAGE_TO_VIDEO and entry.spec.model == DEFAULT
    ]
    if vague and budget.per_model:
        raise UsageError(
            f"budget.per_model cannot hold: the account's plan is not known, and with it the model of {_names(vague)}",
            hint="write model: MODEL on each such job",
        )
    if lacking:
        raise UsageError(f"no price is known for {_names(lacking)}", hint="write hold: CREDITS, the most each may cost")


def _names(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:5])
    return f"{shown} and {len(ids) - 5} more" if len(ids) > 5 else shown
