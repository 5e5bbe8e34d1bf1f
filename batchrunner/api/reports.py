"""The report of a batch, as text or as a file."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from batchrunner import reporting
from batchrunner.api import given
from batchrunner.api.buying import place_of
from batchrunner.api.twins import refuse_in_loop, twin
from batchrunner.batch import Batch
from batchrunner.core.selection import EVERYTHING, Selection
from batchrunner.errors import UsageError
from batchrunner.reporting import Drawn, Form


def report_text(
    manifest: str | Path | Batch,
    *,
    form: Form = "html",
    state: str | Path | None = None,
    select: Selection = EVERYTHING,
    pictures: bool = True,
) -> str:
    """The report of a batch as text, from its state file; also while a run goes on.

    A page (`form="html"`) has its pictures in it, and links as they lead from the current folder.

    Raises:
        UsageError: there is no state file, or a word of the selection fits no job; of a page also, an event loop runs
            in this thread.
        StateUnusable: the state file cannot be used.
    """
    _refuse_wrong("report_text", form, select)
    path, where = place_of(manifest, state)
    read = reporting.read(path, state=where, selection=select)
    if form != "html":
        return reporting.text(read, form)
    return reporting.page(read, Path.cwd(), Drawn(wanted=pictures))


def write_report(
    manifest: str | Path | Batch,
    file: str | Path | None = None,
    *,
    form: Form = "html",
    state: str | Path | None = None,
    select: Selection = EVERYTHING,
    pictures: bool = True,
    assets: str | Path | None = None,
) -> Path:
    """Write the report of a batch to a file, by default `<manifest>.report.html` beside the manifest; gives its path.

    Args:
        manifest: its file, or as `load` gave it.
        file: where it goes; a report that is there is replaced, and nothing else is.
        form: `html`, `md`, `json`, `csv` or `junit`.
        state: the state file, where it is not beside the manifest.
        select: the jobs that it tells of.
        pictures: whether a page has any; without, nothing is decoded.
        assets: a folder for the pictures of a page, which else are in the page.

    Raises:
        UsageError: as `report_text`; or the file cannot be written, or is something else.
        StateUnusable: the state file cannot be used.
    """
    _refuse_wrong("write_report", form, select)
    path, where = place_of(manifest, state)
    if file is None and form != "html":
        raise UsageError(f"name the file that the report goes to as {form}")
    if form != "html" and (assets is not None or not pictures):
        raise UsageError("assets and pictures are for pages", hint='leave out form, or say form="html"')
    target = reporting.page_beside(path) if file is None else Path(file)
    read = reporting.read(path, state=where, selection=select)
    reporting.refuse_to_overwrite(target, read)
    if form == "html":
        drawn = Drawn(assets=None if assets is None else Path(assets), wanted=pictures)
        text = reporting.page(read, target.resolve().parent, drawn)
    else:
        text = reporting.text(read, form)
    reporting.write(target, text)
    return target


def _refuse_wrong(name: str, form: object, select: object) -> None:
    forms = get_args(Form)
    if form not in forms:
        raise UsageError(f"form is {', '.join(forms[:-1])} or {forms[-1]}, not {form!r}")
    given.refuse_no_selection(select)
    if form == "html":
        refuse_in_loop(f"{name}()", f"await {name}_async(…)")


report_text_async = twin(report_text)
write_report_async = twin(write_report)
