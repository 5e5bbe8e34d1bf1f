"""Bytes between the disk and presigned addresses: streamed, verified, published by rename.

What must be true on disk at every moment: a file under its final name is whole and checked. So a download goes to a
partial name beside it, is measured and checked, and is then renamed; only after that is it recorded. A name that
comes from outside is never used, and a file that is already there is never overwritten. What a broken download has
brought is kept, and the next try, in whatever run and from whatever address, asks for the rest of that same version.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
import errno
import hashlib
import os
from pathlib import Path
import threading
from typing import Generic, Protocol, TypeVar

from batchrunner.core.space import Bound
from batchrunner.errors import DamagedFile, DiskFull, InputProblem, TransferError
from batchrunner.partial import Kept, Partial, keep_names
from batchrunner.pieces import PIECE, Reading, Writing, sha256_of

LONGEST_HELD_S = 1.0
"""Seconds that bytes of a slow download may wait for more before they are written."""

T = TypeVar("T")


class Reply(Protocol):
    """An open download.

    Attributes:
        status: of the answer: 200 the whole, 206 a range, 416 no such range.
        etag: the version of the file, as it stands in the answer.
        start: first byte of a range; None where it is none, or not told.
        end: last byte of a range.
        total: bytes of the whole file.
    """

    status: int
    etag: str | None
    start: int | None
    end: int | None
    total: int | None

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece."""


class Fetch(Protocol):
    """Opens a presigned address for reading, from byte `offset` on if the file is still the one of `etag`."""

    def __call__(self, url: str, *, offset: int = 0, etag: str | None = None) -> AbstractAsyncContextManager[Reply]: ...


class Put(Protocol):
    """Sends bytes to a presigned address."""

    def __call__(self, url: str, chunks: AsyncIterator[bytes], *, length: int) -> Awaitable[None]: ...


Read = Callable[[], Awaitable[bytes]]
"""Gives the next piece of what is sent; empty at its end."""

Meter = Callable[[int], None]
"""Told the number of bytes that just passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Generic[T]):
    """A file under its final name, and what its check found in it."""

    path: Path
    bytes: int
    sha256: str
    found: T


async def upload(path: Path, url: str, *, sha256: str, size: int, put: Put, meter: Meter) -> None:
    """Send a file that must still be the one that was fingerprinted.

    Raises:
        InputProblem: it cannot be read, or is no longer what it was.
        TransferError: it did not arrive.
    """
    file = Reading(path, sha256=sha256)
    try:
        await send(str(path), file.read, url, sha256=None, size=size, put=put, meter=meter)
    finally:
        # Not left to the reader, which a broken connection leaves in the middle.
        if not file.is_closed:
            await asyncio.shield(file.close())


async def send(name: str, read: Read, url: str, *, sha256: str | None, size: int, put: Put, meter: Meter) -> None:
    """Send what `read` gives, which must have this size and content; without `sha256` its source answers for that.

    Raises:
        InputProblem: it is not what it should be.
        TransferError: it cannot be read, or did not arrive.
    """
    reader = _Reader(name, read, sha256=sha256, size=size, meter=meter)
    try:
        await put(url, reader.pieces(), length=size)
    except TransferError:
        # What the reader raised comes back as a broken connection; its own words are the cause.
        if reader.problem is not None:
            raise reader.problem from None
        raise
    if not reader.is_whole:
        raise TransferError(f"the storage took {name} as complete before all of it was sent")


class _Reader:
    """Reads a file for an upload and notices when it is not the file that was fingerprinted."""

    def __init__(self, name: str, read: Read, *, sha256: str | None, size: int, meter: Meter) -> None:
        self._name = name
        self._read = read
        self._sha256 = sha256
        self._size = size
        self._meter = meter
        self.problem: TransferError | None = None
        self.is_whole = False

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._checked():
                yield piece
        except TransferError as problem:
            self.problem = problem
            raise

    async def _checked(self) -> AsyncIterator[bytes]:
        """The file's pieces; the last is given only if the whole is what it should be."""
        digest = None if self._sha256 is None else hashlib.sha256()
        read = 0
        held = b""
        while piece := await self._read():
            if digest is not None:
                digest.update(piece)
            read += len(piece)
            if read > self._size:
                break
            if held:
                self._meter(len(held))
                yield held
            held = piece
        if read != self._size or (digest is not None and digest.hexdigest() != self._sha256):
            raise InputProblem(f"{self._name} changed since the run began")
        self._meter(len(held))
        self.is_whole = True
        yield held


async def download(
    url: str,
    *,
    target: Path,
    mark: str,
    bound: Bound,
    fetch: Fetch,
    check: Callable[[Path], Awaitable[T]],
    meter: Meter,
) -> Saved[T]:
    """Fetch an address into `target`, or beside it if another file has that name; whole and checked, or not at all.

    Args:
        url: a presigned address.
        target: the final name; its folder is made.
        mark: unique to the render; part of the partial name, so that two downloads never share one, and the next try
            finds what this one leaves.
        bound: how large it can be; what is announced or comes beyond it is damaged, and is not written.
        fetch: opens the address.
        check: raises `DamagedFile` if the file is not what it should be.
        meter: told of each piece that came over the wire.

    Raises:
        DiskFull: the disk has no room for it.
        TransferError: it did not arrive whole, or failed the check, or the disk did not take it.
    """
    partial = Partial(target, mark)
    try:
        digest, size = await _receive(url, partial, bound, fetch=fetch, meter=meter)
        found = await check(partial.path)
        path = await asyncio.to_thread(_publish, partial, target, digest)
    except OSError as error:
        # Of a file that did not fit nothing is kept either: the room is for those that do.
        await asyncio.to_thread(partial.discard)
        raise _disk_error(error, target) from error
    except (DamagedFile, DiskFull):
        await asyncio.to_thread(partial.discard)
        raise
    except TransferError:
        if not await asyncio.to_thread(lambda: partial.can_be_resumed):
            await asyncio.to_thread(partial.discard)
        raise
    return Saved(path=path, bytes=size, sha256=digest, found=found)


