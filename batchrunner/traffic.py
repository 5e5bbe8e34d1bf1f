"""Bytes on their way: how many went so far, and how far each transfer that is under way has come.

For whoever shows a run. Counted where the bytes pass, so that it costs an addition for each piece.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
import time

from batchrunner.transfer import Fetch, Meter, Reply


@dataclass(slots=True, kw_only=True)
class Moving:
    """One transfer that is under way.

    Attributes:
        name: the file, or the address, as it is written.
        is_up: towards the provider.
        began_at: seconds on a clock that only counts on.
        done: bytes that are there, those of an earlier try included.
        before: bytes of these that came before this try.
        total: bytes in all; None where nobody said.
    """

    name: str
    is_up: bool
    began_at: float
    done: int = 0
    before: int = 0
    total: int | None = None

    def per_second(self, now: float) -> float:
        """Bytes a second, on the whole of this try."""
        return (self.done - self.before) / max(0.001, now - self.began_at)


class Traffic:
    """All transfers of a run."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from zero; `clock` counts seconds."""
        self.up = 0
        self.down = 0
        self.clock = clock
        self._moving: dict[int, Moving] = {}

    def moving(self) -> Mapping[int, Moving]:
        """The transfers that are under way, in the order in which they began."""
        return self._moving

    @contextmanager
    def sending(self, name: str, total: int) -> Iterator[Meter]:
        """Count an upload while in the block."""
        with self._entered(Moving(name=name, is_up=True, began_at=self.clock(), total=total)) as moving:

            def count(pieces: int) -> None:
                self.up += pieces
                moving.done += pieces

            yield count

    @contextmanager
    def fetching(self, name: str) -> Iterator[Meter]:
        """Count a download while in the block of which only the bytes are told."""
        with self._entered(Moving(name=name, is_up=False, began_at=self.clock())) as moving:

            def count(pieces: int) -> None:
                self.down += pieces
                moving.done += pieces

            yield count

    @contextmanager
    def receiving(self, name: str, fetch: Fetch) -> Iterator[tuple[Fetch, Meter]]:
        """Count a download while in the block; what opens its address is listened to, since it knows the length."""
        with self._entered(Moving(name=name, is_up=False, began_at=self.clock())) as moving:

            def count(pieces: int) -> None:
                self.down += pieces
                moving.done += pieces

            def listened(url: str, *, offset: int = 0, etag: str | None = None) -> AbstractAsyncContextManager[Reply]:
                return _listened(fetch(url, offset=offset, etag=etag), moving)

            yield listened, count

    @contextmanager
    def _entered(self, moving: Moving) -> Iterator[Moving]:
        self._moving[id(moving)] = moving
        try:
            yield moving
        finally:
            del self._moving[id(moving)]


@asynccontextmanager
async def _listened(opening: AbstractAsyncContextManager[Reply], moving: Moving) -> AsyncGenerator[Reply]:
    async with opening as reply:
        moving.total = reply.total
        moving.done = moving.before = reply.start or 0
        yield reply
