"""A file on a disk."""

from __future__ import annotations

from dataclasses import dataclass
import errno
import os
from pathlib import Path
from typing import TypeVar

from batchrunner import transfer
from batchrunner.core.expand import FileFact, FileState
from batchrunner.storage.place import Incoming, Landed, Readable, Seen
from batchrunner.transfer import Meter, Put

T = TypeVar("T")

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG})
"""Errors that say that there is nothing at a path; others (permissions, a dead share) say that nobody can tell.

EINVAL is what Windows makes of a name that no file can have, such as one with a star.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPlace:
    """A file; `root` is the folder that its path is recorded from."""

    path: Path
    root: Path

    @property
    def readable(self) -> Readable:
        """Its path."""
        return self.path

    @property
    def is_far(self) -> bool:
        """It is not."""
        return False

    def fact(self) -> FileFact:
        """What stands here; where nothing does, the names beside it."""
        try:
            found = self.path.stat()
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                return FileFact(kind=FileState.UNREADABLE, why=error.strerror)
            return FileFact(kind=FileState.MISSING, siblings=_names_in(self.path.parent))
        except ValueError:  # a path with a null byte
            return FileFact(kind=FileState.MISSING)
        if self.path.is_dir():
            return FileFact(kind=FileState.FOLDER)
        if not self.path.is_file():
            return FileFact(kind=FileState.SPECIAL)
        state = FileState.FILE if os.access(self.path, os.R_OK) else FileState.UNREADABLE
        return FileFact(kind=state, size=found.st_size, modified_ns=found.st_mtime_ns)

    def seen(self) -> Seen:
        """Size and time; raises OSError."""
        found = self.path.stat()
        return Seen(size=found.st_size, modified_ns=found.st_mtime_ns)

    async def send(self, url: str, *, sha256: str, size: int, put: Put, meter: Meter) -> None:
        """See `storage.upload`."""
        await transfer.upload(self.path, url, sha256=sha256, size=size, put=put, meter=meter)

    async def receive(self, incoming: Incoming[T]) -> Landed[T]:
        """See `storage.download`."""
        saved = await transfer.download(
            incoming.url,
            target=self.path,
            mark=incoming.mark,
            bound=incoming.bound,
            fetch=incoming.fetch,
            check=incoming.check,
            meter=incoming.meter,
        )
        is_beneath = saved.path.is_relative_to(self.root)
        written = (saved.path.relative_to(self.root) if is_beneath else saved.path).as_posix()
        return Landed(written=written, bytes=saved.bytes, sha256=saved.sha256, found=saved.found)


def _names_in(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(each.name for each in folder.iterdir()))
    except (OSError, ValueError):
        return ()
