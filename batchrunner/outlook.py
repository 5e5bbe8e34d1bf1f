"""What to know about a plan before it is carried out, and a plan kept to be carried out as it was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batchrunner import caps, clock, places, prediction, private, room, store, waiting
from batchrunner.access import Access, refusal_of
from batchrunner.batch import Batch
from batchrunner.core import budget as budgeting, pins as pinning, remarks
from batchrunner.core.forecast import Forecast
from batchrunner.core.pins import Pins
from batchrunner.core.plan import Plan
from batchrunner.core.window import Hours
from batchrunner.errors import BatchrunnerError, PlanMoved, UsageError
from batchrunner.marks import Marks
from batchrunner.provider import wire
from batchrunner.room import Room

PLAN_VERSION = 3
"""Of a saved plan's shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What to know about a plan before it is carried out.

    Attributes:
        balance: credits of the account; None where it was not read.
        tier: its plan; None where it was not read.
        usd: what the hold costs at the dearest rate of that plan; None where none is published, or a job has no price.
        warnings: by job id, what is worth a second look.
        disks: where the results go, and how much room there is.
        hours: when a run that begins now may buy.
        forecast: when it will be done; None where nothing is to be done.
        refusal: why no run would begin with this key or this state file; None where one would, or nobody knows.
    """

    balance: int | None
    tier: str | None
    usd: Decimal | None
    warnings: Mapping[str, list[str]]
    disks: tuple[Room, ...]
    hours: Hours
    forecast: Forecast | None
    refusal: BatchrunnerError | None = None


def of(
    batch: Batch,
    made: Plan,
    account: wire.Account | None,
    *,
    access: Access | None = None,
    history: Path | None = None,
    hours: Hours | None = None,
) -> Outlook:
    """Price in dollars, balance, the jobs that are dear, without a price, or would be left, and when it will be done.

    `access` is the provider; None where there is no key. `hours` are those of the run, by default the manifest's.

    Raises:
        UsageError: the manifest's window names a time zone that is not there.
    """
    provider = access.provider if access is not None else None
    hours = waiting.planned(batch, waiting.Asked()).hours if hours is None else hours
    known = account or wire.Account(id="", tier=None, credits=None)
    warnings: dict[str, list[str]] = {}
    for job_id, text in remarks.far_dearer(made).items():
        warnings.setdefault(job_id, []).append(text)
    for job_id, text in remarks.fast_clips(made, batch.catalog).items():
        warnings.setdefault(job_id, []).append(text)
    with store.open_to_read(batch.state) as view:
        refusal: BatchrunnerError | None = None
        if view is not None and access is not None and account is not None:
            refusal = refusal_of(batch.state, view.fact, access, account)
        if view is not None and refusal is None:
            refusal = Marks.of(os.environ).refusal_of(view, now=clock.now())
        counted = caps.spending(batch, view.all_attempts() if view else [], known, provider=provider)
    wanted = [(entry.id, entry.spec) for entry in made.submitted if entry.will_buy and entry.spec is not None]
    limits = caps.caps(batch if known.tier else _without_usd(batch), caps.Flags(), tier=known.tier)
    for job_id, text in budgeting.left_out(wanted, limits, counted, now=clock.now()).items():
        warnings.setdefault(job_id, []).append(f"would not be bought: {text}")
    bill = made.bill()
    rate = caps.usd_per_credit(batch.catalog, known.tier)
    return Outlook(
        balance=known.credits,
        tier=known.tier,
        usd=None if rate is None or bill.unpriced else rate * bill.hold,
        warnings=warnings,
        disks=room.look(batch.root, made),
        hours=hours,
        forecast=prediction.of_plan(batch, made, account, access=access, history=history, hours=hours),
        refusal=refusal,
    )


def _without_usd(batch: Batch) -> Batch:
    """The batch without its cap in dollars, which needs to know the plan."""
    budget = replace(batch.manifest.budget, usd=None)
    return replace(batch, manifest=replace(batch.manifest, budget=budget))


def save(path: Path, batch: Batch, made: Plan, *, tier: str | None) -> None:
    """Write what a plan pins: the manifest, and for each job to be bought its request, inputs and price.

    Raises:
        UsageError: it cannot be written, or something else has that name.
    """
    places.refuse_to_replace(path, what="saved plan", marks=('"batchrunner_plan"',))
    pinned = {
        "batchrunner_plan": PLAN_VERSION,
        "manifest": batch.path.name,
        "manifest_sha256": text_hash(batch.path),
        "catalog_as_of": str(batch.catalog.as_of),
        "tier": tier,
        "jobs": pinning.pins(made),
    }
    try:
        private.write(path, json.dumps(pinned, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def check(path: Path, batch: Batch, made: Plan, *, tier: str | None) -> None:
    """Hold the plan of now against a saved one; `tier` is the account's plan as it is now.

    Raises:
        PlanMoved: something moved since; every difference is named.
        UsageError: it is no saved plan.
    """
    saved = _saved(path)
    pinned = {job_id: pin.model_dump() for job_id, pin in saved.jobs.items()}
    refuse_moved(pinned, made, since=saved.tier, tier=tier)
    if text_hash(batch.path) != saved.manifest_sha256:
        _refuse([f"{batch.path}: its text, though no job of it (limits or budget, perhaps)"])


def refuse_moved(pinned: Pins, made: Plan, *, since: str | None, tier: str | None) -> None:
    """Hold the plan of now against what was looked at; `since` and `tier` are the account's plan then and now.

    Raises:
        PlanMoved: something moved; every difference is named.
    """
    moved = pinning.what_moved(pinned, pinning.pins(made), without_tier=since is None)
    if since not in {None, tier}:
        moved.append(f"the account's plan: {since} -> {tier}")
    _refuse(moved)


def refuse_edited(batch: Batch, sha256: str) -> None:
    """Refuse a batch whose manifest has another text by now.

    Raises:
        PlanMoved: it has.
        UsageError: it cannot be read any more.
    """
    if text_hash(batch.path) != sha256:
        _refuse([f"{batch.path}: its text; load it again"])


def _refuse(moved: Sequence[str]) -> None:
    if moved:
        raise PlanMoved(
            "the plan is no longer what was looked at:\n" + "\n".join(f"  {line}" for line in moved),
            hint="look at a new plan; nothing was bought",
        )


def text_hash(manifest: Path) -> str:
    """SHA-256 of a manifest's text."""
    return hashlib.sha256(places.text_of(manifest).encode()).hexdigest()


class _Pin(BaseModel):
    """A job of a saved plan, as `pins.pins` makes it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    action: str
    kind: str
    request: dict[str, Any]
    inputs: dict[str, str]
    hold: Annotated[int, Field(ge=0)] | None
    model: str | None
    output: str


class _Saved(BaseModel):
    """A saved plan, as far as it is compared."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    batchrunner_plan: Literal[3]
    manifest_sha256: str
    tier: str | None
    jobs: dict[str, _Pin]


def _saved(path: Path) -> _Saved:
    """The saved plan of a file.

    Raises:
        UsageError: it is none.
    """
    try:
        return _Saved.model_validate_json(places.text_of(path))
    except ValidationError:
        raise UsageError(
            f"{path} is no saved plan of this version", hint="make one with `batchrunner plan MANIFEST -o FILE`"
        ) from None
