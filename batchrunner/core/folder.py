"""Folders as input: which of the files that were listed become jobs, and in which order.

The shell lists, once for all folders of a manifest; here it is decided, by values alone, and whatever the order of
the listing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
import posixpath
import re
from typing import Any, Literal, NamedTuple

from batchrunner.core import address as addresses, duration, findings, patterns, yamltext
from batchrunner.core.facts import Media
from batchrunner.core.patterns import BadPattern, Pattern
from batchrunner.core.problem import Place, Problem, Severity

Sort = Literal["name", "-name", "mtime", "-mtime", "size", "-size"]
"""The orders that files can have; - turns one round."""

SHOWN = 3
"""So many names are told in a warning; the rest is counted."""

MOST_IDLE = 20
"""Of so many patterns that leave out nothing it is looked up what was meant: each may take a walk over all files."""

_DAYS = re.compile(r"([0-9]{1,6}) ?([dw])")
_UNITS = {"d": 86_400, "w": 604_800}
_NS = 1_000_000_000
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What a job asks of a folder.

    Attributes:
        globs: patterns of the files, relative to the manifest's folder.
        exclude: patterns of files to be left out.
        sort: in which order they become jobs.
        limit: how many files there may be at most, the first ones by `sort`.
        newer_than: as written; the listing knows which moment that is.
        field: the asset that each file becomes, with the media and the extensions that it takes.
        place: where the glob stands, and `path` its path in the file (`jobs[3].input.glob`).
        exclude_place: where `exclude` stands, if it does.
    """

    globs: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    sort: Sort = "name"
    limit: int | None = None
    newer_than: str | None = None
    field: str
    media: Media
    extensions: tuple[str, ...]
    place: Place
    path: str
    exclude_place: Place | None = None

    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns of the files, alternatives apart."""
        return _compiled(self.globs)

    @property
    def depth(self) -> int:
        """How many folders of a file's path are no part of `{relpath}`: those that all patterns have in common."""
        bases = [each.base.split("/") if each.base else [] for each in self.patterns()]
        shortest = min(map(len, bases))
        return next((at for at in range(shortest) if len({base[at] for base in bases}) > 1), shortest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file in a folder.

    Attributes:
        path: relative to the manifest's folder, or absolute where the pattern is, with forward slashes; the address
            of an object.
        real: where it really lies, if a link leads to it: comparable to other files' `real` or `path`.
        is_growing: it changed between two looks.
    """

    path: str
    size: int
    modified_ns: int
    real: str | None = None
    is_growing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies in the folders of a manifest: every file that a pattern fits, in any order.

    Attributes:
        missing: folders that patterns begin with and that are not there, with the names beside each.
        unreadable: folders that cannot be read, and why.
        astray: links that lead out of the folder, in a circle, or nowhere.
        unnamable: how many names are no UTF-8.
        since: what each `newer_than` stands for, in nanoseconds since 1970.
    """

    files: tuple[Found, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    astray: tuple[str, ...] = ()
    unnamable: int = 0
    since: Mapping[str, int] = field(default_factory=dict)


NOTHING = Listing()


class Note(NamedTuple):
    """Something to tell about a folder; `key` is what it is about: `glob` or `exclude`."""

    code: str
    message: str
    hint: str | None = None
    severity: Severity = Severity.WARNING
    key: str = "glob"


class Choice(NamedTuple):
    """The files that fit, sorted and not limited yet, and what there is to tell."""

    files: tuple[Found, ...]
    notes: tuple[Note, ...]


# --- reading ---------------------------------------------------------------------------------------------------------


SANDBOX = ".sandbox"
"""What the name of a rehearsal's folder ends with: the uploads and the renders of a sandbox."""


def is_sandbox(name: str) -> bool:
    """Whether a folder is a rehearsal's: what lies in it is nobody's material, unless a pattern begins with it."""
    return name.endswith(SANDBOX)


def listed(value: Any) -> tuple[str, ...]:
    """Return one text or a list of them as a list."""
    return tuple(map(addresses.plain, (value,) if isinstance(value, str) else value or ()))


def flaws(values: Mapping[str, Any], *, media: Media, extensions: Sequence[str]) -> Iterator[tuple[str, Note]]:
    """Yield what is wrong with patterns, with the key at which each stands."""
    for key in ("glob", "exclude"):
        for text in listed(values.get(key)):
            try:
                found = patterns.compiled(text)
            except BadPattern as error:
                yield (
                    key,
                    Note("bad-glob", f"{yamltext.quoted(addresses.shown(text))}: {error}", error.hint, Severity.ERROR),
                )
                continue
            wrong = [each.extension for each in found if each.extension not in {None, *extensions}]
            if key == "glob" and wrong:
                said = f".{wrong[0]} is not {_article(media)} format that can be used" if wrong[0] else _no_kind(text)
                hint = f"possible: {', '.join(extensions)}" if wrong[0] else f"write {text}/* for all files of a folder"
                yield key, Note("bad-input", said, hint, Severity.ERROR)


def _no_kind(text: str) -> str:
    return f"{yamltext.quoted(text)} has no extension that can be used"


def _article(media: Media) -> str:
    return "an image" if media == "image" else "a video"


def moment(text: str, *, now_ns: int, local: Callable[[datetime], float]) -> int:
    """Return the moment that `newer_than` stands for, in nanoseconds since 1970.

    `7d`, `2w` or `90m` count back from now. A date, or a date and a time, is one of this place, unless it names its
    own offset; `local` turns it into seconds since 1970.

    Raises:
        ValueError: it is neither.
    """
    if match := _DAYS.fullmatch(text):
        return now_ns - int(match[1]) * _UNITS[match[2]] * _NS
    with suppress(ValueError):
        return now_ns - int(duration.seconds_of(text) * _NS)
    return int(local(datetime.fromisoformat(text)) * _NS)


# --- choosing --------------------------------------------------------------------------------------------------------


def choose(folder: Folder, listing: Listing) -> Choice:
    """Return the files that become jobs, sorted; what is left out without having been asked for is told."""
    wanted, unwanted = folder.patterns(), _compiled(folder.exclude)
    fitting: list[Found] = []
    excluded: list[Found] = []
    for each in listing.files:
        if any(pattern.matches(each.path) for pattern in wanted):
            is_excluded = any(pattern.matches(each.path) for pattern in unwanted)
            (excluded if is_excluded else fitting).append(each)
    usable = [each for each in fitting if _extension(each.path) in folder.extensions]
    notes = [*_about_places(wanted, unwanted, listing), *_about_unusable(fitting, folder)]
    if folder.newer_than is not None:
        since = listing.since[folder.newer_than]
        usable = [each for each in usable if each.modified_ns > since]
    ready = [each for each in usable if not each.is_growing and each.size]
    notes += _about_unready(usable)
    notes += _about_exclude(folder, excluded, ready)
    return Choice(files=tuple(_sorted(_once(ready), folder.sort)), notes=tuple(notes))


def problems(folder: Folder, notes: Iterable[Note]) -> Iterator[Problem]:
    """Yield the notes as problems that stand where the glob does."""
    for note in notes:
        yield Problem(
            place=(folder.exclude_place if note.key == "exclude" else None) or folder.place,
            code=note.code,
            message=note.message,
            path=f"{folder.path.removesuffix('glob')}{note.key}",
            hint=note.hint,
            severity=note.severity,
        )


def nothing_left(folder: Folder) -> Note:
    """Return what to tell of a folder that gives no job."""
    globs = ", ".join(yamltext.quoted(each, limit=200) for each in folder.globs)
    limits = " that is new enough" if folder.newer_than is not None else ""
    return Note("no-match", f"no file{limits} fits {globs}, so there is no job of it")


def _compiled(texts: Iterable[str]) -> tuple[Pattern, ...]:
    return tuple(pattern for text in texts for pattern in patterns.compiled(text))


def _extension(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


def _once(files: Sequence[Found]) -> list[Found]:
    """Return each file once, though links lead to it: by its own path, else by the first of the others."""
    if all(each.real is None for each in files):
        return list(files)
    by_place: dict[str, Found] = {}
    for each in sorted(files, key=lambda each: (each.real is not None, each.path)):
        by_place.setdefault(each.real or each.path, each)
    return list(by_place.values())


def _sorted(files: list[Found], by: str) -> list[Found]:
    files.sort(key=lambda each: (_natural(each.path), each.path), reverse=by == "-name")
    key = by.removeprefix("-")
    if key == "mtime":
        files.sort(key=lambda each: each.modified_ns, reverse=by.startswith("-"))
    elif key == "size":
        files.sort(key=lambda each: each.size, reverse=by.startswith("-"))
    return files


def _natural(path: str) -> list[tuple[str, int]]:
    """Return what sorts take 2 before take 10, whatever the case and the form of letters."""
    pieces = _DIGITS.split(patterns.composed(path).casefold())
    return [(text, int(number or 0)) for text, number in zip(pieces[::2], [*pieces[1::2], ""], strict=True)]


# --- telling ---------------------------------------------------------------------------------------------------------


def _about_places(wanted: Sequence[Pattern], unwanted: Sequence[Pattern], listing: Listing) -> Iterator[Note]:
    bases = dict.fromkeys(pattern.base for pattern in wanted)
    for base in bases:
        if base in listing.missing:
            said = f"there is no folder {yamltext.quoted(base, limit=200)}"
            yield Note("missing-folder", said, _nearest(base, listing.missing[base]), Severity.ERROR)
    for where, why in sorted(listing.unreadable.items()):
        # Each drive has one of the system's own (lost+found): without a way round it no such drive could be used.
        if any(pattern.reaches(where) for pattern in wanted) and not any(each.takes_all_of(where) for each in unwanted):
            said = f"the folder {yamltext.quoted(where or '.', limit=200)} cannot be read: {why}"
            yield Note("unreadable-folder", said, _way_round(wanted, where), Severity.ERROR)
    astray = sorted(each for each in listing.astray if any(one.matches(each) or one.reaches(each) for one in wanted))
    if astray:
        said = (
            "leads out of the folder, in a circle or nowhere, and is"
            if len(astray) == 1
            else ("lead out of the folder, in a circle or nowhere, and are")
        )
        yield Note("link", f"{counted(astray, 'link')} {said} left out")
    if listing.unnamable:
        many = "1 file has a name" if listing.unnamable == 1 else f"{listing.unnamable:,} files have names"
        yield Note("bad-name", f"{many} in another encoding than UTF-8, and cannot be used", "rename what is meant")


def _way_round(wanted: Sequence[Pattern], where: str) -> str | None:
    """Return how a folder is left out that cannot be read; None for one that a pattern names itself."""
    if any(pattern.base == patterns.composed(where) for pattern in wanted):
        return None
    with suppress(BadPattern):
        return f"make it readable, or leave it out with exclude: {yamltext.quoted(patterns.all_of(where), limit=200)}"
    return None


def _about_unusable(fitting: Sequence[Found], folder: Folder) -> Iterator[Note]:
    unusable = sorted(each.path for each in fitting if _extension(each.path) not in folder.extensions)
    if unusable:
        are = "is no" if len(unusable) == 1 else "are no"
        said = f"{counted(unusable, 'file')} {are} {folder.media} that can be used, and left out"
        yield Note("skipped", said, f"possible: {', '.join(folder.extensions)}")


def _about_unready(usable: Sequence[Found]) -> Iterator[Note]:
    growing = sorted(each.path for each in usable if each.is_growing)
    if growing:
        yield Note("changing-file", left_for_later(growing))
    empty = sorted(each.path for each in usable if not each.size and not each.is_growing)
    if empty:
        yield Note("empty-file", f"{counted(empty, 'file')} {_are(empty)} empty, and left for the next run")


def _about_exclude(folder: Folder, excluded: Sequence[Found], kept: Sequence[Found]) -> Iterator[Note]:
    """Tell of a pattern that leaves out nothing and would, written a little differently.

    What was to be left out would be paid for. A pattern that fits nothing either way is not told: it may be for later.
    """
    texts = [each for each in folder.exclude if not _fit_any(each, excluded)][:MOST_IDLE]
    if not texts:
        return
    # Of a pattern that ends with ** the name makes no difference, so one file of each folder will do.
    apart = [(each.path.rpartition("/"), each) for each in kept]
    beside = list({where: each for (where, _, name), each in apart if not name.startswith(".")}.values())
    heads = sorted({f"{patterns.escaped(each.base)}/" if each.base else "" for each in folder.patterns()})
    for text in texts:
        for meant in _meant(text, heads):
            if _fit_any(meant, beside if meant.endswith("**") else kept):
                why = "patterns begin in the manifest's folder, and fit files"
                hint = f"{why}; did you mean {yamltext.quoted(meant, limit=200)}?"
                yield Note(
                    "idle-exclude", f"{yamltext.quoted(text, limit=200)} leaves out no file", hint, key="exclude"
                )
                break


def _meant(text: str, heads: Sequence[str]) -> Iterator[str]:
    """Yield what may be meant: all that lies in a folder, or what lies in, or somewhere below, the folder of a glob."""
    ends = ("",) if text.endswith("**") else ("", "/**")
    yield f"{text}/**"
    if text.startswith("/") or addresses.is_object(text):
        return
    for head in heads:
        for begin in (head, f"{head}**/"):
            yield from (f"{begin}{text.removeprefix('./')}{end}" for end in ends)


def _fit_any(text: str, files: Iterable[Found]) -> bool:
    try:
        compiled = patterns.compiled(text)
    except BadPattern:
        return False
    return any(pattern.matches(each.path) for each in files for pattern in compiled)


def left_for_later(paths: Sequence[str]) -> str:
    """Return what to tell of files that are not complete yet."""
    return f"{counted(paths, 'file')} {_are(paths)} still being written, and left for the next run"


def _are(paths: Sequence[str]) -> str:
    return "is" if len(paths) == 1 else "are"


def counted(paths: Sequence[str], noun: str) -> str:
    """Return how many there are, with the first names: `2 files ("a.mp4", "b.mp4")`."""
    names = ", ".join(yamltext.quoted(each, limit=100) for each in paths[:SHOWN])
    more = ", …" if len(paths) > SHOWN else ""
    return f"{len(paths):,} {noun}{'' if len(paths) == 1 else 's'} ({names}{more})"


def _nearest(base: str, siblings: tuple[str, ...]) -> str | None:
    folder, name = posixpath.split(base)
    near = findings.nearest(name, siblings)
    return f"did you mean {posixpath.join(folder, near)}?" if near else None


# --- files that are gone ---------------------------------------------------------------------------------------------

GONE = "its file is gone"
LEFT_OUT = "its folder leaves its file out now"
UNREADY = "its file is still being written"


def absences(
    folders: Sequence[Folder], listing: Listing, paths: Iterable[str], unready: frozenset[str]
) -> dict[str, str]:
    """Return why files that were inputs give no job any more, for those of `paths` that some folder asks for.

    `unready` are files that were found incomplete after the listing.
    """
    wanted = [pattern for each in folders for pattern in each.patterns()]
    there = {each.path: each for each in listing.files} if wanted else {}
    reasons = {}
    for path in paths:
        if any(pattern.matches(path) for pattern in wanted):
            found = there.get(path)
            if found is None:
                reasons[path] = GONE
            else:
                reasons[path] = UNREADY if path in unready or found.is_growing or not found.size else LEFT_OUT
    return reasons
