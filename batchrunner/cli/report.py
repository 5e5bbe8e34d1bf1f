"""`report`: a batch as a page to look at, or as text for other programs, from its state file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from batchrunner.core.selection import Selection
    from batchrunner.reporting import Read

FORMATS = ("html", "md", "json", "csv", "junit")


@click.command(short_help="Make a page of a batch; also md, json, csv, junit.")
@options.manifest
@options.selecting
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write it here; - is standard output.  [default: <manifest>.report.html beside the manifest, and standard"
    " output for the other formats]",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="html", show_default=True, help="Its form.")
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Put the pictures of a page into this folder, and not into the page.",
)
@click.option("--no-pictures", is_flag=True, help="A page without pictures: nothing is decoded.")
def report(manifest: Path, *, selection: Selection, state: Path | None, **given: Any) -> int:
    """Make a report of MANIFEST: one HTML page that needs no network, or md, json, csv or junit.

    Reads the state file, and for the pictures the clips and stills; also while a run goes on.
    """
    from batchrunner import reporting

    form, target = given["form"], given["target"]
    if form != "html" and (given["assets"] or given["no_pictures"]):
        raise UsageError("--assets and --no-pictures are for pages", hint="leave out --format")
    read = reporting.read(manifest, state=state, selection=selection)
    if target is None and form == "html":
        target = reporting.page_beside(manifest)
    if target is not None and str(target) == "-":
        target = None
    if target is not None:
        reporting.refuse_to_overwrite(target, read)
    text = _page(read, target, given) if form == "html" else reporting.text(read, form)
    if target is None:
        click.echo(text, nl=False)
    else:
        reporting.write(target, text)
        show.line(str(target))
    return Exit.OK


def _page(read: Read, target: Path | None, given: dict[str, Any]) -> str:
    from batchrunner import reporting

    folder = (Path.cwd() / "x" if target is None else target.resolve()).parent
    drawn = reporting.Drawn(assets=given["assets"], wanted=not given["no_pictures"])
    with show.counting("making pictures") as done:
        return reporting.page(read, folder, drawn, done=done)
