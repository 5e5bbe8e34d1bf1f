"""How fast a run goes, and what it leaves alone for a while: pace, cooldowns, breakers, room for each group.

Part of the engine. What a 429, an outage or a finished render means is decided in the core (`pace`, `breaker`,
`looks`); here it is kept in step with every event, at a cost that does not grow with the number of jobs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
import heapq
from typing import Any

from batchrunner.core import breaker as breakers, events, forecast, looks as looking, pace as pacing, schedule
from batchrunner.core.breaker import Breaker, Pause, Streak
from batchrunner.core.budget import group
from batchrunner.core.events import Event
from batchrunner.core.job import IN_FLIGHT, Job, State
from batchrunner.core.looks import Due, Looks
from batchrunner.core.manifest import Limits
from batchrunner.core.pace import Cooldown, Pace
from batchrunner.core.retry import Failure, Instant, Step

STEP_OF: Mapping[type[Event], Step] = {
    events.Uploaded: Step.UPLOAD,
    events.Accepted: Step.SUBMIT,
    events.Refused: Step.SUBMIT,
    events.AnswerLost: Step.SUBMIT,
    events.Looked: Step.POLL,
    events.Rendered: Step.POLL,
    events.Canceled: Step.POLL,
    events.Downloaded: Step.DOWNLOAD,
}
"""The endpoint that an event is an answer of; of a failed step, the job's state tells."""

_FAILED_IN: Mapping[State, Step] = {
    State.READY: Step.UPLOAD,
    State.RENDERING: Step.POLL,
    State.RENDERED: Step.DOWNLOAD,
    State.DONE: Step.DOWNLOAD,
}

OUTAGE_S = 1800.0
"""How long an endpoint may fail without a break before a run ends: an outage in the night is mostly over by then."""


LONGEST_GAP_S = 900.0
"""Two failures further apart are not of one outage: a probe comes every five minutes at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Failures of an endpoint with no success between: the first and the last."""

    since: Instant
    last: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Why a step may not start now, in words, and when it may; None where another event decides.

    `is_asked` where the provider asked for it.
    """

    why: str
    until: Instant | None
    is_asked: bool = False


def _may_be_of_group(event: Event) -> bool:
    """Whether a failure may come again with every job of the group; an upload that is gone is the job's own."""
    if isinstance(event, events.Refused):
        return not event.blames_inputs
    return isinstance(event, events.AnswerLost | events.RenderFailed)


