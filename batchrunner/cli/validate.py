"""`validate`: is the manifest fit to be run?"""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit, ManifestError


@click.command(short_help="Check a manifest and the files it names.")
@options.manifest
@options.allow_unlisted
@options.variables
@options.as_json
def validate(manifest: Path, *, allow_unlisted: bool, var: dict[str, str], as_json: bool) -> int:
    """Check MANIFEST and the files it names. Nothing is sent, nothing is written."""
    from batchrunner import batch, planning

    try:
        read = batch.read(manifest, allow_unlisted=allow_unlisted, variables=var)
        with show.looking() as on_progress:
            seen = planning.look(read, remembered={}, on_progress=on_progress)
    except ManifestError as error:
        if not as_json:
            raise
        show.as_json({"manifest": str(manifest), "jobs": 0, "problems": show.problem_shapes(error.problems)})
        return Exit.USAGE
    warnings = read.warnings + seen.warnings
    if as_json:
        show.as_json({"manifest": str(manifest), "jobs": len(read.jobs), "problems": show.problem_shapes(warnings)})
        return Exit.OK
    show.problems(warnings)
    show.line(f"{manifest}: {show.plural(len(read.jobs), 'job')}, no errors")
    return Exit.OK
