"""What a place is: where one input lies, or one result goes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Generic, Literal, Protocol, TypeVar

from batchrunner.core.expand import FileFact
from batchrunner.core.space import Bound
from batchrunner.transfer import Fetch, Meter, Put

T = TypeVar("T")


class Readable(Protocol):
    """Something with a name that can be read from any byte on; a `Path` is one, too."""

    @property
    def name(self) -> str:
        """Its own name, without folders."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open it for reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming(Generic[T]):
    """A result that is to come to a place.

    Attributes:
        url: the presigned address; a secret.
        mark: unique to the render; part of the partial name.
        bound: how large it can be.
        fetch: opens the address.
        check: what is found in it; raises `DamagedFile` if it is not what it should be.
        meter: told of each piece that came.
    """

    url: str = field(repr=False)
    mark: str
    bound: Bound
    fetch: Fetch
    check: Callable[[Readable], Awaitable[T]]
    meter: Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed(Generic[T]):
    """A result at its place: how that is recorded, its size in bytes, its content, and what its check found in it."""

    written: str
    bytes: int
    sha256: str
    found: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What tells whether something is still what it was.

    Attributes:
        size: in bytes.
        modified_ns: since 1970.
        version: of an object, the hash of what its store knows its content by; None of a file, which must be read.
    """

    size: int
    modified_ns: int
    version: str | None = None


class Place(Protocol):
    """Where one input lies, or one result goes to."""

    @property
    def readable(self) -> Readable:
        """What is here, to be read; a file is a path, which FFmpeg opens itself."""

    @property
    def is_far(self) -> bool:
        """Whether it is in a bucket: reading all of it only to look into it would be much."""

    def fact(self) -> FileFact:
        """What stands here, for telling what cannot be an input."""

    def seen(self) -> Seen:
        """What is here now.

        Raises:
            OSError: nothing, or it cannot be looked at.
            TransferError: of what is in a bucket nobody can tell.
        """

    async def send(self, url: str, *, sha256: str, size: int, put: Put, meter: Meter) -> None:
        """See `storage.upload`."""

    async def receive(self, incoming: Incoming[T]) -> Landed[T]:
        """See `storage.download`."""
