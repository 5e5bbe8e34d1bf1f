"""`retry`: try again what failed or was canceled, or write a manifest of only that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, show
from batchrunner.commands import Typed
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from batchrunner.batch import Batch
    from batchrunner.core.job import Job
    from batchrunner.core.plan import Entry, Plan
    from batchrunner.core.selection import Selection

MOST_IDS = 5
"""Jobs of a group that are named; the rest is counted."""


@click.command(short_help="Try again what failed or was canceled.")
@options.manifest
@options.selecting
@click.option("--code", multiple=True, metavar="CODE", help="Only jobs that failed for this reason. May be repeated.")
@click.option(
    "--all-failed", is_flag=True, help="Every failed and canceled job, which is the default, in so many words."
)
@click.option(
    "--write",
    type=options.NewFile(),
    metavar="FILE",
    help="Write a manifest of only these jobs, with outputs of its own, and buy nothing.",
)
@click.option("--force", is_flag=True, help="With --write: also over a file that is there.")
@options.sandbox
@options.scale
@options.buying
def retry(manifest: Path, **given: Any) -> int:
    """Try jobs of MANIFEST again that failed or were canceled: shows them by reason, with the price, and asks.

    What was bought before and is not on disk yet is collected, too.
    """
    from batchrunner import again, batch, store
    from batchrunner.cli import run
    from batchrunner.core.plan import Wishes

    selection = _selection(given)
    read = batch.read(manifest, state=given["state"], allow_unlisted=given["allow_unlisted"], variables=given["var"])
    with store.open_to_read(read.state) as view:
        known = {job.id: job for job in view.jobs()} if view else {}
    chosen = again.chosen(read, selection, known)
    if not chosen:
        return _nothing(read, known, given)
    if given["write"] is not None:
        return _write(read, chosen, given)
    wishes = Wishes(retry_failed=True, selection=selection)
    return run.buy(read, wishes, given, shown=_show)


def _selection(given: Mapping[str, Any]) -> Selection:
    """The jobs that came to nothing, as far as they are selected."""
    from batchrunner import again

    asked: Selection = given["selection"]
    if given["all_failed"] and (asked.states or given["code"]):
        raise UsageError("--all-failed is every one of them, and --state and --code are some")
    if given["force"] and given["write"] is None:
        raise UsageError("--force is for --write")
    return again.broken(asked, given["code"])


def _nothing(read: Batch, known: Mapping[str, Job], given: Mapping[str, Any]) -> int:
    from batchrunner import shapes, store
    from batchrunner.core.selection import EVERYTHING

    if given["as_json"]:
        jobs = list(known.values())
        with store.open_to_read(read.state) as view:
            totals, earlier = (view.totals(), view.earlier()) if view else (store.Totals(), [])
        show.as_json(shapes.status(read.path, read.state, jobs, totals, Typed.of(read.path, given), earlier=earlier))
    show.say(f"{read.path}: there is no such failed or canceled job, so nothing to try again")
    begun = sum(not job.is_final for job in known.values())
    if begun:
        typed = Typed.of(read.path, {**given, "selection": EVERYTHING})
        show.say(f"next: {typed.command('run')}    goes on with {show.plural(begun, 'job')}")
    return Exit.OK


# --- what is about to be tried again -------------------------------------------------------------------------------


def _show(made: Plan) -> None:
    """The jobs by the reason they came to nothing, with what each group may cost."""
    from batchrunner.core.evidence import is_gone
    from batchrunner.core.retry import blames_the_input
    from batchrunner.core.selection import BROKEN, OPEN, code_of

    failed = [(code_of(entry.known), entry) for entry in made.entries if entry.known and entry.known.state in BROKEN]
    groups: dict[str, list[Entry]] = {}
    for code, entry in failed:
        if entry.will_buy:
            groups.setdefault(code, []).append(entry)
    show.say(f"{show.plural(sum(map(len, groups.values())), 'failed or canceled job')} to try again:")
    for code, entries in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        show.say(f"  {code}: {show.plural(len(entries), 'job')}, {_price(entries)}: {_ids(entries)}")
        if blames_the_input(code):
            show.say("    this says that the input or the request is at fault: the same again fails again")
        if any(entry.known is not None and is_gone(entry.known) for entry in entries):
            show.say("    this may be there again: `run` asks for what is paid for at no cost; to try again pays again")
    tried = {entry.id for entries in groups.values() for entry in entries}
    behind = [entry for entry in made.entries if entry.spec and not tried.isdisjoint(entry.spec.waits_for)]
    waiting = sum(entry.known is None or entry.known.state in OPEN for entry in behind)
    if waiting:
        show.say(f"waiting for these: {show.plural(waiting, 'job')}; `run` goes on with what waits")
    rest = Counter(code for code, entry in failed if not entry.will_buy and entry.spec is not None)
    if rest:
        show.say(f"not among them: {', '.join(f'{count:,} {code}' for code, count in rest.most_common())}")
    gone = sum(entry.spec is None for _, entry in failed)
    if gone:
        show.say(f"no longer in the manifest, so left alone: {show.plural(gone, 'failed job')}")


def _price(entries: Iterable[Entry]) -> str:
    holds = [entry.spec.hold if entry.spec else None for entry in entries]
    words = f"{sum(hold or 0 for hold in holds):,} credits at the most"
    return f"{words}, {holds.count(None):,} without a known price" if None in holds else words


def _ids(entries: list[Entry]) -> str:
    named = ", ".join(entry.id for entry in entries[:MOST_IDS])
    return f"{named} and {len(entries) - MOST_IDS:,} more" if len(entries) > MOST_IDS else named


# --- a manifest of them --------------------------------------------------------------------------------------------


def _write(read: Batch, chosen: frozenset[str], given: Mapping[str, Any]) -> int:
    from batchrunner import again

    file = given["write"]
    count = again.write(read, chosen, file, variables=given["var"], is_forced=given["force"])
    show.line(f"{file}: {show.plural(count, 'job')}")
    show.say(f"next: {Typed(manifest=file).command('plan')}")
    return Exit.OK
