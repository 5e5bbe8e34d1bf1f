"""An object in a bucket.

What must be true in the bucket at every moment: an object under its final name is whole and checked. So a download is
written in parts under a partial name beside it, read back by ranges for its check, and copied to its name by the store
itself, only if that name is free; then the partial one is removed. Neither memory nor disk ever holds a whole file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
import errno
import hashlib
import io
from pathlib import PurePosixPath
import secrets
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeVar, cast

from batchrunner import transfer
from batchrunner.core import outputs
from batchrunner.core.address import Address
from batchrunner.core.expand import FileFact, FileState
from batchrunner.core.folder import Found
from batchrunner.errors import AddressExpired, DamagedFile, InputProblem, TransferError, UsageError
from batchrunner.partial import NAME_PART, Kept, is_strong
from batchrunner.pieces import PIECE
from batchrunner.storage import buckets
from batchrunner.storage.buckets import Meta
from batchrunner.storage.place import Incoming, Landed, Readable, Seen
from batchrunner.storage.ranges import Ranges
from batchrunner.transfer import Meter, Put, Reply

if TYPE_CHECKING:
    from hashlib import _Hash

T = TypeVar("T")

READ_AHEAD: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPlace:
    """An object, there or not."""

    address: Address

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.address.name

    @property
    def readable(self) -> Readable:
        """Itself."""
        return self

    @property
    def is_far(self) -> bool:
        """It is."""
        return True

    def open(self, mode: Literal["rb"] = "rb", /) -> BinaryIO:  # noqa: ARG002 - as a path is opened
        """Open it for reading, by ranges, of the version that is there now.

        Raises:
            TransferError: it cannot be read.
        """
        meta = self._meta()
        raw = Ranges(lambda begin, end: buckets.read(meta, begin, end), meta.size)
        return cast("BinaryIO", io.BufferedReader(raw, READ_AHEAD))

    def _meta(self) -> Meta:
        meta = buckets.head(self.address)
        if meta is None:
            raise InputProblem(f"there is no object {self.address}")
        return meta

    def fact(self) -> FileFact:
        """What stands here; where nothing does, the names beside it."""
        try:
            meta = buckets.head(self.address)
            if meta is None:
                next(buckets.listed(self.address), None)  # the bucket itself may be what is missing
        except TransferError as error:
            why = f"{error} ({error.hint})" if error.hint else str(error)
            return FileFact(kind=FileState.UNREADABLE, why=why)
        if meta is None:
            return FileFact(kind=FileState.MISSING, siblings=buckets.names_beside(self.address))
        return FileFact(kind=FileState.FILE, size=meta.size, modified_ns=meta.modified_ns)

    def seen(self) -> Seen:
        """Size, time and version; raises FileNotFoundError, and TransferError where nobody can tell."""
        meta = buckets.head(self.address)
        if meta is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object")
        return Seen(size=meta.size, modified_ns=meta.modified_ns, version=meta.version)

    def _partial(self, mark: str) -> Address:
        return self.address.beside(f".{self.name[:NAME_PART]}.{mark}.part")

    # --- to the provider ---

    async def send(self, url: str, *, sha256: str, size: int, put: Put, meter: Meter) -> None:
        """See `storage.upload`; `sha256` is the hash of its version, or of the content of a result of ours."""
        meta = await asyncio.to_thread(self._meta)
        if meta.size != size:
            raise InputProblem(f"{self.address} changed since the run began")
        pieces = _Pieces(meta)
        content = None if meta.version == sha256 else sha256
        await transfer.send(str(self.address), pieces.next, url, sha256=content, size=size, put=put, meter=meter)

    # --- from the provider ---

    async def receive(self, incoming: Incoming[T]) -> Landed[T]:
        """See `storage.download`."""
        staged = ObjectPlace(address=self._partial(incoming.mark))
        try:
            digest, size = await _Stream(staged.address, incoming).run()
            found = await incoming.check(staged)
            final = await self._publish(staged.address, digest, size)
        finally:
            # Also when this is broken off: what is left is one request from being gone.
            with suppress(TransferError):
                await buckets.delete(staged.address)
        return Landed(written=str(final), bytes=size, sha256=digest, found=found)

    async def _publish(self, staged: Address, sha256: str, size: int) -> Address:
        """Give the partial object its final name without ever replacing another; the name it got."""
        for candidate in self._names():
            there = await asyncio.to_thread(buckets.head, candidate)
            if there is not None:
                # One of the same content is the one from before a crash, and is kept.
                if there.size == size and await asyncio.to_thread(_sha256, there) == sha256:
                    return candidate
            elif await buckets.copy_to_free(staged, candidate):
                return candidate
        raise TransferError(f"no free name beside {self.address}")

    def _names(self) -> Iterator[Address]:
        """The name itself, then `stem.2.mp4`, `stem.3.mp4` and so on."""
        yield self.address
        name = PurePosixPath(self.name)
        for number in range(2, transfer.MOST_NAMES):
            yield self.address.beside(f"{name.stem}.{number}{name.suffix}")


class _Pieces:
    """The bytes of one version of an object in order: fetched by parts, given by pieces."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self._part = memoryview(b"")
        self._fetched = 0

    async def next(self) -> bytes:
        """The next piece; empty at the end."""
        if not self._part and self._fetched < self._meta.size:
            end = min(self._meta.size, self._fetched + buckets.PART)
            self._part = memoryview(await buckets.read_async(self._meta, self._fetched, end))
            self._fetched = end
        piece, self._part = bytes(self._part[:PIECE]), self._part[PIECE:]
        return piece


