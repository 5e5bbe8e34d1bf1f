"""What a run would do: for every job an action, and the reason for it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from batchrunner.core import chain, upstream
from batchrunner.core.differences import cut, what_changed
from batchrunner.core.job import BOUGHT, Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.retry import UNCERTAIN
from batchrunner.core.selection import BROKEN, EVERYTHING, OPEN, Facts, Selection, code_of, facts_of
from batchrunner.core.spec import Spec


class Do(StrEnum):
    """What a run does for a job."""

    RENDER = "render"
    RERENDER = "rerender"
    RESUME = "resume"
    RETRY = "retry"
    SKIP = "skip"


_NONE: Mapping[str, str] = {}

BUYS = frozenset({Do.RENDER, Do.RERENDER, Do.RETRY})
"""Actions that open a new attempt, and so lead to a new charge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person asked for.

    Attributes:
        rerender: also buy jobs again that are done but changed since.
        retry_failed: also try jobs again that failed or were canceled.
        selection: the jobs it is for; another is left alone, but what was bought of it is collected. A changed job
            that is named by its very id is bought again, since it was asked for by name.
        redo: ids of jobs of which the next attempt is made although they are done.
    """

    rerender: bool = False
    retry_failed: bool = False
    selection: Selection = EVERYTHING
    redo: frozenset[str] = frozenset()

    def rerenders(self, job_id: str) -> bool:
        """Whether a changed job is to be bought again."""
        return self.rerender or self.selection.names(job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One job of the plan.

    Attributes:
        spec: what the manifest asks for now, None for a job that is no longer in it.
        is_selected: one that is not is there only because it is on the list, or because something of it was bought and
            is collected.
        is_changed: what it is to be is no longer what is on record.
        stands: the last attempt that is done, where a later one was opened, is not bought, and is no longer asked for.
        made_again: what it is made from was rendered again, or will be by this plan; in words, None where it is not.
        waits: it is selected and would be bought, but what it waits for does not come; in words, None where it may.
        may_start_over: of an attempt that was submitted: it may be submitted again at no further cost, since it is
            selected, and what the manifest asks for now is what was submitted, at the same price.
    """

    id: str
    kind: Kind
    action: Do
    reason: str
    spec: Spec | None
    known: Job | None
    is_selected: bool = True
    is_changed: bool = False
    stands: Job | None = None
    made_again: str | None = None
    waits: str | None = None
    may_start_over: bool = False

    @property
    def will_buy(self) -> bool:
        """Whether a run will submit it: a new attempt, or one that was opened and never submitted."""
        if self.action is not Do.RESUME:
            return self.action in BUYS
        return self.known is not None and self.known.state in {State.READY, State.UPLOADED}

    @property
    def is_in_question(self) -> bool:
        """Whether its last submission is lost, and a run may submit it again if that proves unpaid."""
        return self.may_start_over and self.known is not None and self.known.state is State.SUBMITTING

    @property
    def attempt(self) -> tuple[str, int]:
        """The attempt that a run looks after, by its job and number."""
        before = self.known.attempt if self.known is not None else 0
        return self.id, before + (self.action in BUYS)

    @property
    def is_stale(self) -> bool:
        """Whether it is done, changed since, and not to be bought again."""
        known = self.stands or self.known
        return known is not None and known.state is State.DONE and self.action is Do.SKIP and self.is_changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Jobs to be bought and their credits.

    Attributes:
        jobs: how many.
        in_question: those of them that were submitted, and are bought again only if that proves unpaid.
        unpriced: those of them without a known price; they count for nothing here.
    """

    jobs: int
    in_question: int
    low: int
    expected: int
    hold: int
    unpriced: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every job of the manifest in its order, then jobs that only the state file knows."""

    entries: tuple[Entry, ...]

    @cached_property
    def submitted(self) -> tuple[Entry, ...]:
        """The jobs that carrying it out submits, or may submit again; asked for often, and mostly few of very many."""
        return tuple(entry for entry in self.entries if entry.will_buy or entry.may_start_over)

    def count(self, *actions: Do) -> int:
        """How many jobs have one of these actions."""
        return sum(entry.action in actions for entry in self.entries)

    def bill(self) -> Bill:
        """What carrying it out will cost: all that is opened or was opened before, and what may be bought again."""
        surely = [entry.spec for entry in self.submitted if entry.spec is not None and entry.will_buy]
        perhaps = [entry.spec for entry in self.submitted if entry.spec is not None and entry.is_in_question]
        bought = surely + perhaps
        return Bill(
            jobs=len(bought),
            in_question=len(perhaps),
            low=sum(spec.low or 0 for spec in surely),
            expected=sum(spec.expected or 0 for spec in bought),
            hold=sum(spec.hold or 0 for spec in bought),
            unpriced=sum(spec.hold is None for spec in bought),
        )

    def permitted(self) -> frozenset[tuple[str, int]]:
        """The attempts, by job and number, that carrying it out may submit; whatever happens, no other is bought."""
        return frozenset(entry.attempt for entry in self.submitted)

    def changed(self) -> tuple[Entry, ...]:
        """Jobs that are done and would be another render by the manifest of now."""
        return tuple(entry for entry in self.entries if entry.is_stale)

    def waiting(self) -> tuple[Entry, ...]:
        """Jobs that would be bought if what they wait for came."""
        return tuple(entry for entry in self.entries if entry.waits is not None)

    def left_behind(self) -> tuple[Entry, ...]:
        """Jobs that are done and made from what was rendered again, or will be by this plan, and are not themselves."""
        return tuple(entry for entry in self.entries if entry.is_stale and entry.made_again is not None)


