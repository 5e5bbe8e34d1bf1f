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
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from batchrunner.admission import Admission
from batchrunner.aside import Aside
from batchrunner.behind import Behind
from batchrunner.books import Books
from batchrunner.core import events, job as machine, schedule
from batchrunner.core.canary import Canaries
from batchrunner.core.events import Event
from batchrunner.core.job import Action, Job
from batchrunner.core.manifest import Limits
from batchrunner.core.retry import Failure, Instant, Step
from batchrunner.core.schedule import Gate, Load, Stop, Wait
from batchrunner.ending import Ending
from batchrunner.errors import BatchrunnerError, IllegalTransition, StateLocked, StateUnusable
from batchrunner.following import Following
from batchrunner.governor import Governor
from batchrunner.inquiry import Inquiry, Money
from batchrunner.lines import Lines
from batchrunner.purse import Purse
from batchrunner.roster import Roster
from batchrunner.seams import Outcome, Outside, Settings
from batchrunner.timetable import Timetable
from batchrunner.topup import TopUp
from batchrunner.underway import Underway
from batchrunner.unwritten import Unwritten, to_its_end


class Engine:
    """Runs a set of jobs until each is final, waits for a person, or is left to the next run."""

    def __init__(
        self,
        *,
        jobs: Iterable[Job],
        outside: Outside,
        settings: Settings,
        money: Money,
        purse: Purse,
        governor: Governor,
        fetch_again: Collection[str] = (),
        canaries: Canaries | None = None,
        following: Following | None = None,
        timetable: Timetable | None = None,
        at_rest: int = 0,
    ) -> None:
        """Take charge of `jobs`, in their order of preference.

        `fetch_again` names done jobs whose file is missing; with `canaries`, the others are not bought before these
        are good. `following` knows which of them wait for others; by default those wait for one another alone.
        By default may be bought at any time. So many more jobs are `at_rest`: done, with nothing left to do or to ask
        for, and not among `jobs`; they count, and are nothing else to this run.
        """
        self._roster = Roster(jobs, at_rest=at_rest)
        self._clock, self._journal, self._perform = outside.clock, outside.journal, outside.perform
        self._settings = settings
        self._purse, self._governor = purse, governor
        self._following = following or Following(self._roster.jobs.values())
        self._timetable = timetable or Timetable()
        self._aside = Aside(self._roster, purse=purse, timetable=self._timetable, governor=governor)
        self._fetch_again = set(fetch_again)
        self._noticed: set[str] = set()
        self._inbox: list[tuple[str, Event]] = []
        self._bug: Exception | None = None
        self._is_paused = False
        self._wake = asyncio.Event()
        self._lines = Lines()
        self.load = Load(by_state=self._roster.by_state)
        self._admission = Admission(
            self._lines, self.load, settings.limits, timetable=self._timetable, governor=governor
        )
        self._underway = Underway(self.load, self._wake)
        self._unwritten = Unwritten(outside.journal, outside.observe)
        self._ending = Ending(self._wake)
        self._behind = Behind(canaries, self._ending)
        self._top_up = TopUp(outside, self._ending, every_s=settings.top_up_check_s)
        self._inquiry = Inquiry(settings, money, now=outside.clock.now())
        self._books = Books(
            outside,
            settings,
            self._inquiry,
            self._unwritten,
            self._ending,
            amend=self._amend,
            collects=self._roster.has,
        )
        self._take_on(money.past)

    def _take_on(self, past: Iterable[Job]) -> None:
        """Take in every job as it is, and the attempts beside them."""
        now = self._clock.now()
        for job in self.jobs().values():
            self._inquiry.saw(None, job, now=now)
            self._books.saw(job)
            self._governor.resume(job, now=now)
            self._queue(_tried_again(job), is_resumed=True)
        for attempt in past:
            self._books.saw(attempt)

    # --- what the outside may ask and tell ---

    def stop(self, reason: Stop) -> None:
        """Buy no more; what was bought is still collected, unless the key itself was refused."""
        self._ending.stop(reason)

    def pause(self, *, is_on: bool) -> None:
        """Buy nothing for now, or go on; what was bought is collected meanwhile, and the run waits for its end."""
        self._is_paused = is_on
        self._wake.set()

    async def stopped(self) -> tuple[Stop, str]:
        """Wait until nothing more is bought, for a reason of the run's; the reason, and what is behind it."""
        return await self._ending.comes()

    def notice(self, project_id: str) -> None:
        """Look at a project now, if its render is waited for; whoever says so, and however often, decides nothing.

        A wait after a look that failed stays: the provider asked for it.
        """
        job = self._roster.rendering(project_id)
        if job is None or job.again_at is not None:
            return
        if not self._lines.hasten(Step.POLL, job.id, order=self._roster.place(job.id)):
            # A look is under way, and may have come a moment too early.
            self._noticed.add(job.id)
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
        return self._roster.jobs

    def waits(self) -> dict[Step, tuple[int, str]]:
        """For each step that is held back: how many jobs could start it now, and why they may not."""
        waits = self._admission.waits(self._gate())
        if self._behind.waiting and Step.UPLOAD not in waits:
            waits[Step.UPLOAD] = (self._behind.waiting, self._behind.words)
        elif self._following.waiting and Step.UPLOAD not in waits:
            waits[Step.UPLOAD] = (self._following.waiting, "they wait for other jobs of their chain")
        return waits

    def stalls(self) -> list[str]:
        """Why work that could be done now waits for something that is no limit of its own: an outage, a doubt."""
        return self._admission.stalls(self._gate()) or self._idle_words()

    def _idle_words(self) -> list[str]:
        """What the next job waits for, where nothing is under way and nothing else is waited for."""
        if self._underway or any(wait.is_own for wait in self._waits()):
            return []
        first = min(((at, job_id) for step in self._steps() for job_id, at in self._lines.dates(step)), default=None)
        if first is None:
            return []
        at, job_id = first
        trouble = self._roster[job_id].trouble
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
                await to_its_end(self._leave())
        except (StateUnusable, StateLocked) as error:
            raise self._unwritten.named_in(error) from error
        if self._bug is not None:
            raise self._bug
        return self._outcome()

    def _outcome(self) -> Outcome:
        return Outcome(
            by_state=dict(self.load.by_state),
            stop=self._ending.reason or (Stop.WINDOW_OVER if self._timetable.left else None),
            trouble=self._ending.trouble,
            is_unreachable=self._ending.is_unreachable,
            not_fetched=len(self._fetch_again),
            held_back=self._purse.held_back,
            held_back_why=self._purse.reason if self._purse.held_back else None,
            far_off=self._purse.far_off,
            canaries=self._behind.canaries,
            passed=self._purse.passed,
            again_at=self._run_again_at(),
            ended_at=self._clock.now(),
        )

    async def _go_on(self) -> None:
        await self._books.open()
        while True:
            self._wake.clear()
            self._take_inbox()
            now = self._clock.now()  # after what has arrived was dated: nothing may seem to lie ahead
            if self._ending.reason is None and self._timetable.is_over(now):
                self.stop(Stop.WINDOW_OVER)
            self._start_inquiry(now)
            started = self._admit(now)
            await self._unwritten.write()
            for step, action, job_id in started:  # at once: what is said on disk to leave must not be kept back
                self._underway.start(step, self._do(action, self._roster[job_id]))
            for name, value in self._governor.news():
                await self._journal.learn(name, value)
            if self._underway.crash is not None:
                raise self._underway.crash
            if self._is_over():
                await self._books.close()
                if self._is_over():  # a render may have come back that was thought to be lost
                    break
            await self._clock.wait(self._wake, self._timetable.next_turn(self._next_time(), now))

    async def _leave(self) -> None:
        """End what is still running, and put on disk what is known; what could not be written is tried once more.

        Raises:
            StateUnusable, StateLocked: room may have been made meanwhile, but was not.
        """
        await self._underway.end()
        self._unwritten.drop_intents()
        self._take_inbox()
        await self._unwritten.write()

    def _take_inbox(self) -> None:
        """Apply what has arrived; it is then to be written."""
        arrived, self._inbox = self._inbox, []
        for job_id, told in arrived:
            before, event = self._roster[job_id], self._governor.dated(job_id, told, now=self._clock.now())
            after = self._apply(before, event)
            if isinstance(event, events.Downloaded):
                self._fetch_again.discard(job_id)
            if after is not before:
                self._unwritten.add(event, after)
            self._queue(after)
            self._let_go(self._behind.saw(after))
            self._let_go(self._following.saw(after))

    def _let_go(self, job_ids: Iterable[str]) -> None:
        """Put in line again what waited for something else than a time."""
        for job_id in job_ids:
            self._queue(_tried_again(self._roster[job_id]))

    def _apply(self, before: Job, event: Event) -> Job:
        after = machine.advance(before, event)
        self._roster.change(before, after)
        self._count(before, after)
        self._timetable.saw(after, event)
        for job_id, at in self._governor.saw(before, after, event, now=self._clock.now()):
            if self._roster[job_id].again_at is None:
                self._lines.move(Step.POLL, job_id, order=self._roster.place(job_id), at=at)
        failure = getattr(event, "failure", None)
        if failure is not None:
            self._heed(failure, after)
        return after

    def _amend(self, before: Job, event: Event) -> Job:
        """Apply what was told late of an attempt: one of a job here, or one that this run does not look after."""
        if self._roster.has(before):
            after = self._apply(before, event)
            if after.state is not before.state:  # it goes on
                self._queue(after, is_resumed=True)
                self._wake.set()
            return after
        after = machine.advance(before, event)
        self._count(before, after)
        return after

    def _count(self, before: Job, after: Job) -> None:
        """Keep the accounts in step with one change: the one to judge by, and the one the caps are held against."""
        now = self._clock.now()
        self._inquiry.saw(before, after, now=now)
        self._books.saw(after)
        self._purse.saw(before, after, now=now)

    def _heed(self, failure: Failure, job: Job) -> None:
        """A failure that says something about the whole account stops the run, or has it wait for a top-up."""
        if schedule.stop_for(failure) is not Stop.OUT_OF_CREDITS or not self._top_up.may_be_waited_for:
            self._ending.heed(failure, job)
        elif self._top_up.add(job):
            self._underway.start(None, self._await_top_up())

    async def _await_top_up(self) -> None:
        self._let_go(await self._top_up.comes())

    def _queue(self, job: Job, *, is_resumed: bool = False) -> None:
        """Put a job in line for its next action; a render that was waited for in an earlier run is looked at first."""
        is_noticed = job.id in self._noticed
        self._noticed.discard(job.id)
        action = machine.next_action(job)
        if action is None and job.id in self._fetch_again:
            action = Action.DOWNLOAD
        if action in schedule.PAYS and not self._purse.permits(job):
            # The next plan opens it anew, or leaves it alone.
            if not is_resumed and self._ending.reason is None:
                self._purse.leave(job)
            return
        if action is None or job.is_left:
            return
        if action is Action.RECONCILE:
            self._inquiry.add(job, now=self._clock.now())
            return
        step = schedule.STEP_OF[action]
        if step in schedule.BUYING and (self._following.holds(job) or self._behind.holds(job)):
            return
        at = self._start_at(job, step, is_urgent=is_resumed or is_noticed)
        self._lines.add(step, job.id, order=self._roster.place(job.id), at=at)

    def _start_at(self, job: Job, step: Step, *, is_urgent: bool) -> Instant | None:
        """When a job may start a step; None where that is now. An urgent look waits only where that was asked for."""
        at = schedule.believable(job.again_at, since=job.updated_at, now=self._clock.now())
        # A charge that was not told is asked for at once: the next purchase must know it.
        is_untold = job.charged is None and job.status is None
        if step is Step.POLL and at is None and not (is_urgent or is_untold):
            at = self._governor.look_at(job, now=self._clock.now())
        return at

    def _gate(self) -> Gate:
        return Gate(
            stop=self._ending.reason,
            is_paused=self._is_paused,
            is_reconciling=self._inquiry.forbids_buying(self._clock.now()),
            holds_until=self._inquiry.holds_until(self._clock.now()),
            awaits_credits=self._top_up.is_waited_for,
        )

    def _admit(self, now: Instant) -> list[tuple[Step, Action, str]]:
        """Choose what starts now; intents to submit are to be written, and on disk first."""
        started: list[tuple[Step, Action, str]] = []
        gate = self._gate()
        for job in self._aside.take_back(now):
            self._queue(job)
        for step in schedule.STEPS:
            self._lines.ripen(step, now)
            while self._admission.permits(step, gate, now):
                job = self._roster[self._lines.take(step)]
                if step in schedule.BUYING and self._aside.keeps(job, now):
                    continue
                action = self._begin(step, job, now)
                if action is not None:
                    self.load.running[step] += 1
                    self._governor.started(step, now=now)
                    started.append((step, action, job.id))
        return started

    def _begin(self, step: Step, job: Job, now: Instant) -> Action | None:
        """The action that starts; None when the job must first go back a step."""
        if step is not Step.SUBMIT:
            self._noticed.discard(job.id)
            return schedule.ACTION_OF[step]
        if machine.has_stale_assets(job, now=now):
            event: Event = events.AssetsExpired(at=now)
            after = self._apply(job, event)
            self._unwritten.add(event, after)
            self._queue(after)
            self._wake.set()
            return None
        event = events.SubmitStarted(at=now, name=self._settings.name(job))
        self._unwritten.add(event, self._apply(job, event))
        return Action.SUBMIT

    async def _do(self, action: Action, job: Job) -> None:
        try:
            event = await self._perform(action, job)
        except (BatchrunnerError, IllegalTransition):
            raise
        except Exception as error:  # noqa: BLE001 - one job's bug must not strand what others have paid for
            self._bug = self._bug or error
            event = schedule.after_a_bug(action, at=self._clock.now(), error=type(error).__name__)
        self._inbox.append((job.id, event))

    # --- lost submissions ---

    def _start_inquiry(self, now: Instant) -> None:
        """Read the evidence when it is due, or a quiet moment that is too old to buy on; never beside a submission."""
        self.load.doubtful = self._inquiry.trials
        self.load.in_line = self._lines.size(Step.SUBMIT)
        if self._inquiry.is_running or not self._may_inquire() or not self._inquiry.may_read(now):
            return
        due = self._inquiry.due_at()
        if (due is not None and due <= now) or (self._inquiry.needs_baseline(now) and self._wants_to_buy()):
            self._underway.start(None, self._inquire(self._inquiry.begin_reading()))

    def _may_inquire(self) -> bool:
        return self._ending.reason is not Stop.KEY_REFUSED and not self.load.running[Step.SUBMIT] and not self._inbox

    def _wants_to_buy(self) -> bool:
        busy = sum(self.load.running[step] for step in schedule.BUYING)
        is_wanted = self._lines.has_any(schedule.BUYING)
        is_open = not self._is_paused and self._timetable.is_open(self._clock.now())
        return self._ending.reason is None and is_open and (busy > 0 or is_wanted)

    async def _inquire(self, jobs: tuple[Job, ...]) -> None:
        """Put what the evidence says into the inbox, with the quiet moment that is written beside it."""
        looks = self.load.running[Step.POLL] > 0 or self._lines.has_any({Step.POLL})
        found = await self._books.inquire(jobs, may_wait=looks)
        self._inbox.extend((job_id, self._purse.as_permitted(event, self._roster[job_id])) for job_id, event in found)

    # --- waiting and ending ---

    def _next_time(self) -> Instant | None:
        """When something can be done that cannot be done now; None where only an event can change that."""
        steps = self._steps()
        dates = (self._lines.next_at(steps), self._next_inquiry(), self._admission.next_at(steps))
        return min((at for at in dates if at is not None), default=None)

    def _steps(self) -> Collection[Step]:
        return schedule.COLLECTING if self._ending.reason else schedule.STEPS

    def _next_inquiry(self) -> Instant | None:
        now, wants_to_buy = self._clock.now(), self._wants_to_buy()
        return self._inquiry.next_at(now, wants_to_buy=wants_to_buy) if self._may_inquire() else None

    def _waits(self) -> Iterator[Wait]:
        """What is waited for, by everyone who waits for a time."""
        now, steps = self._clock.now(), self._steps()
        yield from self._admission.waited_for(steps)
        for step in steps:
            for job_id, at in self._lines.dates(step):
                job = self._roster[job_id]
                asked = schedule.believable(job.again_at, since=job.updated_at, now=now)
                yield Wait(step=step, until=asked or at, is_own=asked is None)

    def _run_again_at(self) -> Instant | None:
        """When another run can do something for the jobs that are left; None where that is now, or nothing is left."""
        now = self._clock.now()
        left = [job for job in self.jobs().values() if job.state in schedule.UNFINISHED]
        return schedule.run_again_at((self._governor.may_go_at(job, now=now) for job in left), now=now)

    def _is_over(self) -> bool:
        """Whether nothing more can be done in this run, now or later, under what is known."""
        if self._inbox:
            return False
        if (self._purse.leaves_at_once or self._is_cut_off()) and not self.load.running[Step.SUBMIT]:
            return True
        if self._underway:
            return False
        if self._ending.reason is Stop.KEY_REFUSED:
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
        return self._is_paused and self._ending.reason is None and self._lines.has_any(schedule.BUYING)

    def _has_question(self) -> bool:
        """Whether a lost submission is still to be judged in this run, where nothing is under way and nothing dated."""
        if self._inquiry.is_waiting and self._inquiry.due_at() is None:
            if self._ending.reason is not None:
                return False  # it waits for another charge, and that comes with a run that buys
            # The charge that was waited for will not come.
            self._inquiry.hurry()
            self._wake.set()
        return self._inquiry.is_waiting

    def _is_cut_off(self) -> bool:
        """Whether collecting has failed for so long that the run ends; where only buying has, that alone stops."""
        out = {step for step in schedule.STEPS if self._governor.is_out(step)}
        if out and self._ending.reason is None:
            self._ending.cut_off()
        return bool(out - schedule.BUYING)


def _tried_again(job: Job) -> Job:
    """A job with which an earlier turn may have tried enough, as this one takes it."""
    return replace(job, is_left=False) if job.is_left else job
