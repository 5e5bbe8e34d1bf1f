"""The report of a batch, part of the composition: what is read of it, its forms, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
import os
from pathlib import Path
import tempfile
from typing import Any, Final, Literal

from batchrunner import __version__, batch, clock, commands, gallery, inwords, places, recorder, shapes, storage, store
from batchrunner.commands import Typed
from batchrunner.core import address as addresses, plain
from batchrunner.core.figures import moment_utc
from batchrunner.core.job import Job
from batchrunner.core.ledger import refunds_due
from batchrunner.core.selection import EVERYTHING, Selection, facts_of, refuse_unmatched
from batchrunner.errors import TransferError, UsageError
from batchrunner.gallery import Folders
from batchrunner.provider import LIBRARY
from batchrunner.report import read as reading
from batchrunner.report.model import Gallery, Origin, Report
from batchrunner.report.read import Record
from batchrunner.stateview import View

Form = Literal["html", "md", "json", "csv", "junit"]

MARKS: Final = (
    '<meta name="generator" content="batchrunner',
    "| what | how much |",
    '"made_at"',
    '"id","kind",',
    "<testsuites ",
)
"""What stands near the beginning of a report in each of its forms, whatever it is of: by it, one is known again."""

Done = Callable[[int, int], None]
"""Told while pictures are made: how many there are, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was read, and what a report tells of it."""

    manifest: Path
    state: Path
    root: Path
    record: Record
    report: Report
    typed: Typed
    clean: Callable[[str], str]
    folders: Folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The pictures of a page.

    Attributes:
        assets: the folder that they are put into; None for those that stand in the page.
        wanted: whether there are to be any.
    """

    assets: Path | None = None
    wanted: bool = True


def page_beside(manifest: Path) -> Path:
    """Where the page of a manifest goes unless another place is named."""
    return manifest.with_name(f"{manifest.stem}.report.html")


# --- reading ---------------------------------------------------------------------------------------------------------


def read(manifest: Path, *, state: Path | None, selection: Selection) -> Read:
    """Read what a report tells, from the state file.

    Raises:
        UsageError: there is no state file, or a word of the selection fits no job.
        StateUnusable: it cannot be used.
    """
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
    return Read(
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
    """What is said of jobs, and what is advised; `known` are all jobs on record."""

    typed: Typed
    known: Mapping[str, Job]

    @property
    def library(self) -> str:
        return LIBRARY

    @property
    def download(self) -> str:
        return self.typed.command("download")

    @property
    def ledger(self) -> str:
        return self.typed.command("ledger", refunds_due=True)

    def note(self, job: Job) -> str:
        return inwords.note(job, self.known)

    def retry(self, code: str) -> str:
        return self.typed.command("retry", selection=self.typed.selection.without_states(), code=(code,))

    def answers(self, job: Job) -> tuple[str, str]:
        return commands.answers(job, self.typed)


# --- the forms -------------------------------------------------------------------------------------------------------


def text(made: Read, form: Form) -> str:
    """A report for other programs, or for tickets and chats: any form but a page."""
    match form:
        case "md":
            from batchrunner.report.text import markdown  # noqa: PLC0415 - only one form is made

            return markdown(made.report, _clock)
        case "csv":
            from batchrunner.report.rows import as_csv  # noqa: PLC0415 - only one form is made

            return as_csv(made.report)
        case "junit":
            from batchrunner.report.junit import as_junit  # noqa: PLC0415 - only one form is made

            return as_junit(made.report)
        case _:
            return plain.json_text(recorder.redactor().value(_shape(made))) + "\n"


def _shape(read: Read) -> dict[str, Any]:
    """The report as JSON: what `status --json` says, what `ledger --json` adds up, and what a report adds to both."""
    record, made = read.record, read.report
    return {
        "version": made.origin.version,
        "made_at": moment_utc(made.origin.made_at),
        "selection": made.origin.selection,
        "cap": made.cap,
        **shapes.status(read.manifest, read.state, record.jobs, made.totals, read.typed, earlier=record.earlier),
        "ledger": shapes.sums(record.lines),
        "failures": [asdict(group) for group in made.groups],
        "suspects": [
            {
                "id": card.id,
                "suspect": card.now.suspect,
                "at_s": next((file.suspect_at_s for file in card.now.files if file.suspect_at_s is not None), None),
            }
            for card in made.suspects
        ],
        "gone": [file.shown for card in made.cards for file in card.now.files if not file.is_there],
        "refunds_due": [shapes.due(job) for job in refunds_due([*record.earlier, *record.jobs])],
        "models": [asdict(model) for model in made.models],
        "spend": [{"at": moment_utc(at), "credits": net} for at, net in made.spend],
        "in_flight": [{"at": moment_utc(at), "renders": count} for at, count in made.in_flight],
    }


def page(read: Read, folder: Path, drawn: Drawn, *, done: Done | None = None) -> str:
    """The page, as it stands in a folder: its links are relative to that. Pictures that go into files are put there.

    Raises:
        UsageError: the folder of pictures cannot be written.
    """
    from batchrunner.report import page as pages  # noqa: PLC0415 - loads what draws charts

    return pages.page(
        read.report,
        _gallery(read, folder, drawn, done),
        clock=_clock,
        link=pages.link_from(folder, read.root),
        clean=read.clean,
        pictures_beside=drawn.assets is not None,
    )


def _gallery(read: Read, folder: Path, drawn: Drawn, done: Done | None) -> Gallery:
    if not drawn.wanted:
        return Gallery(note="Made without pictures (--no-pictures).")
    cache = places.pictures_folder(os.environ)
    made = gallery.make(read.record.jobs, folders=read.folders, cache=cache, embedded=drawn.assets is None, done=done)
    try:
        return gallery.placed(made, assets=drawn.assets, page_folder=folder, clean=read.clean)
    except OSError as error:
        raise UsageError(f"cannot write into {drawn.assets}: {error.strerror or error}") from error


def _clock(at: float) -> datetime:
    return datetime.fromtimestamp(at).astimezone()


# --- writing ---------------------------------------------------------------------------------------------------------


def refuse_to_overwrite(target: Path, read: Read) -> None:
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
    places.refuse_to_replace(target, what="report", marks=MARKS)


def write(target: Path, text: str) -> None:
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
