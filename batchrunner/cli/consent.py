"""Asking before credits are spent: what a run will cost, and whether that is meant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
import sys
from typing import TYPE_CHECKING

import click

from batchrunner.cli import show
from batchrunner.errors import UsageError

if TYPE_CHECKING:
    from batchrunner.access import Access
    from batchrunner.batch import Batch
    from batchrunner.core.pins import Pins
    from batchrunner.core.plan import Bill, Entry, Plan, Wishes
    from batchrunner.planning import Preview
    from batchrunner.provider import wire
    from batchrunner.waiting import Waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was agreed to, job by job (None where nobody had to be asked), and what was shown, or would have been."""

    wishes: Wishes
    seen: Preview | None
    agreed: Pins | None


def ask(
    read: Batch,
    access: Access,
    wishes: Wishes,
    *,
    saved: Path | None,
    history: Path | None,
    is_free: bool,
    says_yes: bool,
    shown: Callable[[Plan], None] | None = None,
    waits: Waits | None = None,
) -> Answer:
    """Show what a run will buy and ask for it; on a sandbox of this run's own nothing is spent, and nothing asked.

    `says_yes` agrees to new and unfinished jobs, never to buying a finished one again. A `saved` plan has been agreed
    to by whoever names it, as long as nothing moved. `history` is a folder whose state files prices are learned from.
    `shown` shows what is about to be done in the command's own words, in place of the whole plan. `waits` says when it
    may buy.

    Raises:
        UsageError: there is nobody to ask, or a saved plan is not the plan of now.
        click.Abort: the answer was no.
    """
    from batchrunner import outlook, planning
    from batchrunner.access import account_of
    from batchrunner.cli import plan
    from batchrunner.core import remarks
    from batchrunner.core.pins import pins

    if is_free and saved is None and shown is None:
        return Answer(wishes=wishes, seen=None, agreed=None)
    account = asyncio.run(account_of(access))
    with show.looking() as on_progress:
        seen = planning.preview(read, wishes=wishes, tier=account.tier, history_folder=history, on_progress=on_progress)
    show.problems(seen.warnings)
    if saved is not None:
        outlook.check(saved, read, seen.plan, tier=account.tier)
    elif shown is None and seen.plan.changed() and _can_ask() and not says_yes:
        wishes, seen = _ask_about_changed(read, wishes, seen, account, history)
    remarks.refuse_unpriced(seen.plan, read.manifest.budget)
    bill = seen.plan.bill()
    if shown is not None:
        shown(seen.plan)
    if bill.jobs:
        if shown is None and _can_ask() and not says_yes:
            hours = waits.hours if waits is not None else None
            told = outlook.of(read, seen.plan, account, access=access, history=history, hours=hours)
            plan.print_plan(seen.plan, told)
        show.say(f"to buy: {_words(bill)}; balance {show.credits(account.credits)}")
        _agree(says_yes=says_yes or is_free or saved is not None)
    return Answer(wishes=wishes, seen=seen, agreed=pins(seen.plan))


def _ask_about_changed(
    read: Batch, wishes: Wishes, seen: Preview, account: wire.Account, history: Path | None
) -> tuple[Wishes, Preview]:
    """Ask about finished jobs that changed since, for that purpose alone."""
    from batchrunner import planning

    changed = seen.plan.changed()
    show.say(f"{show.plural(len(changed), 'finished job')} changed since: {_ids(changed)}")
    hold = sum((entry.spec.hold or 0) for entry in changed if entry.spec)
    if not click.confirm(f"render again for at most {hold:,} credits?", default=False, err=True):
        return wishes, seen
    wishes = replace(wishes, rerender=True)
    return wishes, planning.preview(read, wishes=wishes, tier=account.tier, history_folder=history)


def _ids(entries: tuple[Entry, ...]) -> str:
    shown = ", ".join(entry.id for entry in entries[:5])
    return f"{shown}, …" if len(entries) > 5 else shown


def _words(bill: Bill) -> str:
    from batchrunner.cli import plan

    text = f"{show.plural(bill.jobs, 'job')} for {bill.expected:,} credits"
    if bill.hold > bill.expected:
        text += f", {bill.hold:,} at the most"
    if bill.unpriced:
        text += f", and {bill.unpriced} of them without a known price"
    return text + plan.question(bill)


def _agree(*, says_yes: bool) -> None:
    if says_yes:
        return
    if not _can_ask():
        raise UsageError("this would spend credits, and there is no terminal to ask", hint="--yes agrees to it")
    click.confirm("go on?", abort=True, err=True)


def _can_ask() -> bool:
    return bool(sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty())
