"""`report`: a batch as a page to look at, or as text for other programs, from its state file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
import os
from pathlib import Path
import tempfile
from typing import TYPE_CHECKING, Any

import click

from batchrunner import __version__
from batchrunner.cli import options, show
from batchrunner.cli.advice import Typed
from batchrunner.core import address as addresses
from batchrunner.errors import Exit, TransferError, UsageError

if TYPE_CHECKING:
    from batchrunner.core.job import Job
    from batchrunner.core.selection import Selection
    from batchrunner.gallery import Folders
    from batchrunner.report.model import Gallery, Report
    from batchrunner.report.read import Record
    from batchrunner.stateview import View

FORMATS = ("html", "md", "json", "csv", "junit")

MARKS = (
    '<meta name="generator" content="batchrunner',
    "| what | how much |",
    '"made_at"',
    '"id","kind",',
    "<testsuites ",
)
"""What stands near the beginning of a report in each of these forms, whatever it is of: by it, one is known again."""


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
    form, target = given["form"], given["target"]
    if form != "html" and (given["assets"] or given["no_pictures"]):
        raise UsageError("--assets and --no-pictures are for pages", hint="leave out --format")
    read = _read(manifest, state, selection)
    if target is None and form == "html":
        target = manifest.with_name(f"{manifest.stem}.report.html")
    if target is not None and str(target) == "-":
        target = None
    if target is not None:
        _refuse_to_overwrite(target, read)
    text = _page(read, target, given) if form == "html" else _text(read, form)
    if target is None:
        click.echo(text, nl=False)
    else:
        _write(target, text)
        show.line(str(target))
    return Exit.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What was read, and what a report tells of it."""

    manifest: Path
    state: Path
    root: Path
    record: Record
    report: Report
    typed: Typed
    clean: Callable[[str], str]
    folders: Folders


def _clock(at: float) -> datetime:
    return datetime.fromtimestamp(at).astimezone()


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(manifest: Path, state: Path | None, selection: Selection) -> _Read:
    from batchrunner import batch, clock, recorder, store
    from batchrunner.core import plain
    from batchrunner.gallery import Folders
    from batchrunner.report import read as reading
    from batchrunner.report.model import Origin

    batched = batch.read_for_collecting(manifest, state=state, to="report")
    redactor = recorder.redactor()

    def clean(text: str) -> str:
        return plain.shown(redactor.text(text))

    typed = Typed(manifest=manifest, flags={"state": state, "selection": selection})
    with store.open_to_read(batched.state) as view:
        assert view is not None, "looked for by read_for_collecting"
        words = _Words(typed=typed, known={job.id: job for job in view.jobs()})
        record = _record(view, batched.root, selection)
        origin = Origin(
            manifest=clean(str(manifest)),
            state_file=clean(str(batched.state)),
            version=__version__,
            made_at=clock.now(),
            selection=clean(typed.selected()),
            provider=view.fact("provider"),
            is_running=(run := view.last_run()) is not None and run.is_going_on,
        )
    made = reading.read(record, origin=origin, cap=batched.manifest.budget.credits, words=words, clean=clean)
    return _Read(
        manifest=manifest,
        state=batched.state,
        root=batched.root,
        record=record,
        report=made,
        typed=typed,
        clean=clean,
        folders=Folders.of(batched),
    )


