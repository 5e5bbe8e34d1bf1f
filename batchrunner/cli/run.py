"""`run`: render what the manifest asks for and is not on disk yet. Run again, it goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, recorder as recorders, show, signals
from batchrunner.cli.advice import Typed
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from batchrunner.access import Access
    from batchrunner.batch import Batch
    from batchrunner.cli.progress import Progress
    from batchrunner.cli.recorder import Recorder
    from batchrunner.core.inputs import Inspected
    from batchrunner.core.job import Job
    from batchrunner.core.plan import Pins, Plan, Wishes
    from batchrunner.core.schedule import Stop
    from batchrunner.engine import Engine
    from batchrunner.provider.webhooks import Notice
    from batchrunner.seams import Outcome
    from batchrunner.session import Flags, Session
    from batchrunner.store import Totals
    from batchrunner.web.door import Door


CANARY = "--canary"


class _Run(click.Command):
    """`--canary` may stand alone or be `--canary=stop`; it never takes the next word, which is the manifest."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        return super().parse_args(ctx, [f"{CANARY}=go" if word == CANARY else word for word in args])


@click.command(cls=_Run)
@options.manifest
@options.selecting
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
    from batchrunner.cli import consent
    from batchrunner.web import door as doors

    if given["events"] == "-" and given["as_json"]:
        raise UsageError("--events - and --json both want standard output", hint="give --events a file")
    show.problems(read.warnings)
    door = doors.wanted(
        read.manifest.webhooks, port=given["webhook_port"], host=given["webhook_host"], environ=os.environ
    )
    with (
        recorders.recording(
            read.state, read.path, log=given["log"], no_log=given["no_log"], events=given["events"]
        ) as recorder,
        provider(read, is_sandbox=given["sandbox"], scale=given["scale"]) as access,
    ):
        for warning in read.warnings:
            recorder.say("warning", "manifest", text=str(warning))
        asked = consent.ask(
            read,
            access,
            wishes,
            saved=saved,
            history=given["history"],
            is_free=given["sandbox"],
            says_yes=given["yes"],
            shown=shown,
        )
        report = asyncio.run(
            carry_out(
                read,
                access,
                wishes=asked.wishes,
                progress=progress(quiet=given["quiet"]),
                flags=_flags(given),
                files=asked.files,
                history=given["history"],
                agreed=asked.agreed,
                door=door,
                recorder=recorder,
            )
        )
        typed = Typed.of(read.path, {**given, "selection": wishes.selection})
        return conclude(read, report, typed=typed, as_json=given["as_json"])


