"""The caps of a run, and what counts against them already. Part of the composition, as `batch` and `session`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from batchrunner import clock, store
from batchrunner.batch import Batch
from batchrunner.core import budget as budgeting
from batchrunner.core.budget import Caps, Spending
from batchrunner.core.canary import Mode
from batchrunner.core.catalog import Catalog
from batchrunner.core.job import Job
from batchrunner.core.retry import Instant
from batchrunner.errors import StateUnusable, UsageError
from batchrunner.provider import wire
from batchrunner.stateview import View
from batchrunner.till import Till


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was asked for this run: caps in credits, on top of the manifest's, and how to go about it.

    Attributes:
        waits_for_credits: goes on after a top-up when credits run out.
        ignores_disk_space: buys even where the results surely do not fit.
        reuses_uploads: relies on what earlier runs uploaded.
        canary: renders and checks one job of every group first, if given.
    """

    max_credits: int | None = None
    max_credits_per_job: int | None = None
    cutoff: str | None = None
    waits_for_credits: bool = False
    ignores_disk_space: bool = False
    reuses_uploads: bool = True
    canary: Mode | None = None


def caps(batch: Batch, flags: Flags, *, tier: str | None) -> Caps:
    """Every cap of a run.

    Raises:
        UsageError: a cap in dollars cannot be turned into credits.
    """
    rate = usd_per_credit(batch.catalog, tier)
    if batch.manifest.budget.usd is not None and rate is None:
        raise UsageError(
            f"budget.usd cannot hold: no price of a credit is published for the plan {tier or 'of this account'}",
            hint="use budget.credits instead",
        )
    return budgeting.caps_of(
        batch.manifest.budget,
        usd_per_credit=rate,
        run=flags.max_credits,
        per_job=flags.max_credits_per_job,
        cutoff=flags.cutoff,
    )


def refuse_vain_caps(batch: Batch, account: wire.Account) -> None:
    """Refuse to begin under a cap that cannot be computed, since it would not hold.

    Raises:
        UsageError: naming the cap, and what to use instead.
    """
    caps(batch, Flags(), tier=account.tier)
    if batch.manifest.budget.keep_balance is not None and account.credits is None:
        raise UsageError(
            "budget.keep_balance cannot hold: the provider does not tell the balance of this account",
            hint="use budget.credits instead",
        )


def usd_per_credit(catalog: Catalog, tier: str | None) -> Decimal | None:
    """Dollars for one credit at the dearest band of a plan; None where none is published."""
    rates = (band.usd_per_credit.get(tier or "") for band in catalog.price_bands)
    return max((rate for rate in rates if rate is not None), default=None)


def spending(
    batch: Batch, attempts: Iterable[Job], account: wire.Account, *, provider: str | None, till: Till | None = None
) -> Spending:
    """What counts against the caps already: all of this batch, and today's of the folder's other manifests.

    `provider` is whose account it is, as far as that is known. A state file that cannot be read may hold any amount.
    """
    now = clock.now()
    counted = Spending(day_of=_local_day, balance=account.credits)
    counted.begin(attempts)
    if batch.manifest.budget.per_day is not None:
        noted = {each.state.resolve() for each in (till.batches() if till else ()) if each.root == batch.root}
        beside = {path.resolve() for path in batch.root.glob("*.state.db")}
        for path in sorted((noted | beside) - {batch.state.resolve()}):
            if not budgeting.may_count_for_day(written_at=store.written_at(path), now=now):
                continue
            try:
                with another_batch(path, account, provider=provider) as view:
                    counted.count_elsewhere(view.all_attempts() if view is not None else ())
            except StateUnusable:
                counted.unreadable = str(path)
    return counted


@contextmanager
def another_batch(
    path: Path, account: wire.Account, *, provider: str | None, is_known: bool = False
) -> Iterator[View | None]:
    """Another state file, for reading; None where it cannot be of this account. `is_known` as for `open_to_read`.

    Raises:
        StateUnusable: it cannot be read.
    """
    with store.open_to_read(path, is_known=is_known) as view:
        yield view if view is not None and _may_be_same(view, account, provider) else None


def _may_be_same(view: View, account: wire.Account, provider: str | None) -> bool:
    """Whether a state file may be of an account: where one of both has no name, the provider must do."""
    theirs = view.fact("account")
    if theirs and account.id:
        return theirs == account.id
    return provider is not None and view.fact("provider") == provider


def _local_day(at: Instant) -> str:
    return _day_of_quarter(int(at // _QUARTER_S))


_QUARTER_S = 900
"""No time zone of now is off by a fraction of it, so each of them has one date for all of it."""


@lru_cache(maxsize=1024)
def _day_of_quarter(number: int) -> str:
    return datetime.fromtimestamp(number * _QUARTER_S).astimezone().date().isoformat()