class _Stream:
    """Writes what an address gives into an object. A connection that breaks is gone on with from where it broke."""

    def __init__(self, target: Address, incoming: Incoming[Any]) -> None:
        self._target = target
        self._incoming = incoming
        self._digest: _Hash = hashlib.sha256()
        self._size = 0
        self._etag: str | None = None
        self._total: int | None = None
        self._is_refused = False

    async def run(self) -> tuple[str, int]:
        """Write all of it; SHA-256 and size."""
        async with buckets.writing(self._target) as write:
            while True:
                before = self._size
                try:
                    await self._take(write)
                    break
                except (AddressExpired, DamagedFile):
                    raise
                except TransferError:
                    if self._is_refused or self._size == before or not is_strong(self._etag) or self._total is None:
                        raise
        return self._digest.hexdigest(), self._size

    async def _take(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        coming = self._incoming
        async with coming.fetch(coming.url, offset=self._size, etag=self._etag if self._size else None) as reply:
            self._accept(reply)
            async with aclosing(reply.chunks()) as chunks, aclosing(transfer.gathered(chunks)) as pieces:
                async for piece in pieces:
                    self._digest.update(piece)
                    self._size += len(piece)
                    transfer.check_bound(self._size, coming.bound)
                    coming.meter(len(piece))
                    await self._write(piece, write)
        transfer.check_length(self._size, self._total)

    async def _write(self, piece: bytes, write: Callable[[bytes], Awaitable[None]]) -> None:
        try:
            await write(piece)
        except TransferError:
            self._is_refused = True  # by the bucket: asking the provider once more would not help
            raise

    def _accept(self, reply: Reply) -> None:
        """Whether an answer is the whole, or just what is missing of the same version."""
        if not self._size:
            if reply.status != 200:
                raise DamagedFile(f"the storage sent a part (HTTP {reply.status}) where the whole file was asked for")
            self._etag, self._total = reply.etag, reply.total
            transfer.check_bound(reply.total or 0, self._incoming.bound)
            return
        assert self._etag is not None
        assert self._total is not None
        kept = Kept(etag=self._etag, total=self._total, size=self._size, digest=self._digest)
        if not transfer.is_the_rest(reply, kept):
            # What was written cannot be taken back: the whole is asked for again by the next try.
            raise TransferError("the storage does not give the rest of the same file")


def _sha256(meta: Meta) -> str:
    digest = hashlib.sha256()
    for begin in range(0, meta.size, buckets.PART):
        digest.update(buckets.read(meta, begin, min(meta.size, begin + buckets.PART)))
    return digest.hexdigest()


# --- folders ---------------------------------------------------------------------------------------------------------


def listed(base: Address, *, is_deep: bool) -> list[Found]:
    """Every object in a folder, and, if `is_deep`, in those beneath it.

    What only stands for a folder is left out: an empty object whose key ends with a slash, which is taken away by the
    library, so that it is known by having no extension.
    """
    return [
        Found(path=str(each.address), size=each.size, modified_ns=each.modified_ns)
        for each in (buckets.listed(base) if is_deep else buckets.listed_in(base))
        if each.size or "." in each.address.name
    ]


def sweep(ended: Iterable[tuple[Address, str]], *, only_own: bool = False) -> None:
    """Remove what is left of downloads that nobody will go on with; what cannot be removed now stays.

    With `only_own`, only what was of one try alone. Each folder is listed once, however many downloads ended.
    """
    marks: dict[Address, set[str]] = {}
    for target, mark in ended:
        marks.setdefault(target.beside(""), set()).add(mark)
    for folder, known in marks.items():
        with suppress(TransferError):
            for each in buckets.listed_in(folder):
                if only_own and not outputs.has_own_mark(each.address.name):
                    continue
                if outputs.mark_in(each.address.name) in known:
                    buckets.delete_now(each.address)


def tried(target: Address) -> UsageError | None:
    """Do beside a result what storing one takes, and remove what was made; why that cannot be done, if so.

    Each of these requests needs a right of its own. On S3, without the right to list, even a name that is free is
    answered with a refusal.
    """
    staged, final = (target.beside(f".batchrunner.{secrets.token_hex(6)}.part") for _ in range(2))
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("asking for a name that is free", lambda: buckets.head(final)),
        ("writing", lambda: buckets.put(staged, _TRIAL)),
        ("reading what was written", lambda: _read_back(staged)),
        ("copying it to a free name", lambda: buckets.copy_to_free_now(staged, final)),
        ("listing the folder", lambda: next(buckets.listed(staged), None)),  # nothing, and not all that is in there
        ("deleting", lambda: buckets.delete_now(staged)),
        ("deleting", lambda: buckets.delete_now(final)),
    )
    for name, step in steps:
        try:
            step()
        except TransferError as error:
            for made in (staged, final):
                with suppress(TransferError):
                    buckets.delete_now(made)
            said = f"results cannot be written to {target.beside('')}: {error} ({name} was tried)"
            return UsageError(said, hint=error.hint)
    return None


_TRIAL: Final = b"a trial of batchrunner, which removes it"


def _read_back(at: Address) -> None:
    meta = buckets.head(at)
    if meta is None or buckets.read(meta, 0, len(_TRIAL)) != _TRIAL:
        raise TransferError(f"{at} was written, and is not there as it was written")
