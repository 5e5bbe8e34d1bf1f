"""A download that is not finished: the bytes that came so far, and which version of the file they are of.

Two files beside the target: `.NAME.MARK.part` holds the bytes, `.NAME.MARK.etag` the version and its whole length. The
second is there only while the first holds bytes of that version and of no other: before a download starts over, both
are gone from the disk. So whatever was cut off, a run, the network or the power, what is kept can be gone on with, and
no file is ever put together from two versions.

Everything here waits for the disk; call it off the event loop.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import hashlib
from io import FileIO
import json
import os
from pathlib import Path
import re
from typing import TYPE_CHECKING

from batchrunner.core import outputs

if TYPE_CHECKING:
    from hashlib import _Hash

LONGEST_NOTE = 4096
"""Bytes read of a version's note; ours are far shorter."""

NAME_PART = 40
"""Characters of the target's name in a partial's: at most 160 bytes of the 255 that a file system allows."""

_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')


def is_strong(etag: str | None) -> bool:
    """Whether an entity tag promises the same bytes (RFC 9110, 8.8.1), and is short and plain enough to be repeated.

    Tags with bytes beyond ASCII are allowed there; nobody sends them, and they would have to survive two encodings.
    """
    return etag is not None and _STRONG.fullmatch(etag) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is there of an earlier try.

    Attributes:
        etag: the version of the file that the bytes are of.
        total: bytes of the whole file in that version.
        size: bytes that are there.
        digest: SHA-256 of those; goes on with the next.
    """

    etag: str
    total: int
    size: int
    digest: _Hash


class Partial:
    """The partial file of one download."""

    def __init__(self, target: Path, mark: str) -> None:
        """Name it.

        Args:
            target: the final name, in a folder that exists when anything is written.
            mark: unique to the file that is fetched, so that two downloads never share a partial one.
        """
        stem = f".{target.name[:NAME_PART]}.{mark}"
        self.path = target.with_name(f"{stem}.part")
        self._note = target.with_name(f"{stem}.etag")

    def kept(self) -> Kept | None:
        """What can be gone on with; None when there is nothing, or nobody knows of which version it is."""
        try:
            with self._note.open("rb") as note:
                told = json.loads(note.read(LONGEST_NOTE))
            etag, total = told["etag"], told["total"]
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
                size = file.tell()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not isinstance(etag, str) or not is_strong(etag) or not isinstance(total, int) or not 0 < size <= total:
            return None
        return Kept(etag=etag, total=total, size=size, digest=digest)

    @property
    def can_be_resumed(self) -> bool:
        """Whether something is there that a later try can go on with."""
        try:
            return self._note.exists() and self.path.stat().st_size > 0
        except OSError:
            return False

    def begin(self, *, etag: str | None, total: int | None) -> FileIO:
        """The empty file to write into; unbuffered, so that closing it has nothing left to write and to fail at.

        Without a strong tag or without a length there is nothing to go on by, and no note is kept.
        """
        if _remove(self._note):  # without a note, what is there is not gone on with, and is overwritten
            _remove(self.path)
            keep_names(self.path.parent)
        file = self.path.open("wb", buffering=0)
        if is_strong(etag) and total:
            try:
                self._note.write_text(json.dumps({"etag": etag, "total": total}), encoding="ascii")
            except OSError:
                file.close()
                raise
        return file

    def go_on(self, kept: Kept) -> FileIO:
        """The file to add to, behind what is kept."""
        file = self.path.open("r+b", buffering=0)
        file.seek(kept.size)
        file.truncate()
        return file

    def discard(self) -> bool:
        """Remove it, the note first; whether anything was there."""
        removed = [_remove(each) for each in (self._note, self.path)]
        return any(removed)


_OURS = re.compile(r"\.(?P<name>.*)\.(?P<mark>[^.-]+)(?:-\d+)?\.(?:part|etag)", re.DOTALL)


Left = dict[tuple[str, str], list[Path]]
"""What unfinished downloads left in one folder, by the target's name, as far as theirs has it, and the mark."""


def left_in(folder: Path, *, only_own: bool = False) -> Left:
    """What is left in a folder of downloads; with `only_own`, only what was of one try alone.

    What has a number of its own (`-1` and so on) counts.
    """
    left: Left = {}
    for name in _names_in(folder):
        found = _OURS.fullmatch(name)
        if found is not None and (not only_own or outputs.has_own_mark(name)):
            left.setdefault((found["name"], found["mark"]), []).append(folder / name)
    return left


def remove(left: Left, name: str, job_id: str, project_id: str) -> None:
    """Remove what is left of one download, with which nobody goes on, given its target's name."""
    for path in left.pop((name[:NAME_PART], outputs.mark_of(job_id, project_id)), ()):
        _remove(path)


def _names_in(folder: Path) -> list[str]:
    """The names in a folder that begin as ours do."""
    try:
        return [name for name in os.listdir(folder) if name[0] == "."]  # noqa: PTH208 - a hundred thousand, by name only
    except (OSError, ValueError):  # a path with a null byte, out of a state file
        return []


def keep_names(folder: Path) -> None:
    """Have a folder remember its names through a power cut, where the system lets a folder be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
