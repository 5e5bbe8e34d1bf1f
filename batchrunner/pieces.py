"""Files read and written piece by piece, in threads, while other pieces are on their way.

A visit to a thread costs more than what it does for a small file. So a small file is read in one, with its checksum,
and opened, written and synced in another.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
import hashlib
from io import FileIO
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from batchrunner.errors import DamagedFile, DiskFull, InputProblem, TransferError
from batchrunner.partial import Kept, Partial
from batchrunner.reserve import Claim

PIECE = 512 * 1024
"""Bytes read or written at a time: large enough to be as fast as any library, small in memory."""


def sha256_of(path: Path) -> tuple[str, int]:
    """SHA-256 (lower-case hex) and size in bytes of a file.

    Raises:
        InputProblem: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return digest.hexdigest(), file.tell()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> InputProblem:
    """The error of a file that cannot be read."""
    return InputProblem(f"cannot read {path}: {error.strerror or error}")


class Reading:
    """Reads a file in a thread, a piece ahead; it must be the one that was fingerprinted, and can be read once."""

    def __init__(self, path: Path, *, sha256: str) -> None:
        """Nothing is opened before the first read; `sha256` is what the content must have."""
        self._path = path
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._ahead: asyncio.Future[bytes] | None = None
        self._is_over = False

    async def read(self) -> bytes:
        """The next piece; nothing after the last.

        Raises:
            InputProblem: it cannot be read, or is not what it was.
        """
        if self._ahead is None:
            self._read_ahead()
        assert self._ahead is not None
        try:
            piece = await asyncio.shield(self._ahead)
        except OSError as error:
            raise unreadable(self._path, error) from error
        if not self._is_over:
            self._read_ahead()
            return piece
        if self._digest.hexdigest() != self._sha256:
            raise InputProblem(f"{self._path} changed since the run began")
        self._ahead = asyncio.get_running_loop().create_future()
        self._ahead.set_result(b"")  # every read after the last
        return piece

    @property
    def is_closed(self) -> bool:
        """Whether it was never opened, or was read to its end."""
        return self._ahead is None or self._is_over

    async def close(self) -> None:
        """Close it; waits for a read that is still going on."""
        if self._ahead is not None:
            with suppress(OSError):  # of a piece that nobody wants any more
                await self._ahead
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    def _read_ahead(self) -> None:
        self._ahead = asyncio.get_running_loop().run_in_executor(None, self._next)

    def _next(self) -> bytes:
        """The next piece; the last is shorter than the others, and the file is closed with it."""
        if self._file is None:
            self._file = self._path.open("rb")
        piece = self._file.read(PIECE)
        self._digest.update(piece)
        if len(piece) < PIECE:
            self._file.close()
            self._file = None
            self._is_over = True
        return piece


class Writing:
    """Writes pieces behind what is kept, in a thread: each while the next is on its way, the last with the syncing.

    The file is opened with the first; where none comes, what is there of an earlier try stays as it is.

    Attributes:
        size: bytes of the file with all pieces that were added.
        digest: SHA-256 of those that are written.
    """

    def __init__(self, partial: Partial, kept: Kept | None, *, etag: str | None, total: int | None) -> None:
        """Go on behind what is `kept`, or begin with a file of that version and so many bytes, where that is told."""
        self.digest = hashlib.sha256() if kept is None else kept.digest
        self.size = 0 if kept is None else kept.size
        self._partial, self._kept, self._etag, self._total = partial, kept, etag, total
        self._missing = max(0, (total or 0) - self.size)
        self._claim = Claim(partial.path.parent)
        self._file: FileIO | None = None
        self._held = b""
        self._writing: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Take a piece, and begin to write the one before it when the one before that is written.

        Raises:
            DiskFull: there is no room for an earlier one.
        """
        self.size += len(piece)
        held, self._held = self._held, piece
        await self._settle()
        if held:
            self._begin(held)

    async def end(self) -> None:
        """Write what is left, and return when all of it is on disk.

        Raises:
            DiskFull: there is no room for it.
        """
        await self._settle()
        held, self._held = self._held, b""
        if held or self._file is not None:
            self._begin(held, is_last=True)
            await self._settle()

    async def __aenter__(self) -> Self:
        self._claim.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, with what came if the rest did not: the next try goes on behind it."""
        try:
            if isinstance(error, TransferError) and not isinstance(error, DamagedFile | DiskFull):
                await self.end()
        finally:
            try:
                with suppress(Exception):  # whatever it is, it was told, or comes of a download that is given up
                    await self._settle()
            finally:  # also where that is broken off
                self._claim.__exit__()
                if self._file is not None:
                    self._file.close()

    def _begin(self, piece: bytes, *, is_last: bool = False) -> None:
        """Have a thread write a piece; it is to be waited for by `_settle`, also where all else is broken off."""
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, lambda: self._write(piece, is_last=is_last))

    async def _settle(self) -> None:
        """Wait for the piece that is being written; a thread cannot be broken off, and needs the file to be open."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    def _write(self, piece: bytes, *, is_last: bool) -> None:
        """Write all of a piece.

        Raises:
            DiskFull: there is no room for it.
        """
        file = self._file = self._file or self._opened(is_whole=is_last and self.size == self._total)
        self.digest.update(piece)
        rest = memoryview(piece)
        with self._claim.writing(len(piece)):
            while rest:
                rest = rest[file.write(rest) or 0 :]
        if is_last:
            os.fsync(file.fileno())

    def _opened(self, *, is_whole: bool) -> FileIO:
        """The file to write into, once the room for all that is missing is claimed.

        One that is written whole in one piece gets no note: a second file would cost more than to fetch it again.
        """
        self._claim.add(self._missing)
        if self._kept is not None:
            return self._partial.go_on(self._kept)
        return self._partial.begin(etag=None if is_whole else self._etag, total=self._total)
