"""Which jobs a command is for: one selection, the same for every command that takes one.

What was bought is collected whatever is selected; that rule is the plan's (`plan`), since a selection knows no money.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final

from batchrunner.core import findings
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.errors import UsageError

NEW: Final = "new"
"""The state of a job that was never opened."""

STATES: Final[tuple[str, ...]] = (NEW, *State)
"""What may be selected by."""

BROKEN: Final[tuple[State, ...]] = (State.FAILED, State.CANCELED)
"""States of jobs that came to nothing."""

OPEN: Final[tuple[str, ...]] = (State.READY, State.UPLOADED)
"""States of jobs of which an attempt was opened and not bought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a job is selected by.

    Attributes:
        tags: its own; for one that is no longer in the manifest, those it was last opened with.
        state: `new` where nothing of it is on record.
        code: of a job that came to nothing: why (see `code_of`).
    """

    id: str
    kind: Kind
    tags: tuple[str, ...] = ()
    priority: int = 0
    state: str = NEW
    code: str | None = None


def code_of(job: Job) -> str:
    """Why a job came to nothing, in the one word that jobs are grouped by."""
    return job.trouble.code if job.trouble is not None else str(job.state)


def facts_of(job: Job) -> Facts:
    """The facts of a job as it is on record."""
    return Facts(
        id=job.id,
        kind=job.kind,
        tags=job.spec.tags,
        priority=job.spec.priority,
        state=str(job.state),
        code=code_of(job) if job.state in BROKEN else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """A word of a selection that fits no job, and so is most likely a slip: the option, the word, what there is."""

    option: str
    word: str
    among: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the person asked for; an empty one selects every job. A job must fit each part that is given.

    Attributes:
        only: ids and patterns; a job fits one of them.
        exclude: ids and patterns; a job fits none of them.
        tags: a job has one of them.
        kinds: a job is of one of them.
        states: a job is in one of them; `new` for one that was never opened.
        codes: a job failed for one of these reasons.
        limit: of those that fit, the first so many by priority and order; those that are done count, too, so that
            the same selection means the same jobs again.
        sample: of those that fit, so many drawn by lot, before the limit.
        seed: of the lot. The same seed draws the same jobs, in whatever order they are listed.
    """

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    states: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    limit: int | None = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no list of words, or no count, before it selects something that nobody meant.

        Raises:
            UsageError: naming the part.
        """
        for name in ("only", "exclude", "tags", "kinds", "states", "codes"):
            given = getattr(self, name)
            if not isinstance(given, tuple) or not all(isinstance(word, str) for word in given):
                hint = f"write {name}=({given!r},)" if isinstance(given, str) else None
                raise UsageError(f"Selection: {name} is a tuple of words, not {given!r}", hint=hint)
        for name in ("limit", "sample"):
            given = getattr(self, name)
            if given is not None and (type(given) is not int or given < 1):
                raise UsageError(f"Selection: {name} is a whole number from 1 on, not {given!r}")

    def picks(self, job: Facts) -> bool:
        """Whether a job fits, as far as that can be said of one job alone."""
        return (
            (not self.only or _fits_one(job.id, self.only))
            and not _fits_one(job.id, self.exclude)
            and (not self.tags or not set(self.tags).isdisjoint(job.tags))
            and (not self.kinds or job.kind in self.kinds)
            and (not self.states or job.state in self.states)
            and (not self.codes or job.code in self.codes)
        )

    def choose(self, jobs: Iterable[Facts]) -> frozenset[str]:
        """The ids of the jobs that are selected; `jobs` in the order in which they are listed."""
        fitting = [job for job in jobs if self.picks(job)]
        if self.sample is not None and self.sample < len(fitting):
            drawn = {job.id for job in sorted(fitting, key=self._lot)[: self.sample]}
            fitting = [job for job in fitting if job.id in drawn]
        if self.limit is not None:
            fitting = sorted(fitting, key=lambda job: -job.priority)[: self.limit]
        return frozenset(job.id for job in fitting)

    def _lot(self, job: Facts) -> tuple[bytes, str]:
        return sha256(f"{self.seed}/{job.id}".encode(errors="surrogatepass")).digest(), job.id

    def names(self, job_id: str) -> bool:
        """Whether a job is asked for by its very id."""
        return job_id in self.only

    def unmatched(self, jobs: Iterable[Facts]) -> tuple[Unmatched, ...]:
        """The words of it that fit no job. A state, or a kind, that no job is in is no slip."""
        if self == EVERYTHING:
            return ()
        known = tuple(jobs)
        ids = tuple(job.id for job in known)
        tags = tuple(dict.fromkeys(tag for job in known for tag in job.tags))
        codes = tuple(dict.fromkeys(job.code for job in known if job.code is not None))
        return (
            *_unmatched("--only", self.only, ids, _fits),
            *_unmatched("--exclude", self.exclude, ids, _fits),
            *_unmatched("--tag", self.tags, tags, str.__eq__),
            *_unmatched("--code", self.codes, codes, str.__eq__),
        )

    def going_on(self) -> Selection:
        """What selects the rest of what this one has begun.

        States that jobs were in before are theirs no longer; but all that was chosen was opened.
        """
        return replace(self, states=OPEN, codes=()) if self.states or self.codes else self

    def without_states(self) -> Selection:
        """The same, whatever state a job is in."""
        return replace(self, states=(), codes=())


EVERYTHING: Final = Selection()


def _fits(job_id: str, pattern: str) -> bool:
    # An id may have brackets in it, which mean something else in a pattern.
    return job_id == pattern or fnmatchcase(job_id, pattern)


def _fits_one(job_id: str, patterns: Sequence[str]) -> bool:
    return any(_fits(job_id, pattern) for pattern in patterns)


def _unmatched(
    option: str, words: Sequence[str], among: tuple[str, ...], fits: Callable[[str, str], bool]
) -> list[Unmatched]:
    return [
        Unmatched(option=option, word=word, among=among)
        for word in words
        if word not in among and not any(fits(each, word) for each in among)
    ]


def refuse_unmatched(selection: Selection, jobs: Iterable[Facts]) -> None:
    """Refuse a selection with a word that fits nothing, before anything is chosen by it.

    Raises:
        UsageError: naming it, and what was probably meant.
    """
    what = {"--tag": "no job has this tag", "--code": "no job failed for this reason"}
    for slip in selection.unmatched(jobs):
        said = what.get(slip.option, "no job has such an id")
        hint = findings.did_you_mean(slip.word, slip.among) if slip.among else None
        raise UsageError(f"{slip.option} {slip.word}: {said}", hint=hint)