async def _receive(url: str, partial: Partial, bound: Bound, *, fetch: Fetch, meter: Meter) -> tuple[str, int]:
    """Bring all of a file into the partial one, by the rest of what is kept if that can be had; SHA-256 and size."""
    kept = await asyncio.to_thread(_kept, partial)
    if kept is not None and kept.size == kept.total:
        # A kill may have come before it was surely on disk, and its final name says that it is.
        await asyncio.to_thread(_sync, partial.path)
        return kept.digest.hexdigest(), kept.size
    if kept is not None:
        async with fetch(url, offset=kept.size, etag=kept.etag) as reply:
            if is_the_rest(reply, kept):
                return await _store(reply, partial, kept, bound, meter=meter)
            if reply.status == 200:
                return await _store(reply, partial, None, bound, meter=meter)
    # Nothing is kept, or the storage offers something that cannot be its rest.
    async with fetch(url) as reply:
        if reply.status != 200:
            raise DamagedFile(f"the storage sent a part (HTTP {reply.status}) where the whole file was asked for")
        return await _store(reply, partial, None, bound, meter=meter)


def _kept(partial: Partial) -> Kept | None:
    """What is there of an earlier try, in a folder that is there after this."""
    partial.path.parent.mkdir(parents=True, exist_ok=True)
    return partial.kept()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def is_the_rest(reply: Reply, kept: Kept) -> bool:
    """Whether an answer is exactly what is missing, of the very same version.

    The tag is compared here too: a storage that does not know `If-Range` sends the range of whatever is there now.
    """
    return (
        reply.status == 206
        and reply.etag == kept.etag
        and (reply.start, reply.end, reply.total) == (kept.size, kept.total - 1, kept.total)
    )


async def _store(reply: Reply, partial: Partial, kept: Kept | None, bound: Bound, *, meter: Meter) -> tuple[str, int]:
    """Write what comes, behind what is kept or from the beginning; SHA-256 and size of the whole."""
    writer = Writing(partial, kept, etag=reply.etag, total=reply.total)
    announced = reply.total or 0
    check_bound(announced, bound)
    try:
        async with aclosing(reply.chunks()) as chunks, aclosing(gathered(chunks)) as pieces, writer:
            async for piece in pieces:
                check_bound(writer.size + len(piece), bound)
                meter(len(piece))
                await writer.add(piece)
            await writer.end()
    except (DiskFull, OSError) as error:
        if max(writer.size, announced) > bound.likely and _is_of_a_full_disk(error):
            raise DamagedFile(f"{error}; and results of this job have {bound.likely:,} bytes at the most") from error
        raise
    check_length(writer.size, reply.total)
    return writer.digest.hexdigest(), writer.size


def check_bound(size: int, bound: Bound) -> None:
    objection = bound.objection(size)
    if objection is not None:
        raise DamagedFile(objection)


def check_length(size: int, total: int | None) -> None:
    """A file that is too short may yet be completed; one that is too long, or empty, is not what was announced."""
    if total is not None and size < total:
        raise TransferError(f"{size} bytes of {total} arrived")
    if total is not None and size > total:
        raise DamagedFile(f"{size} bytes arrived where {total} were announced")
    if not size:
        raise DamagedFile("the file that arrived is empty")


async def gathered(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The same bytes in pieces of a useful size, since every write is a visit to a thread; but soon, and all that came.

    What is not written yet is lost with the process, and would have to come again.
    """
    loop = asyncio.get_running_loop()
    held: list[bytes] = []  # joined at once: what grows piece by piece is copied each time, and once more at the end
    size, written_at = 0, loop.time()
    trouble: TransferError | None = None
    try:
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size >= PIECE or loop.time() - written_at >= LONGEST_HELD_S:
                yield b"".join(held)
                held.clear()
                size, written_at = 0, loop.time()
    except TransferError as error:
        trouble = error
    if held:
        yield b"".join(held)
    if trouble is not None:
        try:
            raise trouble
        finally:
            # An error that a frame of its own traceback holds is a cycle, with the pieces of the file in it.
            del trouble


def _publish(partial: Partial, target: Path, sha256: str) -> Path:
    """Give the partial file its final name without ever replacing another file; the name it got.

    A file of that name with the same content is the one from before a crash, and is kept.
    """
    for candidate in _names(target):
        if _holds(candidate, partial.path, sha256):
            partial.discard()
            return candidate
        if _claim(candidate, partial.path):
            partial.discard()
            keep_names(candidate.parent)
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


_CLAIMING = threading.Lock()
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
MOST_NAMES = 1000


def _names(target: Path) -> Iterator[Path]:
    """The name itself, then `stem.2.mp4`, `stem.3.mp4` and so on."""
    yield target
    for number in range(2, MOST_NAMES):
        yield target.with_name(f"{target.stem}.{number}{target.suffix}")


def _disk_error(error: OSError, target: Path) -> TransferError:
    if _is_of_a_full_disk(error):
        return DiskFull(f"the disk is full: cannot write {target}")
    return TransferError(f"cannot write {target}: {error.strerror or error}")


def _is_of_a_full_disk(error: DiskFull | OSError) -> bool:
    return isinstance(error, DiskFull) or error.errno in {errno.ENOSPC, errno.EDQUOT}