def make_plan(
    specs: Iterable[tuple[str, Spec]],
    known: Mapping[str, Job],
    wishes: Wishes,
    *,
    absences: Mapping[str, str] = _NONE,
    earlier: Iterable[Job] = (),
) -> Plan:
    """Compare what the manifest asks for (pairs of job id and spec) with what is known of each job.

    `absences` says why a job is no longer asked for, where there is more to say than that. `earlier` has attempts that
    were followed by another.
    """
    asked = dict(specs)
    gone = [job for job in known.values() if job.id not in asked]
    selection = wishes.selection
    selected: Container[str] = asked
    if selection != EVERYTHING:
        selected = selection.choose(_facts(job_id, spec, known.get(job_id)) for job_id, spec in asked.items())
    finished = _last_finished(earlier)
    made: dict[str, Entry] = {}
    for job_id in _in_order(asked):
        spec, job, is_selected = asked[job_id], known.get(job_id), job_id in selected
        stands = finished.get(job_id)
        if job is not None and stands is not None and _is_dropped(job, spec, wishes):
            made[job_id] = _instead(job, stands, spec, wishes, is_selected=is_selected, before=made)
        else:
            made[job_id] = _entry(job_id, spec, job, wishes, is_selected=is_selected, before=made)
    entries = [made[job_id] for job_id in asked]
    done = {job.spec.fingerprint: job.id for job in gone if job.state is State.DONE}
    told = (_twin(entry, done) for entry in entries) if done else entries
    # Nothing of those that are gone is bought, so they take no place in a limit or a sample.
    left = (_orphan(job, absences.get(job.id), is_selected=selection.picks(facts_of(job))) for job in gone)
    return Plan(entries=(*told, *left))


def _last_finished(attempts: Iterable[Job]) -> dict[str, Job]:
    """The last of these attempts that is done, by job."""
    done = sorted((job for job in attempts if job.state is State.DONE), key=lambda job: job.attempt)
    return {job.id: job for job in done}


def _is_dropped(job: Job, spec: Spec, wishes: Wishes) -> bool:
    """Whether an attempt is not bought yet and is no longer asked for: what is done before it then stands for it."""
    return job.state in OPEN and job.id not in wishes.redo and _is_other(job.spec, spec)


def _instead(
    job: Job, stands: Job, spec: Spec, wishes: Wishes, *, is_selected: bool, before: Mapping[str, Entry]
) -> Entry:
    """What is done with a job of which the attempt before stands: what would be done if no other had been opened."""
    entry = _entry(job.id, spec, stands, wishes, is_selected=is_selected, before=before)
    return replace(entry, known=job, stands=stands)


