"""`plan`: what a run would do, and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import colours, options, show
from batchrunner.commands import Typed
from batchrunner.core.kind import Kind
from batchrunner.errors import BatchrunnerError, Exit, ManifestError, ProviderError

if TYPE_CHECKING:
    from batchrunner.batch import Batch
    from batchrunner.core.forecast import Forecast
    from batchrunner.core.plan import Bill, Plan
    from batchrunner.core.spec import Spec
    from batchrunner.core.window import Hours
    from batchrunner.outlook import Outlook
    from batchrunner.provider import wire


class _Detailed(click.Command):
    """With --detailed-exitcode 2 means that something is to be done, so every error is 1 there."""

    FLAG = "--detailed-exitcode"

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Read the arguments."""
        is_detailed = self.FLAG in args
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except click.UsageError as error:
            if not is_detailed:
                raise
            raise click.ClickException(error.format_message()) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BatchrunnerError as error:
            if ctx.params["detailed_exitcode"]:
                error.exit_code = Exit.BUG
            raise


@click.command(cls=_Detailed, short_help="Show what a run would do, why, and what it would cost.")
@options.manifest
@options.selecting_to_buy
@options.rerender
@options.retry_failed
@options.allow_unlisted
@options.history
@options.variables
@options.window
@click.option(
    "-o",
    "--output",
    "save",
    type=options.NewFile(),
    help="Save it for `run --plan`.",
)
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="Exit 0 when nothing would be done, 2 when something would, 1 on any error. A finished job that changed counts"
    " as nothing unless it is asked for, with --rerender or by name.",
)
@options.as_json
def plan(manifest: Path, **given: Any) -> int:
    """Show what `run` would do with every job of MANIFEST, why, and what it costs. Buys nothing.

    With a key in the environment the account is read, for its balance and its plan's prices.
    """
    try:
        return _plan(manifest, given)
    except ManifestError as error:
        if not given["as_json"]:
            raise
        show.as_json({"manifest": str(manifest), "jobs": [], "problems": show.problem_shapes(error.problems)})
        return Exit.BUG if given["detailed_exitcode"] else Exit.USAGE


def _plan(manifest: Path, given: Mapping[str, Any]) -> int:
    from batchrunner import batch, outlook as outlooks, planning
    from batchrunner.access import access
    from batchrunner.core.plan import Do, Wishes

    read = batch.read(manifest, state=given["state"], allow_unlisted=given["allow_unlisted"], variables=given["var"])
    wishes = Wishes(rerender=given["rerender"], retry_failed=given["retry_failed"], selection=given["selection"])
    account = _account()
    with show.looking() as on_progress:
        seen = planning.preview(
            read,
            wishes=wishes,
            tier=account.tier if account else None,
            history_folder=given["history"],
            on_progress=on_progress,
        )
    chosen = access(os.environ) if account else None
    outlook = outlooks.of(read, seen.plan, account, access=chosen, history=given["history"], hours=_hours(read, given))
    if given["save"]:
        outlooks.save(given["save"], read, seen.plan, tier=account.tier if account else None)
    if given["as_json"]:
        problems = show.problem_shapes(read.warnings + seen.warnings)
        show.as_json({**shape(manifest, seen.plan, outlook), "problems": problems})
    else:
        show.problems(read.warnings + seen.warnings)
        print_plan(seen.plan, outlook)
        if any(entry.action is not Do.SKIP for entry in seen.plan.entries):
            typed = Typed.of(manifest, given)
            again = {"rerender": wishes.rerender, "retry_failed": wishes.retry_failed, "plan": given["save"]}
            show.say(f"next: {typed.command('run', **again)}")
        elif seen.plan.changed():
            show.say(f"next: {Typed.of(manifest, given).command('plan', rerender=True)}    prices what changed")
    has_changes = any(entry.action is not Do.SKIP for entry in seen.plan.entries)
    return 2 if given["detailed_exitcode"] and has_changes else Exit.OK


