"""What lies in the folders of a manifest: one walk for all of its patterns.

Which files become jobs is decided by `core.folder`; here it is only looked. A link is followed where it stays inside
the manifest's folder, or the folder that a pattern begins with; a folder is never walked through a second link, so
that links in a circle end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
import os
from pathlib import Path
import stat
import time
import unicodedata

from batchrunner import storage
from batchrunner.core import address as addresses, folder as folders, patterns
from batchrunner.core.folder import Folder, Found, Listing
from batchrunner.core.patterns import Pattern
from batchrunner.errors import TransferError

FRESH_NS = 2_000_000_000
"""A file that was modified so short a time ago may still be being written, and is looked at twice."""

BETWEEN_LOOKS_S = 0.25


def look(
    root: Path,
    wanted: Sequence[Folder],
    *,
    now_ns: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Listing:
    """List every file that a pattern fits; what cannot be listed is told in the listing, not raised."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    since = {
        each.newer_than: folders.moment(each.newer_than, now_ns=now_ns, local=datetime.timestamp)
        for each in wanted
        if each.newer_than is not None
    }
    asked = tuple(dict.fromkeys(one for each in wanted for one in each.patterns()))
    walk = _Walk(root=root, patterns=tuple(each for each in asked if not addresses.is_object(each.base)))
    walk.start()
    files = _settled(root, walk.files, now_ns=now_ns, pause=pause)
    objects, closed = _objects([each for each in asked if addresses.is_object(each.base)])
    return Listing(
        files=(*files.values(), *objects),
        missing=walk.missing,
        unreadable=walk.unreadable | closed,
        astray=tuple(walk.astray),
        unnamable=len(walk.unnamable),
        since=since,
    )


def _objects(asked: Sequence[Pattern]) -> tuple[list[Found], dict[str, str]]:
    """What lies in buckets, each place listed once, and the places that cannot be listed, with why.

    A folder is listed alone where no pattern goes deeper: beneath it may be very many objects that nobody asks for.
    Otherwise all of it is, which takes the fewest requests. None is seen growing: an object appears when it is whole.
    """
    found: dict[str, Found] = {}
    closed: dict[str, str] = {}
    listed: list[str] = []
    for base in sorted({each.base for each in asked}, key=lambda base: (len(base), base)):
        if any(base.startswith(f"{each}/") for each in listed):
            continue
        is_deep = any(each.base == base and each.parts[:-1] for each in asked)
        if is_deep:
            listed.append(base)
        try:
            # A bucket may hold both forms of a letter, and patterns take them for the same.
            forms = dict.fromkeys([base, unicodedata.normalize("NFD", base)])
            there = [each for form in forms for each in storage.listed(form, is_deep=is_deep)]
        except TransferError as error:
            closed[base] = f"{error} ({error.hint})" if error.hint else str(error)
            continue
        found |= {each.path: each for each in there if any(one.matches(each.path) for one in asked)}
    return list(found.values()), closed


def _settled(root: Path, files: dict[str, Found], *, now_ns: int, pause: Callable[[float], None]) -> dict[str, Found]:
    """Look a second time at what was modified a moment ago."""
    fresh = [each for each in files.values() if abs(now_ns - each.modified_ns) < FRESH_NS]
    if fresh:
        pause(BETWEEN_LOOKS_S)
    for each in fresh:
        try:
            now = (root / each.path).stat()
        except OSError:
            del files[each.path]
            continue
        if (now.st_size, now.st_mtime_ns) != (each.size, each.modified_ns):
            files[each.path] = replace(each, is_growing=True)
    return files


@dataclass(frozen=True, slots=True, kw_only=True)
class _Here:
    """A folder to be listed: how its files are written, where it really is, and whether a link led here."""

    written: str
    real: str
    is_linked: bool = False


