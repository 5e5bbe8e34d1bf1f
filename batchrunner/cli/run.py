"""`run`: render what the manifest asks for and is not on disk yet. Run again, it goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, show, signals
from batchrunner.errors import Exit

if TYPE_CHECKING:
    from batchrunner.batch import Access, Batch, Session
    from batchrunner.cli.progress import Progress
    from batchrunner.core.job import Job
    from batchrunner.core.plan import Wishes
    from batchrunner.core.schedule import Stop
    from batchrunner.engine import Engine, Outcome


@click.command()
@options.manifest
@options.state
@options.sandbox
@click.option("--scale", default=0.5, show_default=True, help="With --sandbox: size of its pictures, 1 for nominal.")
@options.rerender
@options.retry_failed
@options.allow_unlisted
@click.option("-y", "--yes", is_flag=True, help="Do not ask before spending credits.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the summary.")
@options.as_json
def run(manifest: Path, **given: Any) -> int:
    """Render what MANIFEST asks for and bring every clip to disk.

    Run again, it goes on where it was and pays for nothing twice. Ctrl-C stops buying and collects what was bought;
    Ctrl-C again leaves at once, and a later run collects the rest.
    """
    from batchrunner import batch
    from batchrunner.core.plan import Wishes

    read = batch.read(manifest, state=given["state"], allow_unlisted=given["allow_unlisted"])
    show.problems(read.warnings)
    wishes = Wishes(rerender=given["rerender"], retry_failed=given["retry_failed"])
    with provider(read, is_sandbox=given["sandbox"], scale=given["scale"]) as access:
        report = asyncio.run(carry_out(read, access, wishes=wishes, progress=progress(quiet=given["quiet"])))
    again = f"batchrunner run {manifest}{' --sandbox' if given['sandbox'] else ''}"
    return conclude(read, report, again=again, as_json=given["as_json"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to: how it ended, its exit code, and every job as it is now."""

    outcome: Outcome
    exit_code: Exit
    jobs: tuple[Job, ...]


@contextmanager
def provider(batch: Batch, *, is_sandbox: bool, scale: float = 0.5) -> Iterator[Access]:
    """The provider of a run: the real one by the environment, or a sandbox that lives as long as the block."""
    from batchrunner.batch import Access, access

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
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return displays.Lines()
    from rich.console import Console

    return displays.Live(Console(stderr=True))


async def carry_out(
    read: Batch,
    access: Access,
    *,
    wishes: Wishes,
    progress: Progress,
    stop: Stop | None = None,
    fetch_again: bool = False,
) -> Report:
    """Check the key, lock the state, and run the engine to its end.

    Args:
        read: the batch.
        access: the provider.
        wishes: what to buy beyond new and unfinished jobs.
        progress: the display.
        stop: buys nothing from the start, if given.
        fetch_again: also fetches the files of finished jobs that are no longer on disk.
    """
    from batchrunner import batch
    from batchrunner.core import schedule

    async with batch.client(access) as client:
        account = await batch.account(client)
        with batch.begin(read, wishes=wishes, access=access, account=account, is_collecting=fetch_again) as session:
            missing = _missing(session) if fetch_again else ()
            engine, performer = batch.engine(
                session,
                client=client,
                access=access,
                account=account,
                observe=progress.observe,
                fetch_again=missing,
            )
            if stop is not None:
                engine.stop(stop)
            async with progress.shown(engine, performer.traffic):
                outcome = await _run_engine(engine)
            code = schedule.exit_code(outcome.by_state, stop=outcome.stop, is_unreachable=outcome.is_unreachable)
            session.store.end_run(at=outcome.ended_at, exit_code=code)
            return Report(outcome=outcome, exit_code=code, jobs=tuple(engine.jobs().values()))


def _missing(session: Session) -> Collection[str]:
    from batchrunner.batch import missing_outputs

    return [job.id for job in missing_outputs(session.batch.root, session.jobs)]


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


def conclude(read: Batch, report: Report, *, again: str, as_json: bool) -> int:
    """Print what a run came to and what to type next (`again` goes on where it was); its exit code."""
    from batchrunner.cli import status

    if as_json:
        show.as_json(status.shape(read.path, read.state, report.jobs))
    status.print_summary(report.jobs)
    for line in _advice(report, again):
        show.say(line)
    return report.exit_code


def _advice(report: Report, again: str) -> Iterator[str]:
    from batchrunner.batch import LIBRARY
    from batchrunner.core.job import State
    from batchrunner.core.schedule import Stop

    outcome = report.outcome
    if outcome.trouble is not None:
        yield f"stopped: {outcome.trouble.message}"
    if outcome.stop is Stop.KEY_REFUSED:
        yield "hint: set MAGIC_HOUR_API_KEY to a valid key and run again; nothing is lost"
    elif outcome.stop is Stop.OUT_OF_CREDITS:
        yield "hint: top up the account and run again; what was bought is on disk"
    for job in report.jobs:
        if job.state is State.UNCERTAIN:
            yield f"uncertain: {job.id}, sent as {job.name!r}: {job.trouble.message if job.trouble else ''}"
            yield f"hint: look for that name in {LIBRARY}"
    if report.exit_code in {Exit.INCOMPLETE, Exit.UNREACHABLE, Exit.INTERRUPTED}:
        yield f"next: {again}    goes on where it was"
    elif report.exit_code is Exit.JOBS_FAILED:
        yield f"next: {again} --retry-failed"
