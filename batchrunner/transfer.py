"""Bytes between the disk and presigned addresses: streamed, verified, published by rename.

What must be true on disk at every moment: a file under its final name is whole and checked. So a download goes to a
partial name beside it, is measured and checked, and is then renamed; only after that is it recorded. A name that
comes from outside is never used, and a file that is already there is never overwritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
import errno
import hashlib
import os
from pathlib import Path
from typing import Protocol

from batchrunner.errors import DamagedFile, InputProblem, TransferError

PIECE = 256 * 1024
"""Bytes read or written at a time, in a thread: large enough to be as fast as any library, small in memory."""


class Reply(Protocol):
    """An open download."""

    status: int
    total: int | None

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""


class Fetch(Protocol):
    """Opens a presigned address for reading."""

    def __call__(self, url: str) -> AbstractAsyncContextManager[Reply]: ...


class Put(Protocol):
    """Sends bytes to a presigned address."""

    def __call__(self, url: str, chunks: AsyncIterator[bytes], *, length: int) -> Awaitable[None]: ...


Meter = Callable[[int], None]
"""Told the number of bytes that just passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A file under its final name."""

    path: Path
    bytes: int
    sha256: str


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
        raise InputProblem(f"cannot read {path}: {error.strerror or error}") from error


async def upload(path: Path, url: str, *, sha256: str, size: int, put: Put, meter: Meter) -> None:
    """Send a file that must still be the one that was fingerprinted.

    Raises:
        InputProblem: it cannot be read, or is no longer what it was.
        TransferError: it did not arrive.
    """
    reader = _Reader(path, sha256=sha256, size=size, meter=meter)
    try:
        await put(url, reader.pieces(), length=size)
    except TransferError:
        # What the reader raised comes back as a broken connection; its own words are the cause.
        if reader.problem is not None:
            raise reader.problem from None
        raise


class _Reader:
    """Reads a file for an upload and notices when it is not the file that was fingerprinted."""

    def __init__(self, path: Path, *, sha256: str, size: int, meter: Meter) -> None:
        self._path = path
        self._sha256 = sha256
        self._size = size
        self._meter = meter
        self.problem: InputProblem | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._checked():
                yield piece
        except InputProblem as problem:
            self.problem = problem
            raise

    async def _checked(self) -> AsyncIterator[bytes]:
        """The file's pieces; the last is given only if the whole is what it should be."""
        digest = hashlib.sha256()
        read = 0
        held = b""
        async for piece in _read(self._path):
            digest.update(piece)
            read += len(piece)
            if read > self._size:
                break
            if held:
                self._meter(len(held))
                yield held
            held = piece
        if read != self._size or digest.hexdigest() != self._sha256:
            raise InputProblem(f"{self._path} changed since the run began")
        self._meter(len(held))
        yield held


async def download(
    url: str, *, target: Path, mark: str, fetch: Fetch, check: Callable[[Path], None], meter: Meter
) -> Saved:
    """Fetch an address into `target`, or beside it if another file has that name; whole and checked, or not at all.

    Args:
        url: a presigned address.
        target: the final name; its folder is made.
        mark: unique to the render; part of the partial name, so that two downloads never share one.
        fetch: opens the address.
        check: raises `DamagedFile` if the file is not what it should be; called in a thread.
        meter: told of each piece.

    Raises:
        TransferError: it did not arrive whole, or failed the check, or the disk did not take it.
    """
    partial = target.with_name(f".{target.name[:80]}.{mark}.part")
    try:
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        digest, size = await _receive(url, partial, fetch=fetch, meter=meter)
        await asyncio.to_thread(check, partial)
        path = await asyncio.to_thread(_publish, partial, target, digest)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise _disk_error(error, target) from error
    except DamagedFile:
        partial.unlink(missing_ok=True)
        raise
    return Saved(path=path, bytes=size, sha256=digest)


async def _receive(url: str, partial: Path, *, fetch: Fetch, meter: Meter) -> tuple[str, int]:
    """Stream an address to a file; SHA-256 and size of what came, which is as much as was announced."""
    digest = hashlib.sha256()
    size = 0
    async with fetch(url) as reply:
        with partial.open("wb") as file:
            async for piece in _gathered(reply.chunks()):
                digest.update(piece)
                size += len(piece)
                meter(len(piece))
                await asyncio.to_thread(file.write, piece)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        if reply.total is not None and size != reply.total:
            raise DamagedFile(f"{size} bytes of {reply.total} arrived")
    if not size:
        raise DamagedFile("the file that arrived is empty")
    return digest.hexdigest(), size


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of a useful size: every write is a visit to a thread."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _publish(partial: Path, target: Path, sha256: str) -> Path:
    """Give the partial file its final name without ever replacing another file; the name it got.

    A file of that name with the same content is the one from before a crash, and is kept.
    """
    for candidate in _names(target):
        try:
            os.link(partial, candidate)
        except FileExistsError:
            if candidate.is_file() and sha256_of(candidate)[0] == sha256:
                break
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if candidate.exists():  # a file system without links: the run lock is what keeps two apart
                continue
            partial.rename(candidate)
        break
    else:
        raise TransferError(f"no free name beside {target}")
    partial.unlink(missing_ok=True)
    return candidate


_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
MOST_NAMES = 1000


def _names(target: Path) -> list[Path]:
    """The name itself, then `stem.2.mp4`, `stem.3.mp4` and so on."""
    return [target, *(target.with_name(f"{target.stem}.{n}{target.suffix}") for n in range(2, MOST_NAMES))]


async def _read(path: Path) -> AsyncIterator[bytes]:
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise InputProblem(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        while True:
            try:
                piece = await asyncio.to_thread(file.read, PIECE)
            except OSError as error:
                raise InputProblem(f"cannot read {path}: {error.strerror or error}") from error
            if not piece:
                return
            yield piece


def _disk_error(error: OSError, target: Path) -> TransferError:
    if error.errno == errno.ENOSPC:
        return TransferError(f"the disk is full: cannot write {target}")
    return TransferError(f"cannot write {target}: {error.strerror or error}")
