"""What the engine is handed, and what it gives back: the seams between deciding and doing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from batchrunner.core.canary import Canaries
from batchrunner.core.events import Event
from batchrunner.core.evidence import Quiet, Reading
from batchrunner.core.job import Action, Job, State
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import USUAL, Failure, Instant, Policy
from batchrunner.core.schedule import Stop

Perform = Callable[[Action, Job], Awaitable[Event]]
"""Carries out one action; the seam between deciding and doing."""

Witness = Callable[[Sequence[str]], Awaitable[Reading]]
"""Reads the charges of projects and the balance."""

Observe = Callable[[Event, Job], None]
"""Told of every event after it is on disk; what it returns is ignored."""


class Journal(Protocol):
    """Where events are made durable."""

    def append(self, entries: Sequence[tuple[Event, Job]], *, quiet: Quiet | None = None) -> Awaitable[None]:
        """Over when the events and the jobs after them are on disk, and a quiet moment with them: all or nothing."""

    async def learn(self, name: str, value: Mapping[str, Any] | None) -> None:
        """Remember something that is worth knowing the next time, in place of what was remembered under that name."""


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> Instant:
        """Seconds since 1970."""

    async def wait(self, event: asyncio.Event, until: Instant | None) -> None:
        """Return when the event is set or the time has come, whichever is first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the engine does not do itself.

    Attributes:
        journal: makes events durable.
        perform: carries out one action.
        witness: reads charges and the balance.
        clock: tells the time, and waits.
        observe: told of every event after it is on disk.
    """

    journal: Journal
    perform: Perform
    witness: Witness
    clock: Clock
    observe: Observe


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a run behaves.

    Attributes:
        limits: how much may go on at once.
        name: what to send as a submission's name for a job, unique every time it is called.
        grace_s: how long a submission whose answer was lost may still be on its way.
        life_s: how long after its submission a render may still change what it is charged.
        between_readings_s: time between the two readings that must agree.
        jitter: a random number in (0, 1] for waits.
        policy: how often and how patiently what failed is tried again.
        top_up_check_s: when credits run out, look at the balance this often and go on after a top-up; None stops.
    """

    limits: Limits
    name: Callable[[Job], str]
    grace_s: float = 60.0
    life_s: float = 3 * 3600.0
    between_readings_s: float = 2.0
    jitter: Callable[[], float] = lambda: 1.0
    policy: Policy = USUAL
    top_up_check_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        by_state: how many jobs are in each state.
        stop: why buying stopped, if it did.
        trouble: the failure behind it, if there was one.
        is_unreachable: whether work is left because the provider could not be talked to.
        not_fetched: finished jobs whose file is missing and could not be fetched.
        held_back: jobs that were not bought because they fit no cap.
        held_back_why: the cap and the figures.
        far_off: the charge that stopped buying because it was far above its hold, with the figures.
        canaries: the jobs that were to be good before the others were bought, if there were to be any.
        passed: the cap that a charge above its hold has passed, with the figures.
        again_at: when another run can do something for what is left; None where that is now, or nothing is left.
        ended_at: when.
    """

    by_state: Mapping[State, int]
    stop: Stop | None
    trouble: Failure | None
    is_unreachable: bool
    not_fetched: int
    held_back: int
    held_back_why: str | None
    far_off: str | None
    canaries: Canaries | None
    passed: str | None
    again_at: Instant | None
    ended_at: Instant