def _hours(read: Batch, given: Mapping[str, Any]) -> Hours:
    """When a run that began now would buy."""
    from batchrunner import waiting

    asked = waiting.Asked(start_at=given["start_at"], stop_at=given["stop_at"], finish_by=given["finish_by"])
    return waiting.planned(read, asked).hours


def _account() -> wire.Account | None:
    """The account, where there is a key to read it with; a plan is worth having without it, too."""
    from batchrunner.access import access, account_of, key_of

    if not key_of(os.environ):
        return None
    try:
        return asyncio.run(account_of(access(os.environ)))
    except ProviderError as error:
        show.say(f"warning: made without the account: {error}")
        if error.hint:
            show.say(f"hint: {error.hint}")
        return None


def print_plan(made: Plan, outlook: Outlook) -> None:
    """The plan as a table on standard output, its totals, and what to think about first."""
    from batchrunner.core import remarks
    from batchrunner.core.plan import Do

    listed = [entry for entry in made.entries if entry.is_selected or entry.action is not Do.SKIP]
    rows = [
        (entry.id, entry.kind, entry.action, show.credits(entry.spec.hold if entry.spec else None), entry.reason)
        for entry in listed
    ]
    tints = [colours.OF_ACTIONS.get(entry.action) for entry in listed]
    show.table(("job", "kind", "action", "credits ≤", "reason"), rows, right=frozenset({3}), tinted=2, tints=tints)
    bill = made.bill()
    price = _words(bill, outlook)
    rest = len(made.entries) - len(listed)
    left_out = f" ({rest:,} not selected)" if rest else ""
    show.line(f"\n{show.plural(len(listed), 'job')}{left_out}, {bill.jobs:,} to render, {price}")
    if outlook.balance is not None:
        show.line(_balance_words(outlook.balance, bill))
    for line in night_lines(outlook.hours, outlook.forecast):
        show.line(line)
    for line in _led_to(made):
        show.line(line)
    for line in left_behind(made):
        show.line(line)
    for basis in sorted({entry.spec.basis for entry in made.entries if entry.spec and entry.spec.basis}):
        show.line(f"learned from {basis}")
    _print_warnings(outlook)
    if bill.unpriced:
        show.say(f"hint: {remarks.hint_for_unpriced(made, knows_plan=outlook.tier is not None)}")


def _print_warnings(outlook: Outlook) -> None:
    """What to think about before it is carried out, and why it could not be."""
    for job_id, words in outlook.warnings.items():
        for text in words:
            show.say(f"warning: {job_id}: {text}")
    if outlook.refusal is not None:
        show.say(f"warning: a run would not begin: {outlook.refusal}")
        show.say(f"hint: {outlook.refusal.hint}")
    for disk in outlook.disks:
        if disk.words is not None:
            show.say(f"warning: {disk.words}")


def night_lines(hours: Hours, forecast: Forecast | None) -> Iterator[str]:
    """When may be bought, and when it will be done."""
    from batchrunner import clock, waiting

    now = clock.now()
    yield from waiting.words(hours, now)
    if not hours.is_over(now):
        yield from forecast_lines(forecast, now)


def forecast_lines(forecast: Forecast | None, now: float) -> Iterator[str]:
    """When it will be done, by whose render times, and what the window leaves."""
    from batchrunner import zones

    if forecast is None:
        return
    middle, late = (zones.time_words(60 * round(at / 60), now) for at in (forecast.median_at, forecast.late_at))
    but = f", but for {show.plural(forecast.left, 'job')} that the window leaves" if forecast.left else ""
    yield f"done by about {middle}, in 9 of 10 cases by {late} (by {forecast.basis}){but}"


MOST_LEFT_BEHIND = 5
"""Jobs that are named of those whose input is rendered again; the rest is counted."""


def left_behind(made: Plan) -> Iterator[str]:
    """The finished jobs whose input is rendered again, and that are not."""
    entries = made.left_behind()
    if entries:
        ids = ", ".join(entry.id for entry in entries[:MOST_LEFT_BEHIND])
        more = f" and {len(entries) - MOST_LEFT_BEHIND:,} more" if len(entries) > MOST_LEFT_BEHIND else ""
        its, it = ("its input is", "it") if len(entries) == 1 else ("their inputs are", "them")
        yield f"changed, since {its} rendered again: {ids}{more}; --rerender buys {it}, too"