def _in_order(asked: Mapping[str, Spec]) -> Iterable[str]:
    """The ids so that what a job waits for is decided before it."""
    if not any(spec.waits_for for spec in asked.values()):
        return asked
    return chain.order_of({job_id: spec.waits_for for job_id, spec in asked.items()})


def _twin(entry: Entry, done: Mapping[str, str]) -> Entry:
    """A new job, pointed out where its very render is done under another id, as after a file was renamed."""
    twin = done.get(entry.spec.fingerprint) if entry.known is None and entry.spec is not None else None
    if twin is None or entry.action is not Do.RENDER:
        return entry
    return replace(entry, reason=f"{entry.reason}; the same render is done as {twin}, which is no longer asked for")


def _facts(job_id: str, spec: Spec, job: Job | None) -> Facts:
    """What a job of the manifest is selected by: its state as it is on record, everything else as it is written now."""
    recorded = facts_of(job) if job is not None else Facts(id=job_id, kind=spec.kind)
    return replace(recorded, kind=spec.kind, tags=spec.tags, priority=spec.priority)


def _entry(
    job_id: str, spec: Spec, job: Job | None, wishes: Wishes, *, is_selected: bool, before: Mapping[str, Entry]
) -> Entry:
    """What is done with a job; `before` has the entries of all that it waits for."""
    may_start_over = False
    is_linked = bool(spec.waits_for)
    again = upstream.made_again(job, spec, before) if job is not None and is_linked else None
    changed = _changed(job, spec, again) if job is not None else ""
    waits = upstream.waits(spec, before) if is_linked else None
    is_held = False
    if job is not None and job.state in BOUGHT:
        why_not = (_forbids_again(job, spec, changed) or waits) if is_selected else "it is not selected"
        action, reason = _decide_bought(job, changed, why_not)
        may_start_over = action is Do.RESUME and why_not is None
    elif is_selected:
        action, reason = _decide(spec, job, changed, wishes)
        is_held = action is not Do.SKIP and waits is not None
        if is_held and waits is not None:
            action, reason = Do.SKIP, _waiting(job, changed, waits)
    else:
        action, reason = Do.SKIP, "not selected"
    return Entry(
        id=job_id,
        kind=spec.kind,
        action=action,
        reason=reason,
        spec=spec,
        known=job,
        is_selected=is_selected,
        is_changed=bool(changed),
        made_again=again,
        waits=waits if is_held else None,
        may_start_over=may_start_over,
    )


def _waiting(job: Job | None, changed: str, waits: str) -> str:
    """Why a job that would be bought is not: what it waits for does not come."""
    if job is not None and job.state is State.DONE:
        return f"done, but changed since ({changed}); {waits}"
    return f"{job.state}: {code_of(job)}; {waits}" if job is not None and job.state in BROKEN else waits


def _decide(spec: Spec, job: Job | None, changed: str, wishes: Wishes) -> tuple[Do, str]:
    if job is None:
        return Do.RENDER, f"new{upstream.order_words(spec)}"
    if job.id in wishes.redo:
        return (Do.RETRY if job.state in BROKEN else Do.RERENDER), f"redo: {changed or 'the same again'}"
    if job.state is State.DONE:
        return _decide_done(job, changed, wishes)
    if job.state in BROKEN:
        return _decide_failed(job, changed, wishes)
    differs = _differs(job, spec, changed)
    if differs is None:
        return Do.RESUME, f"not submitted yet, with {_edits(job.spec)}" if job.spec.edits else "not submitted yet"
    what, how = differs
    return Do.RENDER, f"{what}changed before anything was bought: {how}"


def _edits(spec: Spec) -> str:
    """What a person set for one take alone; the manifest says otherwise, and that is no change."""
    return f"{', '.join(cut(each) for each in spec.edits)} (set by redo)"


def _changed(job: Job, spec: Spec, again: str | None) -> str:
    own = what_changed(job.spec, spec, is_input_told=again is not None) if _is_other(job.spec, spec) else ""
    return "; ".join([words for words in (own, again) if words])


def _is_other(old: Spec, new: Spec) -> bool:
    return old.fingerprint != new.fingerprint


