"""`schema`: the manifest's format, for editors."""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit, UsageError


@click.command(short_help="Print the manifest's format for editors (JSON Schema).")
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write it to a file and not to standard output.",
)
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that adds models and prices, as `catalog:` in a manifest names it.",
)
@click.option("--events", "of_events", is_flag=True, help="The shape of the lines of `run --events`, in its place.")
@options.allow_unlisted
def schema(*, file: Path | None, catalog: Path | None, of_events: bool, allow_unlisted: bool) -> int:
    """Print the manifest's format as a JSON Schema, for editors that complete and check YAML.

    Models and styles are those of the catalogue, with the corrections of your own. Nothing is sent.
    """
    from batchrunner import places
    from batchrunner.cli import catalogue
    from batchrunner.core import jsonschema, plain

    if of_events:
        made = jsonschema.event_schema()
    else:
        made = jsonschema.json_schema(catalogue.read(None, catalog), allow_unlisted=allow_unlisted)
    if file is None or str(file) == "-":
        show.as_json(made)
        return Exit.OK
    places.refuse_to_replace(file, what="JSON Schema", marks=('"$schema"',))
    try:
        file.write_text(plain.json_text(made) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}") from error
    if not of_events:
        show.say(f"next: begin the manifest with    # yaml-language-server: $schema={file}")
    return Exit.OK
