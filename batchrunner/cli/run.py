"""`run`: render what the manifest asks for and is not on disk yet. Run again, it goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import advice, options, recorder as recorders, show, signals
from batchrunner.commands import Typed
from batchrunner.errors import UsageError

if TYPE_CHECKING:
    from batchrunner.access import Access
    from batchrunner.batch import Batch
    from batchrunner.caps import Flags
    from batchrunner.cli.progress import Progress
    from batchrunner.core.plan import Plan, Wishes
    from batchrunner.core.workers import Workers
    from batchrunner.engine import Engine
    from batchrunner.herald import Herald
    from batchrunner.recorder import Recorder
    from batchrunner.running import Report
    from batchrunner.session import Order
    from batchrunner.traffic import Traffic
    from batchrunner.waiting import Waits
    from batchrunner.web.door import Door


CANARY = "--canary"


class _Run(click.Command):
    """`--canary` may stand alone or be `--canary=stop`; it never takes the next word, which is the manifest."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        return super().parse_args(ctx, [f"{CANARY}=go" if word == CANARY else word for word in args])


@click.command(cls=_Run, short_help="Render what is missing and bring every clip to disk.")
@options.manifest
@options.selecting_to_buy
@options.sandbox
@options.scale
@options.rerender
@options.retry_failed
@click.option(
    "--plan",
    "saved",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Carry out a saved plan; refused if anything moved since.",
)
@click.option(
    CANARY,
    type=click.Choice(["go", "stop"]),
    metavar="",
    help="First render and check one job of every kind, model and style; go on with the rest if all are good, else stop"
    " with exit code 3. --canary=stop stops in any case, for a look.",
)
@options.buying
def run(manifest: Path, **given: Any) -> int:
    """Render what MANIFEST asks for and bring every clip to disk.

    Run again, it goes on where it was and pays for nothing twice. Ctrl-C stops buying and collects what was bought;
    Ctrl-C again leaves at once, and a later run collects the rest.
    """
    from batchrunner import batch
    from batchrunner.core.plan import Wishes

    read = batch.read(manifest, state=given["state"], allow_unlisted=given["allow_unlisted"], variables=given["var"])
    wishes = Wishes(rerender=given["rerender"], retry_failed=given["retry_failed"], selection=given["selection"])
    return buy(read, wishes, given, saved=given["saved"])


def buy(
    read: Batch,
    wishes: Wishes,
    given: Mapping[str, Any],
    *,
    saved: Path | None = None,
    shown: Callable[[Plan], None] | None = None,
) -> int:
    """Ask for what will be bought, buy and collect it, and say what it came to; the exit code.

    Args:
        read: the batch.
        wishes: what to buy beyond new and unfinished jobs.
        given: the values of `options.buying`.
        saved: a plan that was agreed to.
        shown: shows what is about to be done, before it is asked for.
    """
    from batchrunner.running import provider

    if given["events"] == "-" and given["as_json"]:
        raise UsageError("--events - and --json both want standard output", hint="give --events a file")
    show.problems(read.warnings)
    waits = _waits(read, given)
    door = _door(read, given)
    with (
        recorders.recording(
            read.state, read.path, log=given["log"], no_log=given["no_log"], events=given["events"]
        ) as recorder,
        provider(read, is_sandbox=given["sandbox"], scale=given["scale"]) as access,
    ):
        for warning in read.warnings:
            recorder.say("warning", "manifest", text=str(warning))
        typed = Typed.of(read.path, {**given, "selection": wishes.selection})
        display = progress(quiet=given["quiet"])
        with _heralding(read, given, typed) as herald:
            order = _order(read, access, wishes, given, saved=saved, shown=shown, waits=waits)
            report = carry_out(
                read,
                access,
                order,
                display=display,
                door=door,
                recorder=recorder,
                herald=herald,
                workers=given["workers"],
            )
            herald.ended(
                report.outcome,
                report.exit_code,
                report.totals,
                before=report.charged_before,
                lines=advice.after_run(report, typed),
            )
        return conclude(read, report, typed=typed, as_json=given["as_json"])


def _waits(read: Batch, given: Mapping[str, Any]) -> Waits:
    """When may be bought, worked out when the command is typed: the question may be answered later."""
    from batchrunner import waiting

    asked = waiting.Asked(
        start_at=given["start_at"],
        stop_at=given["stop_at"],
        finish_by=given["finish_by"],
        wait_for=given["wait_for"],
        is_rehearsal=given["sandbox"],
    )
    return waiting.planned(read, asked)


