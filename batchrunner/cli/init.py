"""`init`: the first manifest for a folder of clips and stills."""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner.cli import options, show
from batchrunner.commands import Typed
from batchrunner.errors import Exit

MOST_LEFT_OUT = 10


@click.command(short_help="Write a first manifest for the clips and stills in a folder.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-o",
    "--output",
    "manifest",
    type=options.NewFile(),
    help="The manifest to write; default: <name of FOLDER>.yaml in the current folder.",
)
@click.option("--force", is_flag=True, help="Replace the manifest if it is there already.")
def init(folder: Path, manifest: Path | None, *, force: bool) -> int:
    """Look at the clips and stills in FOLDER, and write a manifest that can be planned as it stands.

    One job for each file, with a budget a little above what they can cost. Nothing is sent.
    """
    from batchrunner import starter

    manifest = manifest or starter.default_path(folder)
    if manifest.exists() and not force:
        raise starter.already_there(manifest)
    with show.looking() as on_progress:
        made = starter.make(folder, manifest, on_progress=on_progress)
    starter.write(made, manifest, is_forced=force)
    for path, why in list(made.left_out.items())[:MOST_LEFT_OUT]:
        show.say(f"left out: {path}: {why}")
    if len(made.left_out) > MOST_LEFT_OUT:
        show.say(f"left out: {len(made.left_out) - MOST_LEFT_OUT:,} more, see exclude: in {manifest}")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in made.counts.items())
    show.line(f"{manifest}: {show.plural(sum(made.counts.values()), 'job')} ({kinds})")
    typed = Typed(manifest=manifest, flags={})
    show.say("next: look at what is marked with CHANGE, then")
    for command in (typed.command("validate"), typed.command("plan"), typed.command("run", sandbox=True)):
        show.say(f"  {command}")
    return Exit.OK