def _differs(job: Job, spec: Spec, changed: str) -> tuple[str, str] | None:
    """What forbids to submit an attempt as it was opened: what changed, if not the request, and how; None if nothing.

    What is asked for and reserved must be what the manifest says now.
    """
    old = job.spec
    if changed:
        return "", changed
    if (old.hold, old.low, old.is_priced) != (spec.hold, spec.low, spec.is_priced):
        return "its price ", f"{_credits(old)} -> {_credits(spec)}"
    if old.model != spec.model:
        return "its model ", f"{old.model or 'not recorded'} -> {spec.model}"
    if old.output != spec.output:
        return "its output ", f"{old.output} -> {spec.output}"
    if old.needs != spec.needs:
        return "what it needs ", f"{', '.join(old.needs) or 'nothing'} -> {', '.join(spec.needs) or 'nothing'}"
    return None


def _credits(spec: Spec) -> str:
    if spec.hold is None:
        return "unknown"
    return f"{spec.hold:,} credits" if spec.is_priced else f"{spec.hold:,} credits by the manifest's own hold"


def _forbids_again(job: Job, spec: Spec, changed: str) -> str | None:
    differs = _differs(job, spec, changed)
    return None if differs is None else "{}changed: {}".format(*differs)


def _decide_bought(job: Job, changed: str, why_not: str | None) -> tuple[Do, str]:
    """An attempt that was submitted; `why_not` is why it may not be submitted again, if it may not."""
    if job.state is State.UNCERTAIN:
        return Do.SKIP, f"uncertain, a person must decide: {job.trouble.message if job.trouble else 'no evidence'}"
    if job.state is State.SUBMITTING:
        then = "if not, it is bought" if why_not is None else f"if not, it is not bought now: {why_not}"
        return Do.RESUME, f"{_LOST}; {then}"
    is_rendering = job.state is State.RENDERING
    doing = f"rendering as project {job.project_id}" if is_rendering else "rendered and paid for, not on disk yet"
    return Do.RESUME, f"{doing}; it also changed ({changed}) and is collected as it was" if changed else doing


_LOST = "was being submitted when the last run ended; it is checked whether it was charged"


def _decide_done(job: Job, changed: str, wishes: Wishes) -> tuple[Do, str]:
    if not changed:
        return Do.SKIP, f"done, with {_edits(job.spec)}" if job.spec.edits else "done"
    if wishes.rerenders(job.id):
        return Do.RERENDER, f"changed: {changed}"
    return Do.SKIP, f"done, but changed since ({changed}); --rerender buys it again"


def _decide_failed(job: Job, changed: str, wishes: Wishes) -> tuple[Do, str]:
    error = f"{job.state}: {code_of(job)}" if job.trouble else str(job.state)
    if job.charged:
        error += f", and {job.charged:,} credits were not given back"
    if wishes.retry_failed:
        return Do.RETRY, f"{error}; changed since: {changed}" if changed else error
    if changed and _cost_nothing(job):
        return Do.RENDER, f"{error}; changed since: {changed}"
    return Do.SKIP, f"{error}; `retry` tries again"


def _cost_nothing(job: Job) -> bool:
    """Whether an attempt that came to nothing is known to have cost nothing."""
    if job.project_id is not None:
        return job.charged == 0
    return job.trouble is None or job.trouble.code != UNCERTAIN


def _orphan(job: Job, why: str | None, *, is_selected: bool) -> Entry:
    """A job that the manifest no longer asks for: what was paid for is still collected, nothing new is bought."""
    said = why or "no longer in the manifest"
    if job.state is State.SUBMITTING:
        action, reason = Do.RESUME, f"{said}, and {_LOST}; it is not bought again"
    elif job.state in BOUGHT and job.state is not State.UNCERTAIN:
        action, reason = Do.RESUME, f"{said}, but paid for; it is collected"
    elif job.state is State.DONE and why is not None:
        action, reason = Do.SKIP, f"{said}; its result is kept"
    else:
        action, reason = Do.SKIP, f"{said} ({job.state})"
    return Entry(id=job.id, kind=job.kind, action=action, reason=reason, spec=None, known=job, is_selected=is_selected)