def _heralding(read: Batch, given: Mapping[str, Any], typed: Typed) -> AbstractContextManager[Herald]:
    from batchrunner.cli import doubts
    from batchrunner.core.notices import words_of
    from batchrunner.herald import heralding

    try:
        command = words_of(given["on_job_done"] or ())
    except ValueError as error:
        raise UsageError(f"--on-job-done is no command: {error}", hint="write a program and its arguments") from None
    return heralding(
        read,
        environ=os.environ,
        tell=show.say,
        command=command,
        is_silent=given["no_notices"],
        about=lambda job: doubts.lines(job, typed),
    )


def _door(read: Batch, given: Mapping[str, Any]) -> Door | None:
    from batchrunner.web import door as doors

    port, host = given["webhook_port"], given["webhook_host"]
    return doors.wanted(read.manifest.webhooks, port=port, host=host, environ=os.environ)


def _order(
    read: Batch,
    access: Access,
    wishes: Wishes,
    given: Mapping[str, Any],
    *,
    saved: Path | None,
    shown: Callable[[Plan], None] | None,
    waits: Waits,
) -> Order:
    """What the person agrees to."""
    from batchrunner.cli import consent
    from batchrunner.session import Order

    asked = consent.ask(
        read,
        access,
        wishes,
        saved=saved,
        history=given["history"],
        is_free=given["sandbox"],
        says_yes=given["yes"],
        shown=shown,
        waits=waits,
    )
    return Order(
        wishes=asked.wishes,
        flags=_flags(given),
        seen=asked.seen,
        history=given["history"],
        agreed=asked.agreed,
        waits=waits,
    )


def _flags(given: Mapping[str, Any]) -> Flags:
    """How the run is to go about it."""
    from batchrunner.caps import Flags
    from batchrunner.core.canary import Mode

    return Flags(
        max_credits=given["max_credits"],
        max_credits_per_job=given["max_credits_per_job"],
        cutoff=given["cutoff"],
        waits_for_credits=given["on_no_credits"] == "wait",
        ignores_disk_space=given["ignore_disk_space"],
        reuses_uploads=not given["no_upload_cache"],
        canary=Mode(given["canary"]) if given.get("canary") else None,
    )


def progress(*, quiet: bool) -> Progress:
    """The display that suits where standard error goes."""
    from batchrunner.cli import progress as displays

    if quiet:
        return displays.Quiet()
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return displays.Lines()
    from rich.console import Console

    return displays.Live(Console(stderr=True))


class Attended:
    """A display whose run Ctrl-C stops in two stages: first the buying, then at once."""

    def __init__(self, display: Progress) -> None:
        """Show what `display` shows."""
        self.observe = display.observe
        self._display = display

    @asynccontextmanager
    async def shown(self, engine: Engine, traffic: Traffic) -> AsyncIterator[None]:
        """Show it while in the block."""
        from batchrunner.core.job import BOUGHT
        from batchrunner.core.schedule import Stop
        from batchrunner.underway import LAST_ANSWER_S

        running = asyncio.current_task()
        assert running is not None

        def stop_buying() -> None:
            engine.stop(Stop.INTERRUPTED)
            bought = [job for job in engine.jobs().values() if job.state in BOUGHT]
            show.say(
                f"stopping: nothing more is bought; {show.plural(len(bought), 'job')} already bought will be collected."
                " Ctrl-C again leaves at once, and nothing is lost: run again to collect."
            )

        def leave() -> None:
            if engine.awaits_answer:
                show.say(f"leaving: waits up to {LAST_ANSWER_S:g} s for the answer to a paid request")
            running.cancel()

        async with self._display.shown(engine, traffic):
            with signals.in_two_stages(stop_buying, leave):
                yield


def carry_out(
    read: Batch,
    access: Access,
    order: Order,
    *,
    display: Progress,
    door: Door | None = None,
    recorder: Recorder | None = None,
    herald: Herald | None = None,
    workers: Workers | None = None,
) -> Report:
    """Carry out an order, with a display and Ctrl-C in two stages.

    Raises:
        KeyboardInterrupt: it left at once.
    """
    from batchrunner import running

    run_it = running.carry_out(
        read,
        access,
        order,
        onlooker=Attended(display),
        say=advice.say,
        door=door,
        recorder=recorder,
        herald=herald,
        workers=workers,
    )
    try:
        return asyncio.run(run_it)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def conclude(read: Batch, report: Report, *, typed: Typed, as_json: bool) -> int:
    """Print what a run came to and what to type next; its exit code."""
    from batchrunner import shapes
    from batchrunner.cli import status

    if as_json:
        show.as_json(shapes.status(read.path, read.state, report.jobs, report.totals, typed, earlier=report.earlier))
    status.print_summary(report.jobs, report.totals, before=report.charged_before, at_rest=report.at_rest)
    for line in advice.after_run(report, typed):
        show.say(line)
    return report.exit_code