class Governor:
    """Decides nothing: remembers what the core needs to know to decide."""

    def __init__(
        self,
        *,
        limits: Limits,
        pace: Pace,
        past: Mapping[str, Sequence[float]],
        show: Callable[[Instant], str],
        tell: Callable[[str], None],
        cooldowns: Mapping[Step, Cooldown] | None = None,
        hints: Mapping[str, float] = looking.HINTS,
    ) -> None:
        """Start with what was learned before.

        Args:
            limits: the ceilings.
            pace: as the last night left it.
            past: seconds that past renders took, by group (see `looks.group_of_job`).
            show: writes a time for people.
            tell: is given every warning once.
            cooldowns: of the last night, as far as they last still.
            hints: seconds that renders are said to take, by kind.
        """
        self._limits = limits
        self._show = show
        self._tell = tell
        self._breakers = dict.fromkeys(Step, Breaker())
        self._outages: dict[Step, Outage] = {}
        self._cooldowns = dict(cooldowns or {})
        self._streaks: dict[str, Streak] = {}
        self._looks = Looks(past=past, hints=hints)
        self._hints = hints
        self._in_flight: Counter[str] = Counter()
        self._groups: dict[tuple[str, int], str] = {}
        self._parked: dict[str, list[tuple[int, str]]] = {}
        self._stopped: set[str] = set()
        self.pace = replace(pace, cooldown=self._cooldowns.pop(Step.SUBMIT, pace.cooldown))
        self._known: dict[str, Mapping[str, Any] | None] = {**self._worth_knowing(), breakers.PAUSES: None}

    # --- following along ---

    def resume(self, job: Job, *, now: Instant) -> None:
        """Take in a job as it is when the run begins."""
        if job.state in IN_FLIGHT:
            self._occupy(job, 1)
        if job.state is State.RENDERING and job.accepted_at is not None:
            self._looks.accepted(job.id, group=looking.group_of_job(job), at=job.accepted_at, now=now)

    def saw(self, before: Job, after: Job, event: Event, *, now: Instant) -> Due:
        """Keep in step with one event; the looks it sets, as pairs of job id and time."""
        self._count(before, after)
        step = self._step(before, event)
        failure = getattr(event, "failure", None)
        if step is not None and failure is not None:
            self._failed(step, failure, now)
        elif step is not None:
            self._succeeded(step, after, event, now)
        if failure is not None and _may_be_of_group(event):
            self._repeat(after, failure)
        return self._look(before, after, event, now)

    def started(self, step: Step, *, now: Instant) -> None:
        """A request is about to leave."""
        self._breakers[step] = breakers.probe_started(self._breakers[step], now=now)
        if step is Step.SUBMIT:
            self.pace = pacing.submitted(self.pace, now=now)

    # --- what may start ---

    def holds(self, step: Step, in_flight: int, *, now: Instant) -> Held | None:
        """Why nothing of this step may start now; None when it may."""
        pause = self.pause(step, now=now)
        if pause is not None:
            return Held(why=pause.words(self._show), until=None if pause.is_probing else pause.until)
        cooldown = self._all_cooldowns().get(step)
        if cooldown is not None and cooldown.is_on(now):
            return Held(why=cooldown.words(self._show), until=cooldown.until, is_asked=True)
        return self._holds_submit(in_flight, now) if step is Step.SUBMIT else None

    def _holds_submit(self, in_flight: int, now: Instant) -> Held | None:
        until = pacing.may_submit_at(self.pace, now=now)
        if until is not None:
            rate = f"{self.pace.per_minute or 0.0:.3g} a minute"
            return Held(why=f"submissions go out at {rate}; the next at {self._show(until)}", until=until)
        if in_flight >= self.pace.allowed_in_flight:
            return Held(why=f"{in_flight} renders are in flight, as many as the provider took lately", until=None)
        return None

    def pause(self, step: Step, *, now: Instant) -> Pause | None:
        """The breaker of a step, where it is open."""
        return breakers.refuses(self._breakers[step], now=now)

    def is_out(self, step: Step) -> bool:
        """Whether a step has failed for so long that the run ends."""
        outage = self._outages.get(step)
        return outage is not None and outage.last - outage.since > OUTAGE_S and self._breakers[step].is_open

    def refuses(self, job: Job) -> str | None:
        """Why this job may not be submitted now though others may; None when it may."""
        name = self.group_of(job)
        for room, most, label in self._rooms(job, name):
            if self._in_flight[room] >= most:
                return f"{most} renders of {room} are in flight ({label})"
        return None

    def stops(self, job: Job) -> str | None:
        """Why nothing of this job's group is bought in this run any more; None while it is."""
        name = self.group_of(job)
        return breakers.stops_buying(self._streaks.get(name, Streak()), name=name)

    def park(self, job: Job, *, order: int) -> None:
        """Keep a job until a render of its group, or of its kind, has ended."""
        heapq.heappush(self._parked.setdefault(self.group_of(job), []), (order, job.id))

    def unpark(self, jobs: Mapping[str, Job]) -> list[Job]:
        """Jobs for which there is room again: the first of each group."""
        back = []
        for name, waiting in list(self._parked.items()):
            job = jobs[waiting[0][1]]
            if self.refuses(job) is None:
                heapq.heappop(waiting)
                back.append(job)
            if not waiting:
                del self._parked[name]
        return back

    def takes_s(self, job: Job) -> float:
        """How long a render of this sort is out in nine of ten cases, by what is known now."""
        known = self._looks.durations(looking.group_of(job.kind, self.group_of(job), seconds=job.spec.seconds))
        return forecast.late_s(known, hint_s=self._hints.get(job.kind, forecast.NO_HINT_S))

    # --- what is worth knowing outside, and the next time ---

    def news(self) -> list[tuple[str, Mapping[str, Any] | None]]:
        """What has changed since it was last asked, by name: the pace learned, cooldowns, and pauses in words."""
        now = self._worth_knowing()
        changed = [(name, value) for name, value in now.items() if value != self._known[name]]
        self._known = now
        return changed

    def _worth_knowing(self) -> dict[str, Mapping[str, Any] | None]:
        pauses = {str(step): {"words": self._words(each)} for step, each in self._breakers.items() if each.is_open}
        return {
            pacing.PACE: pacing.learned(self.pace),
            pacing.COOLDOWNS: pacing.kept(self._all_cooldowns()),
            breakers.PAUSES: pauses or None,
        }

    def _all_cooldowns(self) -> dict[Step, Cooldown]:
        """The last one of each endpoint, that of buying included."""
        mine = {} if self.pace.cooldown is None else {Step.SUBMIT: self.pace.cooldown}
        return {**self._cooldowns, **mine}

    def may_go_at(self, job: Job, *, now: Instant) -> Instant | None:
        """When a job that is left may go on by the provider's word; None where nothing stands in its way."""
        step = schedule.step_after(job)
        steps = {step, Step.SUBMIT} if step in schedule.BUYING else {step}
        asked = (pacing.may_ask_at(each, now=now) for at, each in self._all_cooldowns().items() if at in steps)
        dates = (schedule.believable(job.again_at, since=job.updated_at, now=now), *asked)
        return max((at for at in dates if at is not None), default=None)

    def when(self, at: Instant) -> str:
        """A time for people."""
        return self._show(at)

    def _words(self, breaker: Breaker) -> str:
        assert breaker.opened_at is not None
        pause = breakers.refuses(breaker, now=breaker.opened_at)
        return pause.words(self._show) if pause is not None else ""

    # --- looks ---

    def look_at(self, job: Job, *, now: Instant) -> Instant | None:
        """When to look at a render next; now for one of an earlier run."""
        return self._looks.due_at(job.id) or now

    def group_of(self, job: Job) -> str:
        """The job's model, or its kind where it names none; remembered, since it reads the request."""
        key = (job.id, job.attempt)
        name = self._groups.get(key)
        if name is None:
            name = self._groups[key] = str(group(job.spec))
        return name

    # --- parts ---

    def _rooms(self, job: Job, name: str) -> list[tuple[str, int, str]]:
        kind, model = self._limits.per_kind.get(job.kind), self._limits.per_model.get(name)
        rooms = [] if kind is None else [(str(job.kind), kind, f"limits.per_kind.{job.kind}")]
        return rooms if model is None else [*rooms, (name, model, f"limits.per_model.{name}")]

    def _occupy(self, job: Job, change: int) -> None:
        for room in {str(job.kind), self.group_of(job)}:
            self._in_flight[room] += change

    def _count(self, before: Job, after: Job) -> None:
        change = (after.state in IN_FLIGHT) - (before.state in IN_FLIGHT)
        if change:
            self._occupy(after, change)

    def _step(self, before: Job, event: Event) -> Step | None:
        if isinstance(event, events.StepFailed | events.AddressExpired):
            return _FAILED_IN.get(before.state)
        if isinstance(event, events.RenderFailed | events.RefundAwaited):
            return _FAILED_IN.get(before.state)
        return STEP_OF.get(type(event))

    def _failed(self, step: Step, failure: Failure, now: Instant) -> None:
        if failure.status == 429:
            self._slow_down(step, failure, now)
        self._breakers[step] = breakers.failed(self._breakers[step], failure, now=now)
        if failure.is_unreachable:
            before = self._outages.get(step)
            # A machine that slept says nothing of the time between.
            is_going_on = before is not None and 0 <= now - before.last <= LONGEST_GAP_S
            self._outages[step] = Outage(since=before.since if before and is_going_on else now, last=now)
        else:
            self._outages.pop(step, None)

    def _slow_down(self, step: Step, failure: Failure, now: Instant) -> None:
        if step is Step.SUBMIT:
            self.pace = pacing.throttled(self.pace, now=now, retry_after_s=failure.retry_after_s)
        else:
            self._cooldowns[step] = pacing.cooled(
                self._cooldowns.get(step), now=now, retry_after_s=failure.retry_after_s
            )

    def _succeeded(self, step: Step, job: Job, event: Event, now: Instant) -> None:
        self._breakers[step] = breakers.succeeded(self._breakers[step])
        self._outages.pop(step, None)
        if isinstance(event, events.Accepted):
            self.pace = pacing.accepted(self.pace, now=now, in_flight=self._in_flight_in_all())
        if isinstance(event, events.Rendered):
            self._streaks.pop(self.group_of(job), None)

    def _in_flight_in_all(self) -> int:
        return self._in_flight["video-to-video"] + self._in_flight["image-to-video"]

    def _repeat(self, job: Job, failure: Failure) -> None:
        name = self.group_of(job)
        self._streaks[name] = breakers.repeated(self._streaks.get(name, Streak()), failure)
        words = self.stops(job)
        if words is not None and name not in self._stopped:
            self._stopped.add(name)
            self._tell(words)

    def dated(self, job_id: str, event: Event, *, now: Instant) -> Event:
        """The event that is told of a job; of a finished render with whether that was seen too late to learn from."""
        if isinstance(event, events.Rendered) and self._looks.is_late(job_id, now=now):
            return replace(event, is_late=True)
        return event

    def _look(self, before: Job, after: Job, event: Event, now: Instant) -> Due:
        match event:
            case events.Accepted() | events.Adopted() | events.Reappeared():
                # One whose project was found later has been out since it was sent, and may have ended any time since.
                since = after.accepted_at if isinstance(event, events.Reappeared) else after.submitted_at
                at = now if isinstance(event, events.Accepted) else since or now
                return self._looks.accepted(after.id, group=looking.group_of_job(after), at=at, now=now)
            case events.Looked() | events.RefundAwaited():
                return self._looks.looked(after.id, now=now)
            case events.Rendered():
                return self._looks.finished(after.id, now=now)
            case _ if before.state is State.RENDERING and after.state is not State.RENDERING:
                return self._looks.dropped(after.id, now=now)
            case _ if before.state is State.RENDERING and after.is_left:
                return self._looks.dropped(after.id, now=now)
            case _:
                return []
