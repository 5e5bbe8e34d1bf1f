"""`config`: the manifest with everything filled in."""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit


@click.command(short_help="Show a manifest with everything filled in.")
@options.manifest
@click.option("--origin", is_flag=True, help="Say beside each value where it came from.")
@options.allow_unlisted
@options.variables
@options.as_json
def config(manifest: Path, *, origin: bool, allow_unlisted: bool, var: dict[str, str], as_json: bool) -> int:
    """Show MANIFEST expanded: included files, variables, defaults and matrices filled in.

    What is printed is a manifest that asks for the same. Values from the environment are shown.
    """
    from batchrunner import batch

    expanded = batch.expanded(manifest, variables=var, allow_unlisted=allow_unlisted)
    show.problems(expanded.warnings)
    if as_json:
        show.as_json(expanded.as_values(origin=origin))
    else:
        for line in expanded.as_yaml(origin=origin):
            show.line(line)
    return Exit.OK
