"""The account's books in a run: the evidence is read, and they are opened and closed with a quiet moment.

Part of the engine. Which attempts are asked for, and what balance and ledger mean together, is decided in
`core.evidence`; which lost submissions are in question is the inquiry's. Here the provider is asked, and what it tells
of renders that are over is put on record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from batchrunner.core import events, evidence, retry, schedule
from batchrunner.core.events import Event
from batchrunner.core.evidence import Observation
from batchrunner.core.job import Job
from batchrunner.core.schedule import Stop
from batchrunner.ending import Ending
from batchrunner.errors import ProviderError
from batchrunner.inquiry import Inquiry
from batchrunner.seams import Outside, Settings
from batchrunner.unwritten import Unwritten

MOST_RETURNS = 3
"""How often in a run an attempt is taken up again that the provider says is there after all, where it then is not."""

READINGS = 5
"""How often the evidence is read again until two readings in a row agree."""

Amend = Callable[[Job, Event], Job]
"""Applies what was told late of an attempt, one of the run's or an earlier one; the attempt after it."""


class Books:
    """What the provider says of charges and of the balance, read and recorded."""

    def __init__(
        self,
        outside: Outside,
        settings: Settings,
        inquiry: Inquiry,
        unwritten: Unwritten,
        ending: Ending,
        *,
        amend: Amend,
        collects: Callable[[Job], bool],
    ) -> None:
        """Begin with no attempt.

        `amend` is told what was read of one that is over; `collects` says whether its clip would be fetched.
        """
        self._witness = outside.witness
        self._clock = outside.clock
        self._settings = settings
        self._inquiry = inquiry
        self._unwritten = unwritten
        self._ending = ending
        self._amend = amend
        self._collects = collects
        self._charges: dict[str, int] = {}
        self._statuses: dict[str, str] = {}
        self._returns: Counter[tuple[str, int]] = Counter()
        self._open: dict[tuple[str, int], Job] = {}

    def saw(self, job: Job) -> None:
        """Take in an attempt as it is now: one whose charge may still change is found without a rescan."""
        key = (job.id, job.attempt)
        # Judged as at its end, an attempt is kept whose time to settle may be over; a reading lets it go.
        if evidence.may_change(job, now=job.ended_at or 0.0):
            self._open[key] = job
        else:
            self._open.pop(key, None)

    # --- readings ---

    async def inquire(self, jobs: tuple[Job, ...], *, may_wait: bool) -> list[tuple[str, Event]]:
        """Read the evidence until two readings agree; what it says of these lost submissions, and of earlier ones.

        With `may_wait`, renders are looked at meanwhile, and what they are charged may yet be told. The quiet moment
        it makes is written with the findings, which must be applied before anything else happens.
        """
        try:
            first, second = await self._observation(), await self._observation_later()
            for _ in range(READINGS):
                if second.is_same_as(first):
                    break
                first, second = second, await self._observation_later()
        except ProviderError as error:
            failure = retry.failure_of(error)
            goes_on = self._inquiry.could_not_read(failure, now=self._clock.now())
            self._ending.cannot_judge(failure, goes_on=goes_on)
            return []
        await self._correct()
        found = self._inquiry.judge(jobs, first, second, now=self._clock.now(), may_wait=may_wait)
        self._unwritten.add_quiet(self._inquiry.settle(second))
        return found

    async def open(self) -> None:
        """A first quiet moment, if there can be one: nothing renders, and what may be refunded is asked for."""
        unsettled = self._unsettled()
        over = evidence.due_in_books(job for job in unsettled if job.is_final)
        if not all(job.is_final for job in unsettled):
            await self._read_refunds(over)
        elif over:
            await self._read(over)
        else:
            self._unwritten.add_quiet(self._inquiry.begin(self._clock.now()))
            await self._unwritten.write()

    async def close(self) -> None:
        """A last quiet moment, if anything was bought: what the account lost can be held against the ledger."""
        unsettled = self._unsettled()
        is_open = any(not job.is_final for job in unsettled)
        if self._ending.reason is Stop.KEY_REFUSED or self._ending.is_unreachable or is_open:
            return
        due = evidence.due_in_books(unsettled)
        if self._inquiry.has_news or due:
            await self._read(due)

    async def _read(self, asked: list[Job]) -> None:
        """A quiet moment by a reading of its own, tried a few times; without it, the next run has one."""
        for tries in range(1, READINGS + 1):
            try:
                seen = await self._observation(asked)
            except ProviderError as error:
                failure = retry.failure_of(error)
                if tries == READINGS or schedule.stop_for(failure) is not None:
                    return
                await self._nap(retry.pause_s(failure, tries=tries, jitter=self._settings.jitter()))
            else:
                await self._correct()
                self._unwritten.add_quiet(self._inquiry.settle(seen))
                await self._unwritten.write()
                return

    async def _read_refunds(self, over: list[Job]) -> None:
        """Ask what was given back for attempts that are over; no quiet moment, since others still render."""
        with suppress(ProviderError):
            if over:
                await self._observation(over)
                await self._correct()

    # --- one reading ---

    async def _observation(self, asked: list[Job] | None = None) -> Observation:
        """What the provider says of these jobs, of all whose charge may still change by default, and of the balance."""
        known, ledger = self._unsettled() if asked is None else asked, self._inquiry.ledger
        reading = await self._witness([job.project_id for job in known if job.project_id is not None])
        self._charges, self._statuses = dict(reading.charges), dict(reading.statuses)
        spent = ledger + sum(
            reading.charges.get(job.project_id or "", job.charged or 0) - (job.charged or 0) for job in known
        )
        untold = [job for job in known if evidence.is_untold(job, reading.charges)]
        open_ = sum(not job.is_final for job in untold)
        over = sum(job.is_final and not self._inquiry.has_in_baseline(job) for job in untold)
        return Observation(at=reading.at, credits=reading.credits, spent=spent, untold=open_ + over, awaited=open_)

    async def _observation_later(self) -> Observation:
        await self._nap(self._settings.between_readings_s)
        return await self._observation()

    async def _nap(self, seconds: float) -> None:
        until = self._clock.now() + seconds
        while self._clock.now() < until:
            await self._clock.wait(asyncio.Event(), until)

    def _unsettled(self) -> list[Job]:
        """Attempts whose charge may still change, those included that were followed by another."""
        now = self._clock.now()
        self._open = {key: job for key, job in self._open.items() if evidence.may_change(job, now=now)}
        return list(self._open.values())

    async def _correct(self) -> None:
        """Record what the last reading told of renders that are over; the others' next look tells it anyway."""
        for before in self._unsettled():
            event = self._told_late(before)
            if event is None:
                continue
            after = self._amend(before, event)
            if after is not before:
                self._unwritten.add(event, after)
        await self._unwritten.write()

    def _told_late(self, job: Job) -> Event | None:
        """What the last reading says of an attempt that is over, if anything."""
        project_id, now = job.project_id, self._clock.now()
        if not job.is_final or project_id is None:
            return None
        credits = self._charges.get(project_id)
        status = self._statuses.get(project_id) if self._collects(job) else None
        key = (job.id, job.attempt)
        if status is not None and evidence.has_come_back(job, status) and self._returns[key] < MOST_RETURNS:
            self._returns[key] += 1
            return events.Reappeared(at=now, project_id=project_id, status=status, credits=credits)
        return None if credits is None else events.Corrected(at=now, credits=credits)