def _words(bill: Bill, outlook: Outlook) -> str:
    """What all of it costs."""
    price = f"at most {bill.hold:,} credits"
    if bill.expected < bill.hold:
        price = f"about {bill.expected:,} and {price}"
    if bill.unpriced and bill.unpriced == bill.jobs:
        price = "at a price that is not known"
    elif bill.unpriced:
        price += f", plus {bill.unpriced:,} without a known price"
    if outlook.usd is not None:
        price += f" (${outlook.usd:,.2f} at the dearest rate of the plan {outlook.tier})"
    return price + question(bill)


def _balance_words(balance: int, bill: Bill) -> str:
    """The account before, and after all of it at its most; what it cannot pay is no balance."""
    if bill.hold > balance:
        return f"balance {balance:,}, {bill.hold - balance:,} less than all of it may cost"
    rest = ", what has no known price apart" if bill.unpriced else ""
    return f"balance {balance:,}, after it at least {balance - bill.hold:,}{rest}"


def question(bill: Bill) -> str:
    """What to say of those whose submission is lost; nothing where there is none."""
    return f"; {bill.in_question:,} of them only if its last submission proves unpaid" if bill.in_question else ""


def _led_to(made: Plan) -> Iterator[str]:
    """What `default`, no model, and old names come down to."""
    from batchrunner.core.kind import DEFAULT

    led = Counter(
        (str(entry.spec.body().get("model", "no model")), entry.spec.model)
        for entry in made.entries
        if entry.will_buy and entry.spec is not None and entry.spec.kind is Kind.IMAGE_TO_VIDEO
    )
    for (asked, model), count in sorted(led.items(), key=str):
        if model not in {asked, None, DEFAULT}:
            yield f"{asked} leads to {model}: {show.plural(count, 'job')}"


def shape(manifest: Path, made: Plan, outlook: Outlook) -> dict[str, Any]:
    """The plan as JSON; fields may be added, none renamed."""
    bill = made.bill()
    return {
        "manifest": str(manifest),
        "jobs": [
            {
                "id": entry.id,
                "kind": entry.kind,
                "action": entry.action,
                "reason": entry.reason,
                "model": entry.spec.model if entry.spec else None,
                "credits": _price(entry.spec),
                "basis": entry.spec.basis if entry.spec else None,
                "warnings": outlook.warnings.get(entry.id, []),
                "waits_for": list(entry.spec.waits_for) if entry.spec else [],
            }
            for entry in made.entries
        ],
        "totals": {
            "jobs": len(made.entries),
            "to_render": bill.jobs,
            "in_question": bill.in_question,
            "credits": {"low": bill.low, "expected": bill.expected, "hold": bill.hold},
            "unpriced": bill.unpriced,
            "usd": None if outlook.usd is None else float(outlook.usd),
        },
        "account": None if outlook.tier is None else {"credits": outlook.balance, "tier": outlook.tier},
        **night_shape(outlook.hours, outlook.forecast),
        "disks": [
            {"folder": str(disk.folder), "free": disk.free, "needed": {"least": disk.least, "most": disk.most}}
            for disk in outlook.disks
        ],
    }


def night_shape(hours: Hours, forecast: Forecast | None) -> dict[str, Any]:
    """When may be bought, and when it will be done, as JSON."""
    from batchrunner import shapes

    ends = (hours.opens_at, hours.stops_at, hours.finish_by)
    opens_at, stops_at, finish_by = map(show.time_utc, ends)
    window = (
        None if ends == (None, None, None) else {"opens_at": opens_at, "stops_at": stops_at, "finish_by": finish_by}
    )
    return {"window": window, "forecast": shapes.of_forecast(forecast)}


def _price(spec: Spec | None) -> dict[str, int | None] | None:
    if spec is None or spec.hold is None:
        return None
    return {"low": spec.low, "expected": spec.expected, "hold": spec.hold}
