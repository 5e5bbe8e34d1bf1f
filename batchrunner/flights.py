"""The transfers that a cluster has: how far each is, and which are to be carried elsewhere.

Dask sees a worker that dies, and carries elsewhere what that one was at. What it does not see is a worker that is alive
and does not get on: each transfer tells how far it is, and one that stays where it is is given to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from batchrunner.rollcall import ANSWER_S, Roll
from batchrunner.transfer import Meter


@dataclass(slots=True, kw_only=True)
class Flight:
    """One transfer that the cluster has.

    Attributes:
        allowed: the workers that may carry it.
        seen_at: when it was last seen to get on, by the loop's clock.
        moved: set when it is to be carried elsewhere; to whom it was entrusted in vain, and why.
        meter: told of bytes that passed.
        at: the worker that carries it, as far as it is known.
        bytes: how many have passed.
        is_moving: whether bytes pass, and its worker is not looking into a file.
    """

    allowed: frozenset[str]
    seen_at: float
    moved: asyncio.Future[tuple[frozenset[str], str | None]]
    meter: Meter
    at: str | None = None
    bytes: int = 0
    is_moving: bool = False

    def count(self, done: int) -> None:
        """Tell of the bytes that passed since the last time; one that began anew begins at nothing."""
        self.meter(max(0, done - self.bytes))
        self.bytes = done


class Flights:
    """All of them, by the key that each has at the cluster."""

    def __init__(self, roll: Roll, *, stalled_s: float, looking_s: float) -> None:
        """Nothing is under way yet.

        Args:
            roll: the workers.
            stalled_s: seconds without a byte, or a word of its worker, after which a transfer does not get on.
            looking_s: the same while a worker looks into a file.
        """
        self._roll = roll
        self._stalled_s = stalled_s
        self._looking_s = looking_s
        self.under_way: dict[str, Flight] = {}

    @contextmanager
    def opened(self, key: str, *, allowed: frozenset[str], meter: Meter) -> Iterator[Flight]:
        """Follow a transfer while in the block."""
        loop = asyncio.get_running_loop()
        flight = Flight(allowed=allowed, seen_at=loop.time(), moved=loop.create_future(), meter=meter)
        self.under_way[key] = flight
        try:
            yield flight
        finally:
            del self.under_way[key]

    def heard(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take a worker's word on how far a transfer is."""
        _, beat = event
        flight = self.under_way.get(str(beat["id"]))
        if flight is None:
            return
        has_moved = beat["bytes"] != flight.bytes or beat["worker"] != flight.at
        if has_moved or beat["is_moving"] != flight.is_moving:
            flight.seen_at = asyncio.get_running_loop().time()
        flight.at, flight.is_moving = beat["worker"], beat["is_moving"]
        flight.count(beat["bytes"])

    async def move_what_is_stuck(self, client: Any) -> None:
        """Have carried elsewhere what does not get on, and what nobody is left for.

        Raises:
            OSError, TimeoutError: the scheduler does not tell who carries what.
        """
        now = asyncio.get_running_loop().time()
        silent = self._roll.silent()
        held: Mapping[str, Iterable[str]] = {}
        if silent:
            held = await asyncio.wait_for(client.processing(workers=sorted(silent)), ANSWER_S)
        stuck = {str(key): address for address, keys in held.items() for key in keys}
        for key, flight in self.under_way.items():
            if flight.moved.done():
                continue
            limit_s = self._stalled_s if flight.is_moving else self._looking_s
            if not flight.allowed & self._roll.workers.keys():
                flight.moved.set_result((frozenset(), None))
            elif key in stuck:
                words = f"{self._roll.named(stuck[key])} was not heard of for {self._stalled_s:g} s"
                flight.moved.set_result((frozenset({stuck[key]}), f"{words}; others carry its files"))
            elif flight.at is not None and now - flight.seen_at >= limit_s:
                words = f"{self._roll.named(flight.at)} does not get on with a file for {limit_s:g} s"
                flight.moved.set_result((frozenset({flight.at}), f"{words}; others carry it"))
