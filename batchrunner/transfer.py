"""Bytes between the disk and presigned addresses: streamed, verified, published by rename.

What must be true on disk at every moment: a file under its final name is whole and checked. So a download goes to a
partial name beside it, is measured and checked, and is then renamed; only after that is it recorded. A name that
comes from outside is never used, and a file that is already there is never overwritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
import errno
import hashlib
from io import RawIOBase
import os
from pathlib import Path
import threading
from typing import BinaryIO, Protocol

from batchrunner.errors import DamagedFile, InputProblem, TransferError

PIECE = 256 * 1024
"""Bytes read or written at a time, in a thread: large enough to be as fast as any library, small in memory."""


class Reply(Protocol):
    """An open download."""

    status: int
    total: int | None

    def chunks(self) -> AsyncGenerator[bytes]:
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
        raise _unreadable(path, error) from error


async def upload(path: Path, url: str, *, sha256: str, size: int, put: Put, meter: Meter) -> None:
    """Send a file that must still be the one that was fingerprinted.

    Raises:
        InputProblem: it cannot be read, or is no longer what it was.
        TransferError: it did not arrive.
    """
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    reader = _Reader(path, file, sha256=sha256, size=size, meter=meter)
    try:
        await put(url, reader.pieces(), length=size)
    except TransferError:
        # What the reader raised comes back as a broken connection; its own words are the cause.
        if reader.problem is not None:
            raise reader.problem from None
        raise
    finally:
        # Not left to the reader, which a broken connection leaves in the middle; off the loop, since a read that is
        # still going on in a thread makes this wait.
        await asyncio.shield(asyncio.to_thread(file.close))
    if not reader.is_whole:
        raise TransferError(f"the storage took {path} as complete before all of it was sent")


class _Reader:
    """Reads a file for an upload and notices when it is not the file that was fingerprinted."""

    def __init__(self, path: Path, file: BinaryIO, *, sha256: str, size: int, meter: Meter) -> None:
        self._path = path
        self._file = file
        self._sha256 = sha256
        self._size = size
        self._meter = meter
        self.problem: InputProblem | None = None
        self.is_whole = False

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
        while piece := await self._next():
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
        self.is_whole = True
        yield held

    async def _next(self) -> bytes:
        try:
            return await asyncio.to_thread(self._file.read, PIECE)
        except OSError as error:
            raise _unreadable(self._path, error) from error


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
    partial = target.with_name(f".{target.name[:40]}.{mark}.part")  # 40 characters are at most 160 bytes of 255
    try:
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        digest, size = await _receive(url, partial, fetch=fetch, meter=meter)
        await asyncio.to_thread(check, partial)
        path = await asyncio.to_thread(_publish, partial, target, digest)
    except OSError as error:
        await asyncio.to_thread(_remove, partial)
        raise _disk_error(error, target) from error
    except TransferError:
        await asyncio.to_thread(_remove, partial)
        raise
    return Saved(path=path, bytes=size, sha256=digest)


def _remove(partial: Path) -> None:
    with suppress(OSError):
        partial.unlink()


async def _receive(url: str, partial: Path, *, fetch: Fetch, meter: Meter) -> tuple[str, int]:
    """Stream an address to a file; SHA-256 and size of what came, which is as much as was announced."""
    digest = hashlib.sha256()
    size = 0
    async with fetch(url) as reply, aclosing(reply.chunks()) as chunks, aclosing(_gathered(chunks)) as pieces:
        with await asyncio.to_thread(partial.open, "wb", buffering=0) as file:
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
                meter(len(piece))
                await asyncio.to_thread(_write, file, piece)
            await asyncio.to_thread(os.fsync, file.fileno())
        if reply.total is not None and size != reply.total:
            raise DamagedFile(f"{size} bytes of {reply.total} arrived")
    if not size:
        raise DamagedFile("the file that arrived is empty")
    return digest.hexdigest(), size


def _write(file: RawIOBase, piece: bytes) -> None:
    """Write all of a piece; unbuffered, so that closing the file has nothing left to write and to fail at."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) or 0 :]


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
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
        if _holds(candidate, partial, sha256):
            _remove(partial)
            return candidate
        if _claim(candidate, partial):
            _keep_name(candidate.parent)
            return candidate
    raise TransferError(f"no free name beside {target}")


def _holds(candidate: Path, partial: Path, sha256: str) -> bool:
    """Whether a file of that name is there and has the same content; one that cannot be read is another."""
    try:
        if not candidate.is_file() or candidate.stat().st_size != partial.stat().st_size:
            return False
        return sha256_of(candidate)[0] == sha256
    except InputProblem:
        return False


def _claim(candidate: Path, partial: Path) -> bool:
    """Give the partial file this name, if the name is free; whether it was."""
    try:
        os.link(partial, candidate)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links. The run lock keeps two runs apart, this one two threads of ours.
        with _CLAIMING:
            if os.path.lexists(candidate):
                return False
            partial.rename(candidate)
            return True
    _remove(partial)
    return True


def _keep_name(folder: Path) -> None:
    """Have the folder remember the new name through a power cut, where the system lets a folder be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_CLAIMING = threading.Lock()
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
MOST_NAMES = 1000


def _names(target: Path) -> list[Path]:
    """The name itself, then `stem.2.mp4`, `stem.3.mp4` and so on."""
    return [target, *(target.with_name(f"{target.stem}.{n}{target.suffix}") for n in range(2, MOST_NAMES))]


def _unreadable(path: Path, error: OSError) -> InputProblem:
    return InputProblem(f"cannot read {path}: {error.strerror or error}")


def _disk_error(error: OSError, target: Path) -> TransferError:
    if error.errno == errno.ENOSPC:
        return TransferError(f"the disk is full: cannot write {target}")
    return TransferError(f"cannot write {target}: {error.strerror or error}")
