"""The one loop that owns every job.

Each action runs as one task and gives back one event; that is the only door through which a job changes. Events that
have arrived are applied and put on disk together, in one transaction, and only then do the actions start that follow
from them. So the intent to submit is on disk before the paid request leaves, and nothing is ever done twice because
something was known only in memory.

The engine holds no opinion: what may start now is `core.schedule`'s, what an event means is `core.job`'s, what a
failure means is `core.retry`'s, what a lost submission means is `core.evidence`'s. Store, performer, witness and clock
are handed in. No event costs more because there are more jobs: heaps and counters, never a rescan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
import itertools
from typing import Any

from batchrunner.core import events, evidence, job as machine, retry, schedule
from batchrunner.core.canary import Canaries
from batchrunner.core.events import Event
from batchrunner.core.evidence import Observation, Quiet
from batchrunner.core.job import Action, Job, State
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import Failure, Instant, Step
from batchrunner.core.schedule import Gate, Load, Stop, Wait
from batchrunner.errors import BatchrunnerError, IllegalTransition, ProviderError, StateLocked, StateUnusable
from batchrunner.following import Following
from batchrunner.governor import Governor, Held
from batchrunner.inquiry import Inquiry, Money
from batchrunner.lines import Lines
from batchrunner.purse import Purse
from batchrunner.seams import Clock, Journal, Observe, Outcome, Perform, Settings, Witness
from batchrunner.timetable import Timetable

LAST_ANSWER_S = 10.0
"""How long a run that is told to leave at once still waits for the answer to a paid request."""

READINGS = 5
"""How often the evidence is read again until two readings in a row agree."""


class Engine:
    """Runs a set of jobs until each is final, waits for a person, or is left to the next run."""

    def __init__(
        self,
        *,
        jobs: Iterable[Job],
        journal: Journal,
        perform: Perform,
        witness: Witness,
        clock: Clock,
        settings: Settings,
        money: Money,
        purse: Purse,
        governor: Governor,
        observe: Observe,
        fetch_again: Collection[str] = (),
        canaries: Canaries | None = None,
        following: Following | None = None,
        timetable: Timetable | None = None,
    ) -> None:
        """Take charge of `jobs`, in their order of preference.

        `fetch_again` names done jobs whose file is missing; with `canaries`, the others are not bought before these
        are good. `following` knows which of them wait for others; by default those wait for one another alone.
        By default may be bought at any time.
        """
        jobs = tuple(jobs)
        self._following = following or Following(jobs)
        self._journal = journal
        self._perform = perform
        self._witness = witness
        self._clock = clock
        self._settings = settings
        self._observe = observe
        self._jobs: dict[str, Job] = {}
        self._order: dict[str, int] = {}
        self._lines = Lines()
        self._tasks: dict[asyncio.Task[None], Step | None] = {}
        self._inbox: list[tuple[str, Event]] = []
        self._crash: BaseException | None = None
        self._bug: Exception | None = None
        self._unwritten: list[tuple[Event, Job]] = []
        self._wake = asyncio.Event()
        self._stop: Stop | None = None
        self._is_paused = False
        self._trouble: Failure | None = None
        self._is_unreachable = False
        self._penniless: set[str] = set()
        self._stopped = asyncio.Event()
        self._charges: dict[str, int] = {}
        self._quiet: Quiet | None = None
        self._fetch_again = set(fetch_again)
        self._canaries = canaries
        self._behind: list[str] = []
        self._projects: dict[str, str] = {}
        self._noticed: set[str] = set()
        self.load = Load()
        self._inquiry = Inquiry(
            grace_s=settings.grace_s,
            life_s=settings.life_s,
            money=money,
            jitter=settings.jitter,
            policy=settings.policy,
        )
        self._past = {(job.id, job.attempt): job for job in money.past if job.project_id is not None}
        self._purse = purse
        self._governor = governor
        self._timetable = timetable or Timetable()
        self._held: dict[Step, Held] = {}
        for job in jobs:
            self._order[job.id] = len(self._order)
            self._jobs[job.id] = job
            self.load.by_state[job.state] += 1
            self._inquiry.saw(None, job)
            self._index(None, job)
            governor.resume(job, now=clock.now())
            self._queue(replace(job, is_left=False), is_resumed=True)

    # --- what the outside may ask and tell ---

    def stop(self, reason: Stop) -> None:
        """Buy no more; what was bought is still collected, unless the key itself was refused."""
        self._stop = schedule.graver(self._stop, reason)
        self._stopped.set()
        self._wake.set()

    def pause(self, *, is_on: bool) -> None:
        """Buy nothing for now, or go on; what was bought is collected meanwhile, and the run waits for its end."""
        self._is_paused = is_on
        self._wake.set()

    async def stopped(self) -> tuple[Stop, str]:
        """Wait until nothing more is bought, for a reason of the run's; the reason, and what is behind it."""
        await self._stopped.wait()
        assert self._stop is not None
        return self._stop, self._trouble.message if self._trouble is not None else str(self._stop)

    def notice(self, project_id: str) -> None:
        """Look at a project now, if its render is waited for; whoever says so, and however often, decides nothing.

        A wait after a look that failed stays: the provider asked for it.
        """
        job_id = self._projects.get(project_id)
        if job_id is None or self._jobs[job_id].again_at is not None:
            return
        if not self._lines.hasten(Step.POLL, job_id, order=self._order[job_id]):
            # A look is under way, and may have come a moment too early.
            self._noticed.add(job_id)
        self._wake.set()

    @property
    def awaits_answer(self) -> bool:
        """Whether a paid request is out; leaving waits for its answer, up to `LAST_ANSWER_S`."""
        return self.load.running[Step.SUBMIT] > 0

    @property
    def limits(self) -> Limits:
        """How much may go on at once."""
        return self._settings.limits

    def jobs(self) -> Mapping[str, Job]:
        """Every job as it is now."""
        return self._jobs

    def waits(self) -> dict[Step, tuple[int, str]]:
        """For each step that is held back: how many jobs could start it now, and why they may not."""
        gate = self._gate()
        held = {step: schedule.refuses(step, self.load, self._settings.limits, gate) for step in Step}
        held |= {step: held[step] or why.why for step, why in self._held.items()}
        waits = {step: (self._lines.ready(step), why) for step, why in held.items() if why}
        if self._canaries is not None and self._behind and Step.UPLOAD not in waits:
            waits[Step.UPLOAD] = (len(self._behind), self._canaries.words)
        elif self._following.waiting and Step.UPLOAD not in waits:
            waits[Step.UPLOAD] = (self._following.waiting, "they wait for other jobs of their chain")
        return waits

    def stalls(self) -> list[str]:
        """Why work that could be done now waits for something that is no limit of its own: an outage, a doubt."""
        gate = self._gate()
        words = [held.why for held in self._held.values() if held.until is not None]
        is_in_doubt = gate.is_reconciling or gate.holds_until is not None or gate.awaits_credits or gate.is_paused
        reason = schedule.refuses(Step.SUBMIT, self.load, self._settings.limits, gate) if is_in_doubt else None
        words += [] if reason is None else [reason]
        return words or self._idle_words()

    def _idle_words(self) -> list[str]:
        """What the next job waits for, where nothing is under way and nothing else is waited for."""
        waits = list(self._waits())
        if self._tasks or not waits or any(wait.is_own for wait in waits):
            return []
        at, job_id = min((at, job_id) for step in Step for job_id, at in self._lines.dates(step))
        trouble = self._jobs[job_id].trouble
        return [f"nothing can be done before {self._governor.when(at)}; {job_id}: {trouble.message if trouble else ''}"]

    # --- the loop ---

    async def run(self) -> Outcome:
        """Go on until nothing more can be done in this run.

        Raises:
            IllegalTransition: a bug; everything recorded so far stands. A bug in what was done for one job is raised
                at the end, when what others have paid for is on disk.
            StateUnusable, StateLocked: events could not be written; every project id that would be lost with them
                stands in its words.
        """
        try:
            try:
                await self._go_on()
            finally:
                await _to_its_end(self._leave())
        except (StateUnusable, StateLocked) as error:
            raise _unrecorded(self._unwritten, error) from error
        if self._bug is not None:
            raise self._bug
        return Outcome(
            by_state=dict(self.load.by_state),
            stop=self._stop or (Stop.WINDOW_OVER if self._timetable.left else None),
            trouble=self._trouble,
            is_unreachable=self._is_unreachable,
            not_fetched=len(self._fetch_again),
            held_back=self._purse.held_back,
            held_back_why=self._purse.reason if self._purse.held_back else None,
            far_off=self._purse.far_off,
            canaries=self._canaries,
            passed=self._purse.passed,
            again_at=self._run_again_at(),
            ended_at=self._clock.now(),
        )

    async def _go_on(self) -> None:
        await self._open_books()
        while True:
            self._wake.clear()
            self._take_inbox()
            now = self._clock.now()  # after what has arrived was dated: nothing may seem to lie ahead
            if self._stop is None and self._timetable.is_over(now):
                self.stop(Stop.WINDOW_OVER)
            self._start_inquiry(now)
            started = self._admit(now, self._unwritten)
            await self._record()
            for step, action, job_id in started:  # at once: what is said on disk to leave must not be kept back
                self._start(step, self._do(action, self._jobs[job_id]))
            for name, value in self._governor.news():
                await self._journal.learn(name, value)
            if self._crash is not None:
                raise self._crash
            if self._is_over():
                break
            await self._clock.wait(self._wake, self._timetable.next_turn(self._next_time(), now))
        await self._close_books()

    def _show(self, event: Event, job: Job) -> None:
        """Tell the observer; one that fails is not told again, and cannot end the run."""
        try:
            self._observe(event, job)
        except Exception:  # noqa: BLE001 - a terminal that has gone away must not cost a render
            self._observe = lambda _event, _job: None

    def _take_inbox(self) -> None:
        """Apply what has arrived; it is then to be written."""
        arrived, self._inbox = self._inbox, []
        for job_id, event in arrived:
            before = self._jobs[job_id]
            after = self._apply(before, event)
            if isinstance(event, events.Downloaded):
                self._fetch_again.discard(job_id)
            if after is not before:
                self._unwritten.append((event, after))
            self._queue(after)
            self._ask_canaries(after)
            for follower in self._following.saw(after):
                self._queue(replace(self._jobs[follower], is_left=False))

    def _ask_canaries(self, job: Job) -> None:
        """Take in how a canary is; stop buying if one is in doubt, let the others go when all are good."""
        if self._canaries is None:
            return
        self._canaries.saw(job)
        if self._canaries.stops is not None:
            self.stop(Stop.CANARY)
        elif self._canaries.is_over:
            behind, self._behind = self._behind, []
            for job_id in behind:
                self._queue(replace(self._jobs[job_id], is_left=False))

    def _apply(self, before: Job, event: Event) -> Job:
        after = machine.advance(before, event)
        self._jobs[after.id] = after
        if after.state is not before.state:
            self.load.by_state[before.state] -= 1
            self.load.by_state[after.state] += 1
        self._count(before, after)
        self._index(before, after)
        self._timetable.saw(after, event)
        for job_id, at in self._governor.saw(before, after, event, now=self._clock.now()):
            if self._jobs[job_id].again_at is None:
                self._lines.move(Step.POLL, job_id, order=self._order[job_id], at=at)
        failure = getattr(event, "failure", None)
        if failure is not None:
            self._heed(failure, after)
        return after

    def _count(self, before: Job, after: Job) -> None:
        """Keep both accounts in step with one change: the one to judge by, and the one the caps are held against."""
        self._inquiry.saw(before, after)
        self._purse.saw(before, after, now=self._clock.now())

    def _index(self, before: Job | None, after: Job) -> None:
        """Keep what finds a job by the project whose render is waited for."""
        if before is not None and before.project_id is not None:
            self._projects.pop(before.project_id, None)
        if after.state is State.RENDERING and after.project_id is not None:
            self._projects[after.project_id] = after.id

    def _heed(self, failure: Failure, job: Job) -> None:
        """A failure that says something about the whole account stops the run."""
        stop = schedule.stop_for(failure)
        if stop is Stop.OUT_OF_CREDITS and self._settings.top_up_check_s is not None:
            self._await_top_up(job, self._settings.top_up_check_s)
        elif stop is not None:
            self._trouble = failure
            self.stop(stop)
        if job.is_left and failure.is_unreachable:
            self._trouble = failure
            self._is_unreachable = True

    def _queue(self, job: Job, *, is_resumed: bool = False) -> None:
        """Put a job in line for its next action; a render that was waited for in an earlier run is looked at first."""
        is_noticed = job.id in self._noticed
        self._noticed.discard(job.id)
        action = machine.next_action(job)
        if action is None and job.id in self._fetch_again:
            action = Action.DOWNLOAD
        if action in schedule.PAYS and not self._purse.permits(job):
            # The next plan opens it anew, or leaves it alone.
            if not is_resumed and self._stop is None:
                self._purse.leave(job)
            return
        if action is None or job.is_left:
            return
        if action is Action.RECONCILE:
            self._inquiry.add(job, now=self._clock.now())
            return
        step = schedule.STEP_OF[action]
        if step in schedule.BUYING and self._following.holds(job):
            return
        if step in schedule.BUYING and self._canaries is not None and self._canaries.holds_back(job):
            self._behind.append(job.id)
            return
        at = schedule.believable(job.again_at, since=job.updated_at, now=self._clock.now())
        # A charge that was not told is asked for at once: the next purchase must know it.
        is_untold = job.charged is None and job.status is None
        if action is Action.POLL and at is None and not (is_resumed or is_noticed or is_untold):
            at = self._governor.look_at(job, now=self._clock.now())
        self._lines.add(step, job.id, order=self._order[job.id], at=at)

    def _gate(self) -> Gate:
        return Gate(
            stop=self._stop,
            is_paused=self._is_paused,
            is_reconciling=self._inquiry.forbids_buying(self._clock.now()),
            holds_until=self._inquiry.holds_until(self._clock.now()),
            awaits_credits=bool(self._penniless),
        )

    def _admit(self, now: Instant, entries: list[tuple[Event, Job]]) -> list[tuple[Step | None, Action, str]]:
        """Choose what starts now; intents to submit are added to `entries`, to be on disk first."""
        started: list[tuple[Step | None, Action, str]] = []
        gate = self._gate()
        for job in (
            *self._purse.take_back(self._jobs.__getitem__, now=now),
            *self._governor.unpark(self._jobs),
            *self._timetable.take_back(self._jobs, now=now),
        ):
            self._queue(job)
        for step in Step:
            self._lines.ripen(step, now)
            while self._may_start(step, gate, now):
                order, job_id = self._lines.take(step)
                job = self._jobs[job_id]
                if step in schedule.BUYING and self._is_kept_back(job, order, now):
                    continue
                action = self._begin(step, job, now, entries)
                if action is not None:
                    self.load.running[step] += 1
                    self._governor.started(step, now=now)
                    started.append((step, action, job_id))
        return started

    def _may_start(self, step: Step, gate: Gate, now: Instant) -> bool:
        """Whether a job waits for this step and nothing that concerns all jobs stands in its way."""
        self._held.pop(step, None)
        if not self._lines.ready(step) or schedule.refuses(step, self.load, self._settings.limits, gate) is not None:
            return False
        held = self._timetable.holds(step, now) or self._governor.holds(step, self.load.in_flight, now=now)
        if held is not None:
            self._held[step] = held
        return held is None

    def _is_kept_back(self, job: Job, order: int, now: Instant) -> bool:
        """Whether this job is not bought now though others may be; it then waits where room for it will be noticed."""
        too_dear = self._purse.refuses(job, now=now)
        if too_dear is not None:
            self._purse.set_aside(job, order=order, why=too_dear)
        elif not self._timetable.lands(job, now):
            self._timetable.leave(job, order=order)
        elif self._governor.stops(job) is not None:
            pass  # left to another run; the words were told when its group was stopped
        elif self._governor.refuses(job) is not None:
            self._governor.park(job, order=order)
        else:
            return False
        return True

    def _begin(self, step: Step, job: Job, now: Instant, entries: list[tuple[Event, Job]]) -> Action | None:
        """The action that starts; None when the job must first go back a step."""
        if step is not Step.SUBMIT:
            self._noticed.discard(job.id)
            return schedule.ACTION_OF[step]
        if machine.has_stale_assets(job, now=now):
            event: Event = events.AssetsExpired(at=now)
            after = self._apply(job, event)
            entries.append((event, after))
            self._queue(after)
            self._wake.set()
            return None
        event = events.SubmitStarted(at=now, name=self._settings.name(job))
        entries.append((event, self._apply(job, event)))
        return Action.SUBMIT

    # --- tasks ---

    async def _do(self, action: Action, job: Job) -> None:
        try:
            event = await self._perform(action, job)
        except (BatchrunnerError, IllegalTransition):
            raise
        except Exception as error:  # noqa: BLE001 - one job's bug must not strand what others have paid for
            self._bug = self._bug or error
            event = schedule.after_a_bug(action, at=self._clock.now(), error=type(error).__name__)
        self._inbox.append((job.id, event))

    def _start(self, step: Step | None, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[task] = step
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        assert isinstance(task, asyncio.Task)
        step = self._tasks.pop(task)
        if step is not None:
            self.load.running[step] -= 1
        if not task.cancelled() and task.exception() is not None:
            self._crash = task.exception()
        self._wake.set()

    async def _leave(self) -> None:
        """End what is still running, and put on disk what is known.

        A paid request is given a moment to answer: its project id is worth more than the seconds. Everything else
        can be done again at no cost. What could not be written before is tried once more: room may have been made.

        Raises:
            StateUnusable, StateLocked: as `_record`.
        """
        submits = {task for task, step in self._tasks.items() if step is Step.SUBMIT}
        for task in set(self._tasks) - submits:
            task.cancel()
        if submits:
            await asyncio.wait(submits, timeout=LAST_ANSWER_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._unwritten = _without_intents(self._unwritten)
        self._take_inbox()
        await self._record()

    async def _record(self) -> None:
        """Put on disk what is to be written, and a quiet moment with it, and tell of it.

        Raises:
            StateUnusable, StateLocked: it could not be written; it is kept for another try.
        """
        entries, self._unwritten = self._unwritten, []
        quiet, self._quiet = self._quiet, None
        if not entries and quiet is None:
            return
        try:
            await _to_its_end(self._journal.append(entries, quiet=quiet))
        except (StateUnusable, StateLocked):
            self._keep(entries, quiet)
            raise
        for event, job in entries:
            self._show(event, job)

    def _keep(self, entries: list[tuple[Event, Job]], quiet: Quiet | None) -> None:
        """Keep for another try what could not be written; a quiet moment that came since is the better one."""
        self._unwritten = [*_without_intents(entries), *self._unwritten]
        self._quiet = self._quiet or quiet

    # --- lost submissions ---

    def _start_inquiry(self, now: Instant) -> None:
        """Read the evidence when it is due, or a quiet moment that is too old to buy on; never beside a submission."""
        self.load.doubtful = self._inquiry.trials
        self.load.in_line = self._lines.size(Step.SUBMIT)
        if self._inquiry.is_running or not self._may_inquire() or not self._inquiry.may_read(now):
            return
        due = self._inquiry.due_at()
        if (due is not None and due <= now) or (self._inquiry.needs_baseline(now) and self._wants_to_buy()):
            self._start(None, self._inquire(self._inquiry.begin_reading()))

    def _may_inquire(self) -> bool:
        return self._stop is not Stop.KEY_REFUSED and not self.load.running[Step.SUBMIT] and not self._inbox

    def _wants_to_buy(self) -> bool:
        busy = sum(self.load.running[step] for step in schedule.BUYING)
        is_wanted = self._lines.has_ready(schedule.BUYING) or self._lines.has_later(schedule.BUYING)
        is_open = not self._is_paused and self._timetable.is_open(self._clock.now())
        return self._stop is None and is_open and (busy > 0 or is_wanted)

    async def _inquire(self, jobs: tuple[Job, ...]) -> None:
        """Read the evidence until two readings agree, and put the findings into the inbox."""
        try:
            first, second = await self._observation(), await self._observation_later()
            for _ in range(READINGS):
                if second.is_same_as(first):
                    break
                first, second = second, await self._observation_later()
        except ProviderError as error:
            self._could_not_inquire(error)
            return
        await self._correct()
        found = self._inquiry.judge(jobs, first, second, now=self._clock.now())
        self._inbox.extend((job_id, self._as_permitted(event, self._jobs[job_id])) for job_id, event in found)
        # Recorded with the findings, which are in the inbox.
        self._quiet = self._inquiry.settle(second)

    def _as_permitted(self, event: Event, job: Job) -> Event:
        """A finding as it is recorded: what proved unpaid and may not be bought again is left to the next plan."""
        if not isinstance(event, events.ProvedUnpaid) or self._purse.permits(job):
            return event
        return replace(event, verdict=retry.Leave())

    def _could_not_inquire(self, error: ProviderError) -> None:
        failure = retry.failure_of(error)
        stop = schedule.stop_for(failure)
        goes_on = self._inquiry.could_not_read(failure, now=self._clock.now())
        if stop is not None or not goes_on:
            self._trouble = failure
            self._is_unreachable = stop is None
            self.stop(stop or Stop.UNREACHABLE)

    async def _observation_later(self) -> Observation:
        await self._nap(self._settings.between_readings_s)
        return await self._observation()

    async def _close_books(self) -> None:
        """A last quiet moment, if anything was bought: what the account lost can be held against the ledger."""
        unsettled = self._unsettled()
        is_open = any(not job.is_final for job in unsettled)
        if self._stop is Stop.KEY_REFUSED or self._is_unreachable or is_open:
            return
        due = evidence.due_in_books(unsettled)
        if self._inquiry.has_news or due:
            await self._read_books(due)

    async def _open_books(self) -> None:
        """A first quiet moment, if there can be one: nothing renders, and what may be refunded is asked for."""
        unsettled = self._unsettled()
        over = evidence.due_in_books(job for job in unsettled if job.is_final)
        if not all(job.is_final for job in unsettled):
            await self._read_refunds(over)
        elif over:
            await self._read_books(over)
        else:
            self._quiet = self._inquiry.begin(self._clock.now())
            await self._record()

    async def _read_books(self, asked: list[Job]) -> None:
        """A quiet moment by a reading of its own, tried a few times; without it, the next run has one."""
        for tries in range(1, READINGS + 1):
            try:
                seen = await self._observation(asked)
            except ProviderError as error:
                if tries == READINGS or schedule.stop_for(retry.failure_of(error)) is not None:
                    return
                await self._nap(retry.pause_s(retry.failure_of(error), tries=tries, jitter=self._settings.jitter()))
            else:
                await self._correct()
                self._quiet = self._inquiry.settle(seen)
                await self._record()
                return

    async def _nap(self, seconds: float) -> None:
        until = self._clock.now() + seconds
        while self._clock.now() < until:
            await self._clock.wait(asyncio.Event(), until)

    async def _read_refunds(self, over: list[Job]) -> None:
        """Ask what was given back for attempts that are over; no quiet moment, since others still render."""
        with suppress(ProviderError):
            if over:
                await self._observation(over)
                await self._correct()

    async def _observation(self, asked: list[Job] | None = None) -> Observation:
        """What the provider says of these jobs, of all whose charge may still change by default, and of the balance."""
        known, ledger = self._unsettled() if asked is None else asked, self._inquiry.ledger
        reading = await self._witness([job.project_id for job in known if job.project_id is not None])
        self._charges = dict(reading.charges)
        spent = ledger + sum(
            reading.charges.get(job.project_id or "", job.charged or 0) - (job.charged or 0) for job in known
        )
        return Observation(at=reading.at, credits=reading.credits, spent=spent)

    def _unsettled(self) -> list[Job]:
        """Attempts whose charge may still change, those included that were followed by another."""
        now = self._clock.now()
        everything = itertools.chain(self._jobs.values(), self._past.values())
        return [job for job in everything if evidence.may_change(job, now=now)]

    async def _correct(self) -> None:
        """Record what the last reading told of renders that are over; the others' next look tells it anyway."""
        for before in self._unsettled():
            if before.is_final and before.project_id in self._charges:
                event: Event = events.Corrected(at=self._clock.now(), credits=self._charges[before.project_id])
                if (before.id, before.attempt) in self._past:
                    after = machine.advance(before, event)
                    self._past[before.id, before.attempt] = after
                    self._count(before, after)
                else:
                    after = self._apply(before, event)
                if after is not before:
                    self._unwritten.append((event, after))
        await self._record()

    # --- a top-up ---

    def _await_top_up(self, job: Job, every_s: float) -> None:
        if not self._penniless:
            self._start(None, self._watch_balance(every_s))
        self._penniless.add(job.id)

    async def _watch_balance(self, every_s: float) -> None:
        """Look at the balance until the cheapest job that was refused can be paid, or the run is to stop."""
        while not self._stopped.is_set():
            until = self._clock.now() + every_s
            while not self._stopped.is_set() and self._clock.now() < until:
                await self._clock.wait(self._stopped, until)
            needed = min(self._jobs[job_id].spec.hold or 0 for job_id in self._penniless)
            with suppress(ProviderError):
                reading = await self._witness([])
                if reading.credits is not None and reading.credits >= needed:
                    break
        for job_id in self._penniless:
            self._queue(replace(self._jobs[job_id], is_left=False))
        self._penniless.clear()

    # --- waiting and ending ---

    def _next_time(self) -> Instant | None:
        """When something can be done that cannot be done now; None where only an event can change that."""
        steps = self._steps()
        held = [self._held[step].until for step in steps if step in self._held]
        dates = (self._lines.next_at(steps), self._next_inquiry(), *held)
        return min((at for at in dates if at is not None), default=None)

    def _steps(self) -> set[Step]:
        return set(Step) - (schedule.BUYING if self._stop else set())

    def _next_inquiry(self) -> Instant | None:
        now, wants_to_buy = self._clock.now(), self._wants_to_buy()
        return self._inquiry.next_at(now, wants_to_buy=wants_to_buy) if self._may_inquire() else None

    def _waits(self) -> Iterator[Wait]:
        """What is waited for, by everyone who waits for a time."""
        now = self._clock.now()
        for step in self._steps():
            held = self._held.get(step)
            if held is not None and held.until is not None:
                yield Wait(step=step, until=held.until, is_own=not held.is_asked)
            for job_id, at in self._lines.dates(step):
                job = self._jobs[job_id]
                asked = schedule.believable(job.again_at, since=job.updated_at, now=now)
                yield Wait(step=step, until=asked or at, is_own=asked is None)

    def _run_again_at(self) -> Instant | None:
        """When another run can do something for the jobs that are left; None where that is now, or nothing is left."""
        now = self._clock.now()
        left = [job for job in self._jobs.values() if job.state in schedule.UNFINISHED]
        return schedule.run_again_at((self._governor.may_go_at(job, now=now) for job in left), now=now)

    def _is_over(self) -> bool:
        """Whether nothing more can be done in this run, now or later, under what is known."""
        if self._inbox:
            return False
        if (self._purse.leaves_at_once or self._is_cut_off()) and not self.load.running[Step.SUBMIT]:
            return True
        if self._tasks:
            return False
        if self._stop is Stop.KEY_REFUSED:
            return True
        return not self._wake.is_set() and not self._waits_for_resume() and not self._can_wait()

    def _can_wait(self) -> bool:
        """Whether something will come of it if nothing is done now."""
        if self._next_inquiry() is not None:
            return True
        if self._next_time() is not None:
            return schedule.is_worth_waiting(self._waits(), self._settings.policy, now=self._clock.now())
        return self._has_question()

    def _waits_for_resume(self) -> bool:
        """Whether there is something to buy and a person has paused the buying."""
        is_wanted = self._lines.has_ready(schedule.BUYING) or self._lines.has_later(schedule.BUYING)
        return self._is_paused and self._stop is None and is_wanted

    def _has_question(self) -> bool:
        """Whether a lost submission is still to be judged in this run, where nothing is under way and nothing dated."""
        if self._inquiry.is_waiting and self._inquiry.due_at() is None:
            if self._stop is not None:
                return False  # it waits for another charge, and that comes with a run that buys
            # The charge that was waited for will not come.
            self._inquiry.hurry()
            self._wake.set()
        return self._inquiry.is_waiting

    def _is_cut_off(self) -> bool:
        """Whether collecting has failed for so long that the run ends; where only buying has, that alone stops."""
        out = {step for step in Step if self._governor.is_out(step)}
        if out and self._stop is None:
            self._is_unreachable = True
            self.stop(Stop.UNREACHABLE)
        return bool(out - schedule.BUYING)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do what must not be broken off, however often that is asked for; who asked is heard when it is over."""
    task = asyncio.ensure_future(work)
    asked: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            asked = error
    task.result()
    if asked is not None:
        raise asked


def _without_intents(entries: Iterable[tuple[Event, Job]]) -> list[tuple[Event, Job]]:
    """What happened; nothing was submitted whose intent is not on disk, so an intent that is not says nothing."""
    return [(event, job) for event, job in entries if not isinstance(event, events.SubmitStarted)]


def _unrecorded(
    entries: Sequence[tuple[Event, Job]], error: StateUnusable | StateLocked
) -> StateUnusable | StateLocked:
    """The error of a log that cannot be written, with every project id that would be lost with it."""
    accepted = [f"{job.id} = {event.project_id}" for event, job in entries if isinstance(event, events.Accepted)]
    told = f"; accepted but NOT recorded, keep this: {', '.join(accepted)}" if accepted else ""
    return type(error)(f"{error}{told}", hint=error.hint)