def _flags(given: Mapping[str, Any]) -> Flags:
    """How the run is to go about it."""
    from batchrunner.core.canary import Mode
    from batchrunner.session import Flags

    return Flags(
        max_credits=given["max_credits"],
        max_credits_per_job=given["max_credits_per_job"],
        cutoff=given["cutoff"],
        waits_for_credits=given["on_no_credits"] == "wait",
        ignores_disk_space=given["ignore_disk_space"],
        reuses_uploads=not given["no_upload_cache"],
        canary=Mode(given["canary"]) if given.get("canary") else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to.

    Attributes:
        outcome: how it ended.
        exit_code: what that comes to.
        jobs: every job as it is now.
        earlier: the attempts that were followed by another.
        totals: credits over every attempt on record.
        missing: finished jobs whose file is not where it was put.
        named: the projects that notices told of, by the name they were submitted under.
    """

    outcome: Outcome
    exit_code: Exit
    jobs: tuple[Job, ...]
    totals: Totals
    missing: int
    named: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[Job, ...] = ()


@contextmanager
def provider(batch: Batch, *, is_sandbox: bool, scale: float = 0.5) -> Iterator[Access]:
    """The provider of a run: the real one by the environment, or a sandbox that lives as long as the block.

    Raises:
        StateUnusable: no run can be recorded where the state file is; nothing was begun.
    """
    from batchrunner import statefile
    from batchrunner.access import Access, access

    statefile.check_folder(batch.state)
    if not is_sandbox:
        yield access(os.environ)
        return
    from batchrunner.sandbox import launch
    from batchrunner.sandbox.settings import API_KEY, Settings

    data = batch.root / f"{batch.path.stem}.sandbox"
    with launch.start(Settings(data_dir=data, scale=scale)) as running:
        yield Access(base_url=running.base_url, key=API_KEY)


def progress(*, quiet: bool) -> Progress:
    """The display that suits where standard error goes."""
    from batchrunner.cli import progress as displays

    if quiet:
        return displays.Quiet()
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return displays.Lines()
    from rich.console import Console

    return displays.Live(Console(stderr=True))


async def carry_out(
    read: Batch,
    access: Access,
    *,
    wishes: Wishes,
    progress: Progress,
    flags: Flags | None = None,
    files: Sequence[Inspected] = (),
    history: Path | None = None,
    agreed: Pins | None = None,
    stop: Stop | None = None,
    fetch_again: bool = False,
    judges: bool = False,
    door: Door | None = None,
    recorder: Recorder | None = None,
) -> Report:
    """Check the key, lock the state, and run the engine to its end.

    Args:
        read: the batch.
        access: the provider.
        wishes: what to buy beyond new and unfinished jobs.
        progress: the display.
        flags: caps of this run.
        files: what was read of the inputs a moment ago.
        history: a folder whose state files prices are learned from, too.
        agreed: what the person agreed to; anything else is not bought.
        stop: buys nothing from the start, if given.
        fetch_again: also fetches the files of finished jobs that are no longer on disk.
        judges: takes up the lost submissions alone, to learn what became of them.
        door: where to listen for the provider's notices, if anywhere.
        recorder: hears of everything; by default nothing is kept.
    """
    from batchrunner import session as sessions
    from batchrunner.access import account as read_account, client as client_of
    from batchrunner.till import Noted, Till

    recorder = recorder or recorders.Recorder()
    async with client_of(access, heard=recorder.heard) as client:
        account = await read_account(client)
        with sessions.begin(
            read,
            wishes=wishes,
            access=access,
            account=account,
            is_collecting=fetch_again or judges,
            files=files,
            run_id=recorder.run,
            told=recorder.told,
            ignores_disk_space=flags is not None and flags.ignores_disk_space,
            history_folder=history,
            agreed=agreed,
        ) as begun:
            session = sessions.only_lost(begun) if judges else begun
            wanted = sessions.selected(session, wishes.selection)
            missing = [job.id for job in sessions.missing_outputs(read.root, wanted)]
            with Till.of(os.environ, provider=access.provider, account=account.id) as till:
                till.note(Noted(state=session.store.path, root=read.root))
                # The balance is no evidence while another run of the account spends from it.
                if stop is None or judges:
                    await till.wait(batch=read.path, tell=show.say)
                # Read again: looking and waiting may have taken a while, and this balance is evidence.
                account = await read_account(client)
                if not session.is_collecting:
                    sessions.refuse_vain_caps(read, account)
                engine, performer = sessions.engine(
                    session,
                    client=client,
                    access=access,
                    account=account,
                    till=till,
                    observe=progress.observe,
                    tell=recorder.tell,
                    flags=flags or sessions.Flags(),
                    fetch_again=missing if fetch_again else (),
                )
                if stop is not None:
                    engine.stop(stop)
                async with _listening(door, engine) as named, progress.shown(engine, performer.traffic):
                    outcome = await _run_engine(engine)
            lacking = outcome.not_fetched if fetch_again else len(missing)
            return _close(session, engine, outcome, missing=lacking, named=named, recorder=recorder)


@asynccontextmanager
async def _listening(door: Door | None, engine: Engine) -> AsyncIterator[Mapping[str, str]]:
    """Take the provider's notices while the engine runs; gives the projects they name, for a lost submission."""
    named: dict[str, str] = {}
    if door is None:
        yield named
        return
    from batchrunner.clock import WallClock
    from batchrunner.web import receiver

    def heed(notice: Notice) -> None:
        if notice.name is not None:
            named[notice.name] = notice.project_id
        if notice.asks_for_a_look:
            engine.notice(notice.project_id)

    async with receiver.listening(door, on_notice=heed, now=WallClock().now, tell=show.say) as address:
        show.say(f"webhooks: listening on {address}")
        yield named


def _by_state(outcome: Outcome) -> dict[str, int]:
    return {str(state): count for state, count in outcome.by_state.items() if count}


async def _run_engine(engine: Engine) -> Outcome:
    """Run it so that Ctrl-C first stops the buying and then leaves."""
    from batchrunner.core.job import BOUGHT
    from batchrunner.core.schedule import Stop

    task = asyncio.ensure_future(engine.run())

    def stop_buying() -> None:
        engine.stop(Stop.INTERRUPTED)
        bought = [job for job in engine.jobs().values() if job.state in BOUGHT]
        show.say(
            f"stopping: nothing more is bought; {show.plural(len(bought), 'job')} already bought will be collected."
            " Ctrl-C again leaves at once, and nothing is lost: run again to collect."
        )

    def leave() -> None:
        task.cancel()

    with signals.in_two_stages(stop_buying, leave):
        try:
            return await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def _close(
    session: Session,
    engine: Engine,
    outcome: Outcome,
    *,
    missing: int,
    named: Mapping[str, str],
    recorder: Recorder,
) -> Report:
    """Put on record how the run ended; what it came to."""
    from batchrunner.core import schedule

    code = schedule.exit_code(
        outcome.by_state,
        stop=outcome.stop,
        is_unreachable=outcome.is_unreachable,
        held_back=outcome.held_back,
        is_too_dear=outcome.far_off is not None or outcome.passed is not None,
        not_fetched=outcome.not_fetched,
        left_out=0 if session.is_collecting else len(session.plan.waiting()),
    )
    session.store.end_run(at=outcome.ended_at, exit_code=code)
    recorder.say("info", "ended", exit_code=int(code), jobs=_by_state(outcome), stop=outcome.stop)
    return Report(
        outcome=outcome,
        exit_code=code,
        jobs=tuple(engine.jobs().values()),
        totals=session.store.totals(),
        missing=missing,
        named=named,
        earlier=tuple(session.store.earlier()),
    )


def conclude(read: Batch, report: Report, *, typed: Typed, as_json: bool) -> int:
    """Print what a run came to and what to type next; its exit code."""
    from batchrunner.cli import advice, status

    if as_json:
        show.as_json(status.shape(read.path, read.state, report.jobs, report.totals, typed, earlier=report.earlier))
    status.print_summary(report.jobs, report.totals)
    for line in advice.after_run(report, typed):
        show.say(line)
    return report.exit_code