def _record(view: View, root: Path, selection: Selection) -> Record:
    from batchrunner import storage
    from batchrunner.core.selection import EVERYTHING, facts_of, refuse_unmatched
    from batchrunner.report.read import Record

    jobs, earlier, lines, log = view.jobs(), view.earlier(), view.book(), list(view.events())
    if jobs and selection != EVERYTHING:
        refuse_unmatched(selection, map(facts_of, jobs))
        chosen = selection.choose(map(facts_of, jobs))
        jobs, earlier = ([job for job in some if job.id in chosen] for some in (jobs, earlier))
        lines = [line for line in lines if line.job in chosen]
        log = [each for each in log if each[0] in chosen]
    files = ((output.path, output.bytes) for job in jobs for output in job.outputs)
    missing: frozenset[tuple[str, int]] = frozenset()
    with suppress(TransferError):  # a bucket that cannot be reached says nothing of what is in it
        missing = storage.missing(root, files)
    return Record(jobs=jobs, earlier=earlier, log=log, lines=lines, missing=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What the command line says of jobs, and what it advises; `known` are all jobs on record."""

    typed: Typed
    known: Mapping[str, Job]

    @property
    def library(self) -> str:
        from batchrunner.provider import LIBRARY

        return LIBRARY

    @property
    def download(self) -> str:
        return self.typed.command("download")

    @property
    def ledger(self) -> str:
        return self.typed.command("ledger", refunds_due=True)

    def note(self, job: Job) -> str:
        from batchrunner.cli import status

        return status.note(job, self.known)

    def retry(self, code: str) -> str:
        return self.typed.command("retry", selection=self.typed.selection.without_states(), code=(code,))

    def answers(self, job: Job) -> tuple[str, str]:
        from batchrunner.cli import doubts

        return doubts.answers(job, self.typed)


# --- the forms -------------------------------------------------------------------------------------------------------


def _text(read: _Read, form: str) -> str:
    from batchrunner import recorder
    from batchrunner.core import plain

    match form:
        case "md":
            from batchrunner.report.text import markdown

            return markdown(read.report, _clock)
        case "csv":
            from batchrunner.report.rows import as_csv

            return as_csv(read.report)
        case "junit":
            from batchrunner.report.junit import as_junit

            return as_junit(read.report)
        case _:
            return plain.json_text(recorder.redactor().value(_shape(read))) + "\n"


def _shape(read: _Read) -> dict[str, Any]:
    """The report as JSON: what `status --json` says, what `ledger --json` adds up, and what a report adds to both."""
    from dataclasses import asdict

    from batchrunner.cli import ledger, status
    from batchrunner.core.ledger import refunds_due

    record, made = read.record, read.report
    status_shape = status.shape(read.manifest, read.state, record.jobs, made.totals, read.typed, earlier=record.earlier)
    return {
        "version": made.origin.version,
        "made_at": show.time_utc(made.origin.made_at),
        "selection": made.origin.selection,
        "cap": made.cap,
        **status_shape,
        "ledger": ledger.totals_shape(list(record.lines)),
        "failures": [asdict(group) for group in made.groups],
        "suspects": [
            {
                "id": card.id,
                "suspect": card.now.suspect,
                "at_s": next((file.suspect_at_s for file in card.now.files if file.suspect_at_s is not None), None),
            }
            for card in made.suspects
        ],
        "refunds_due": [ledger.due_shape(job) for job in refunds_due([*record.earlier, *record.jobs])],
        "models": [asdict(model) for model in made.models],
        "spend": [{"at": show.time_utc(at), "credits": net} for at, net in made.spend],
        "in_flight": [{"at": show.time_utc(at), "renders": count} for at, count in made.in_flight],
    }


def _page(read: _Read, target: Path | None, given: Mapping[str, Any]) -> str:
    from batchrunner.report import page

    folder = (Path.cwd() / "x" if target is None else target.resolve()).parent
    return page.page(
        read.report,
        _gallery(read, folder, given),
        clock=_clock,
        link=page.link_from(folder, read.root),
        clean=read.clean,
        pictures_beside=given["assets"] is not None,
    )


def _gallery(read: _Read, folder: Path, given: Mapping[str, Any]) -> Gallery:
    from batchrunner import gallery, places
    from batchrunner.report.model import Gallery

    if given["no_pictures"]:
        return Gallery(note="Made without pictures (--no-pictures).")
    cache = places.pictures_folder(os.environ)
    with show.counting("making pictures") as done:
        made = gallery.make(
            read.record.jobs, folders=read.folders, cache=cache, embedded=given["assets"] is None, done=done
        )
    try:
        return gallery.placed(made, assets=given["assets"], page_folder=folder, clean=read.clean)
    except OSError as error:
        raise UsageError(f"cannot write into {given['assets']}: {error.strerror or error}") from error


# --- writing ---------------------------------------------------------------------------------------------------------


def _refuse_to_overwrite(target: Path, read: _Read) -> None:
    """Refuse to write a report over what it is of.

    Raises:
        UsageError: it is the manifest, the state file, or a file that goes in or came out.
    """
    if not os.path.lexists(target):
        return
    jobs = (*read.record.jobs, *read.record.earlier)
    outputs = (output.path for job in jobs for output in job.outputs)
    inputs = (each.path for job in jobs for each in job.spec.inputs if each.path is not None)
    local = (path for path in (*outputs, *inputs) if not addresses.is_object(path))
    kept = (read.manifest, read.state, *(read.root / path for path in local))
    if target.resolve() in {path.resolve() for path in kept}:
        raise UsageError(f"{target} is part of the batch, and a report would replace it", hint="name another file")
    from batchrunner import places

    places.refuse_to_replace(target, what="report", marks=MARKS)


def _write(target: Path, text: str) -> None:
    """Put the text under a name, whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    target = target.resolve()
    name = None
    try:
        if target.exists() and not target.is_file():  # a terminal, a pipe
            target.write_text(text, encoding="utf-8")
            return
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".new", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
        Path(name).replace(target)
    except OSError as error:
        if name is not None:
            with suppress(OSError):
                Path(name).unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
