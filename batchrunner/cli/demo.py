"""`demo`: the main job, end to end, with nothing but this program."""

from __future__ import annotations

from pathlib import Path
import shutil
import sys

import click

from batchrunner.cli import options, show
from batchrunner.commands import Typed
from batchrunner.errors import Exit, UsageError


@click.command(short_help="See real video come out of a manifest: no key, no credits.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"))
@options.as_json
def demo(folder: Path, *, as_json: bool) -> int:
    """Make a few clips and stills in FOLDER, write a manifest for them, and render it on a sandbox.

    No key, no credits. Run again, it goes on where it was, or says that all is done.
    """
    from batchrunner import batch, demo as material
    from batchrunner.cli import run, status
    from batchrunner.running import provider
    from batchrunner.session import Order

    show.say(f"making clips and stills in {folder}")
    try:
        manifest = material.prepare(folder)
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or error}") from error
    read = batch.read(manifest)
    show.problems(read.warnings)
    show.say(f"rendering {show.plural(len(read.jobs), 'job')} of {read.path} on a sandbox")
    with provider(read, is_sandbox=True) as access:
        report = run.carry_out(read, access, Order(), display=run.progress(quiet=False))
    typed = Typed(manifest=read.path, flags={"sandbox": True})
    if not as_json:
        status.print_jobs(report.jobs, folder=folder)
    run.conclude(read, report, typed=typed, as_json=as_json)
    if report.exit_code is Exit.OK:
        show.say(f"all done: look at {folder / 'renders'}\n")
        for line in _next_steps(typed):
            show.say(line)
    return report.exit_code


def _next_steps(typed: Typed) -> list[str]:
    return [
        f"then{_where()}:",
        f"  {typed.command('status')}",
        f"  change a style in {typed.manifest}, then",
        f"  {typed.command('plan', rerender=True)}",
        f"  {typed.command('run', rerender=True)}",
        "  and for real, with your own clips: set MAGIC_HOUR_API_KEY and leave --sandbox out",
    ]


def _where() -> str:
    """What to type for `batchrunner`; in an environment that is not activated, the name alone is not found."""
    if shutil.which("batchrunner") is not None:
        return ""
    typed = "python -m batchrunner" if Path(sys.argv[0]).name == "__main__.py" else sys.argv[0]
    return f" (`batchrunner` is {typed} here)"