@dataclass(slots=True, kw_only=True)
class _Walk:
    root: Path
    patterns: tuple[Pattern, ...]
    files: dict[str, Found] = field(default_factory=dict)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    astray: set[str] = field(default_factory=set)
    unnamable: set[bytes] = field(default_factory=set)
    _real_root: str = ""
    _listed: set[str] = field(default_factory=set)

    def start(self) -> None:
        self._real_root = os.path.realpath(self.root)
        # The shortest first, so that what lies in several bases is walked once.
        for base in sorted({each.base for each in self.patterns}, key=lambda base: (len(base), base)):
            self._from(base)

    def _from(self, base: str) -> None:
        try:
            written = _on_disk(self.root, base)
        except FileNotFoundError as error:
            self.missing[base] = error.args[0]
            return
        real = os.path.realpath(self.root / written)
        area = (self._real_root, real)
        open_ = [_Here(written=written, real=real)]
        while open_:
            here = open_.pop()
            if here.written in self._listed:
                continue
            self._listed.add(here.written)
            try:
                open_.extend(self._folder(here, area))
            except OSError as error:
                self.unreadable[here.written] = error.strerror or str(error)

    def _folder(self, here: _Here, area: tuple[str, ...]) -> Iterator[_Here]:
        """Note the files of one folder; yield the folders in it that a pattern reaches."""
        with os.scandir(self.root / here.written) as entries:
            for entry in entries:
                name = entry.name
                if not _is_text(name):
                    self.unnamable.add(os.fsencode(entry.path))
                    continue
                written = _joined(here.written, name)
                if entry.is_symlink():
                    yield from self._link(here, entry, written, area)
                elif entry.is_dir():
                    if self._reaches(written) and not folders.is_sandbox(name):
                        yield replace(here, written=written, real=f"{here.real}{os.sep}{name}")
                elif entry.is_file() and self._fits(written):
                    self._note(written, entry.stat(), f"{here.real}{os.sep}{name}")

    def _link(self, here: _Here, entry: os.DirEntry[str], written: str, area: tuple[str, ...]) -> Iterator[_Here]:
        real = os.path.realpath(entry.path)
        try:
            found = os.stat(real)  # noqa: PTH116 - what the link leads to, once
        except OSError:
            found = None
        is_folder = found is not None and stat.S_ISDIR(found.st_mode)
        if not (self._reaches(written) if is_folder else self._fits(written)):
            return
        is_inside = any(_is_in(real, each) for each in area)
        if found is None or not is_inside or (is_folder and (here.is_linked or _is_in(here.real, real))):
            self.astray.add(written)
        elif is_folder:
            yield _Here(written=written, real=real, is_linked=True)
        elif stat.S_ISREG(found.st_mode):
            self._note(written, found, real)

    def _note(self, written: str, found: os.stat_result, real: str) -> None:
        plain = os.path.normpath(os.path.join(self._real_root, written))  # noqa: PTH118 - text, 100,000 times
        self.files[written] = Found(
            path=written,
            size=found.st_size,
            modified_ns=found.st_mtime_ns,
            real=None if plain == real else self._shown(real),
        )

    def _shown(self, real: str) -> str:
        """A real path as it would be written in the manifest, where it lies in its folder."""
        inside = real.removeprefix(f"{self._real_root}{os.sep}")
        return inside.replace(os.sep, "/")

    def _fits(self, written: str) -> bool:
        return any(each.matches(written) for each in self.patterns)

    def _reaches(self, written: str) -> bool:
        return any(each.reaches(written) for each in self.patterns)


def _on_disk(root: Path, base: str) -> str:
    """The folder that a pattern begins with as the disk writes it: its letters may be composed or decomposed there.

    Raises:
        FileNotFoundError: there is no such folder; with the names beside it.
    """
    if not base or (root / base).is_dir():
        return base
    written = "/" if base.startswith("/") else ""
    for name in base.strip("/").split("/"):
        beside = _names_in(root / written)
        near = next((each for each in beside if patterns.composed(each) == name), name)
        written = near if not written else _joined(written, near)
        if not (root / written).is_dir():
            raise FileNotFoundError(beside)
    return written


def _names_in(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(each for each in os.listdir(folder) if _is_text(each)))  # noqa: PTH208 - names only
    except (OSError, ValueError):
        return ()


def _joined(folder: str, name: str) -> str:
    return f"{folder}{'' if folder.endswith('/') else '/'}{name}" if folder else name


def _is_text(name: str) -> bool:
    """Whether a name can be written down: those of other encodings come as lone surrogates."""
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
