"""`models`: what can be rendered, what a second of it costs, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from batchrunner.cli import catalogue, charges, options, show
from batchrunner.core.kind import Kind
from batchrunner.errors import Exit


@click.command(short_help="Show all models, art styles and what a second costs.")
@click.argument("manifests", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[MANIFEST]...")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Show one kind of render only.")
@click.option(
    "--catalog",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that adds models and prices, or corrects them.",
)
@click.option("--check", is_flag=True, help="Hold what the renders of each MANIFEST were charged against the table.")
@click.option(
    "--state", type=click.Path(path_type=Path, dir_okay=False), help="With --check of one MANIFEST: its state file."
)
@options.as_json
def models(
    manifests: Sequence[Path], *, kind: str | None, file: Path | None, check: bool, state: Path | None, as_json: bool
) -> int:
    """Show what can be rendered, what a second of it costs in credits, and where each figure is from.

    With --check, compare it with what was really charged, from the state files of the manifests. Nothing is sent.
    """
    if check != bool(manifests):
        raise click.UsageError("--check needs a manifest, and a manifest needs --check")
    if state is not None and len(manifests) != 1:
        raise click.UsageError("--state is the state file of one manifest")
    kinds = frozenset({Kind(kind)} if kind else Kind)
    if check:
        return charges.check(manifests, file, kinds, state=state, as_json=as_json)
    catalog = catalogue.read(None, file)
    if as_json:
        show.as_json(catalogue.shape(catalog, kinds))
        return Exit.OK
    catalogue.print_tables(catalog, kinds)
    return Exit.OK
