"""From a failure to a verdict: again at a time, give up, or leave it to the next run.

A verdict is decided once, by a pure function of the step, the failure, what went before, the time and a random
number handed in. It is then stored with its date inside the event, so that a restart honours the date and a
replay of the log gives exactly the stored state.

`verdict` judges a step: what a failure of the paid request proves stands in `_refusal`; everything else (reads,
uploads, downloads) can be repeated at no cost. `render_verdict` judges a render that the provider gave up on. How often
and how patiently is a `Policy`, which the manifest's `retry` may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
import re
from typing import Any, Final, Literal

from batchrunner.core import duration
from batchrunner.errors import (
    AddressExpired,
    BatchrunnerError,
    DamagedFile,
    DiskFull,
    InputProblem,
    NeverSent,
    NoAnswer,
    Rejected,
    TransferError,
)

Instant = float
"""Seconds since 1970-01-01T00:00:00Z."""


UNREACHABLE = "unreachable"
NO_ANSWER = "no_answer"
INPUT_CHANGED = "input_changed"
PROJECT_GONE = "project_gone"
TRANSFER = "transfer"
DISK_FULL = "disk_full"
"""Our own codes: a request that could not be sent, one whose answer did not come, a file that is not what it was, a
disk without room for a result."""

UNCERTAIN = "uncertain"
"""The code of a job's trouble while, and after, nobody can tell whether its submission was accepted."""


class Step(StrEnum):
    """What can be going on for a job; also the unit of admission."""

    UPLOAD = "upload"
    SUBMIT = "submit"
    POLL = "poll"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step failed, in words for a person and a stable code for programs.

    Attributes:
        code: the provider's own code where it sent one (`nsfw`), `http_503` for a bare status, else our word.
        status: the HTTP status, if there was one.
        retry_after_s: seconds the provider asked us to wait, if it did.
        is_lasting: repeating the same thing cannot help (a file that is missing, a request that is invalid).
    """

    code: str
    message: str
    status: int | None = None
    retry_after_s: float | None = None
    is_lasting: bool = False

    @property
    def is_unreachable(self) -> bool:
        """Whether it says that the provider could not be talked to, rather than anything about the job."""
        return self.code in {UNREACHABLE, NO_ANSWER} or (self.status is not None and self.status >= 500)

    @property
    def is_about_credits(self) -> bool:
        """Whether a refusal is about the balance."""
        return is_about_credits(self.status, code=self.code, message=self.message)


PLAN_CODES = frozenset({"subscription_required", "plan_upgrade_required"})
NO_CREDITS = "insufficient_credits"
_NO_CREDITS_IN_WORDS = re.compile(r"\b(?:insufficient|enough|out of)\s+credits\b", re.IGNORECASE)


def is_about_credits(status: int | None, *, code: str | None, message: str) -> bool:
    """Whether an answer refuses for want of credits.

    402 does, but for two codes that are about the plan (OpenAPI 2026-09). Until 2026-03-05 it was 422 (changelog), with
    nothing but words in its body then; 403, which no specification has, is for what a plan lacks (quick start).
    """
    if status == 402:
        return code not in PLAN_CODES
    return status in {403, 422} and (code == NO_CREDITS or _NO_CREDITS_IN_WORDS.search(message) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try the same step again, not before `at`; `of` is how many tries it has in all, where that is counted."""

    at: Instant
    of: int | None = None
    word: Literal["again"] = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Nothing will change by trying again: the attempt has failed."""

    word: Literal["give up"] = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Enough for this run; nothing is lost, and the next run starts the step again.

    `until` is set where the provider asked to be left alone: the next run waits for it, too.
    """

    until: Instant | None = None
    word: Literal["leave"] = "leave"


Verdict = Again | GiveUp | Leave


# --- how often and how patiently -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how patiently a step is repeated within one run.

    Waits grow from `first_s` by doubling up to `longest_s`, each multiplied by a jitter in (0, 1] ("full jitter",
    which spreads the retries of many jobs best), but never less than what the provider asked for. No try begins later
    than `total_s` after the first failure in a row.
    """

    tries: int
    first_s: float
    longest_s: float
    total_s: float = 3600.0


PATIENCE: Final[Mapping[Step, Patience]] = {
    Step.UPLOAD: Patience(tries=8, first_s=1.0, longest_s=60.0),
    Step.SUBMIT: Patience(tries=8, first_s=2.0, longest_s=60.0),
    Step.POLL: Patience(tries=16, first_s=1.0, longest_s=60.0),
    Step.DOWNLOAD: Patience(tries=10, first_s=1.0, longest_s=60.0),
}

FREE_TRIES: Final[Mapping[str, int]] = {"nsfw": 1, "unknown_error": 1}
"""How often a failed render starts over by default, once its refund is seen. The provider's filter for `nsfw` refuses
inputs that it passes at the next try, and `unknown_error` says nothing against the input."""

UNKNOWN_PROJECT: Final = Patience(tries=16, first_s=2.0, longest_s=240.0)
"""Of looks that find a project unknown which we were given: a new one may not be readable at once, and a deployment
may forget for a moment. What it decides is whether something paid for is given up, so no manifest shortens it."""

REFUND_WAIT_S: Final = 900.0
"""Refunds of failed renders come soon after the error or not by themselves."""

KNOWN_CODES: Final = (
    "nsfw",
    "unknown_error",
    "no_source_face",
    "file_too_large",
    "invalid_file_format",
    "invalid_parameters",
    "invalid_video_file",
    NO_CREDITS,
)
"""The codes of a failed render that the provider's documentation names (2026-08); there may be others."""


def blames_the_input(code: str) -> bool:
    """Whether a code of a failed render says that the input or the request is at fault: the same again fails again."""
    return code in {"no_source_face", "file_too_large"} or code.startswith("invalid_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How failures are answered.

    Attributes:
        steps: the patience of each step.
        render: how often a failed render starts over, by its error's code.
        refund_wait_s: how long its refund is waited for before the job is failed and the refund stays due.
        unknown_project: the patience with a project that the provider does not know.
    """

    steps: Mapping[Step, Patience] = field(default_factory=lambda: PATIENCE)
    render: Mapping[str, int] = field(default_factory=lambda: FREE_TRIES)
    refund_wait_s: float = REFUND_WAIT_S
    unknown_project: Patience = UNKNOWN_PROJECT

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Policy:
        """The policy of checked values, as they stand in the manifest; what is left out is as usual."""
        steps = {step: _patience(PATIENCE[step], said.get(step, {})) for step in Step}
        return cls(steps=steps, render={**FREE_TRIES, **said.get("render", {})})

    def free_tries(self, code: str) -> int:
        """How often a render that failed with this code may start over at no cost."""
        return 0 if blames_the_input(code) else self.render.get(code, 0)


def _patience(usual: Patience, said: Mapping[str, Any]) -> Patience:
    names = {"first_wait": "first_s", "longest_wait": "longest_s", "for": "total_s"}
    waits = {name: duration.seconds_of(said[key]) for key, name in names.items() if key in said}
    return replace(usual, tries=said.get("attempts", usual.tries), **waits)


USUAL: Final = Policy()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Failures of one step in a row: how many, and since when; the one that is judged is included."""

    tries: int
    since: Instant


# --- verdicts ------------------------------------------------------------------------------------------------------


TRIES_ON_A_FULL_DISK = 3
"""Of one result in one run: others that were under way may have been what stood in its way, and what is still too
large then waits until somebody has made room."""


def backoff_s(patience: Patience, *, tries: int, jitter: float, asked_s: float | None) -> float:
    """Seconds to wait before the next try, after `tries` failures in a row; `jitter` is in (0, 1]."""
    ceiling = min(patience.longest_s, patience.first_s * 2.0 ** min(tries - 1, 32))
    return max(ceiling * jitter, asked_s or 0.0)


def pause_s(failure: Failure, *, tries: int, jitter: float) -> float:
    """Seconds to wait before something that a run can do without is tried again: short, but as long as was asked."""
    patience = Patience(tries=3, first_s=1.0, longest_s=5.0)
    return min(30.0, backoff_s(patience, tries=tries, jitter=jitter, asked_s=failure.retry_after_s))


def verdict(
    step: Step,
    failure: Failure,
    history: History,
    *,
    now: Instant,
    jitter: float,
    policy: Policy = USUAL,
    is_over: bool = False,
) -> Verdict:
    """What follows the failure of a step; `jitter` is a random number in (0, 1].

    A submission comes here only when it was surely not accepted: it never left, or the answer proves the refusal.
    Of an attempt that `is_over` nothing can be given up, so an unknown project is waited for as its manifest says.
    """
    until = None if failure.retry_after_s is None else now + failure.retry_after_s
    if step is Step.SUBMIT and (refusal := _refusal(failure, until)) is not None:
        return refusal
    # What is paid for is never given up: looks and downloads are repeated whatever the failure.
    if failure.is_lasting and step in {Step.UPLOAD, Step.SUBMIT}:
        return GiveUp()
    is_unknown = failure.status == NOT_FOUND and step in {Step.POLL, Step.DOWNLOAD} and not is_over
    patience = policy.unknown_project if is_unknown else policy.steps[step]
    most = min(patience.tries, TRIES_ON_A_FULL_DISK) if failure.code == DISK_FULL else patience.tries
    at = now + backoff_s(patience, tries=history.tries, jitter=jitter, asked_s=failure.retry_after_s)
    is_too_late = at - min(history.since, now) > patience.total_s
    if history.tries >= most or is_too_late or failure.code == INPUT_CHANGED:
        return Leave(until=until)  # an input that changed is read anew by the next run
    return Again(at=at, of=most)


def _refusal(failure: Failure, until: Instant | None) -> Verdict | None:
    """What follows an answer that blames the request or the account; None for one that blames neither."""
    if failure.is_about_credits or failure.status == 401:
        return Leave(until=until)
    return GiveUp() if failure.status in BLAMES_THE_REQUEST | BLAMES_THE_ACCOUNT else None


MOST_DOUBTS = 4
"""Submissions of one attempt whose answer may be lost before the rest is left to another run."""


def unpaid_verdict(
    *, submits: int, until: Instant | None, now: Instant, jitter: float, policy: Policy = USUAL
) -> Verdict:
    """What follows a submission that was lost and proved unpaid, after `submits` of them: again, but not for ever.

    `until` is set where the answer that left it in doubt asked for patience.
    """
    if submits >= MOST_DOUBTS:
        return Leave(until=until)
    wait_s = backoff_s(policy.steps[Step.SUBMIT], tries=submits, jitter=jitter, asked_s=None)
    return Again(at=max(now + wait_s, until or now), of=MOST_DOUBTS)


def render_verdict(
    failure: Failure,
    *,
    credits: int | None,
    retried: Sequence[str],
    broke_at: Instant | None,
    now: Instant,
    jitter: float,
    policy: Policy = USUAL,
) -> Again | GiveUp | None:
    """What follows a render that the provider gave up on; None while its refund is still to be seen.

    Args:
        failure: the provider's reason.
        credits: what the project is charged now; None where that is not told.
        retried: the codes for which this attempt has started over before.
        broke_at: when the error was first seen; None when that is now.
        now: the time.
        jitter: a random number in (0, 1].
        policy: how often it may start over.
    """
    free = policy.free_tries(failure.code)
    if retried.count(failure.code) >= free:
        return GiveUp()
    if credits == 0:
        wait_s = backoff_s(policy.steps[Step.SUBMIT], tries=len(retried) + 1, jitter=jitter, asked_s=None)
        return Again(at=now + wait_s)
    # A date ahead is a clock that was set back meanwhile: how long it has been is not known, and nothing is lost.
    waited_s = 0.0 if broke_at is None else abs(now - broke_at)
    return GiveUp() if waited_s >= policy.refund_wait_s else None


# --- what a failure is ---------------------------------------------------------------------------------------------


_CODES: dict[type[BatchrunnerError], str] = {
    NeverSent: UNREACHABLE,
    NoAnswer: NO_ANSWER,
    InputProblem: INPUT_CHANGED,
    AddressExpired: "address_expired",
    DamagedFile: "damaged_file",
    DiskFull: DISK_FULL,
    TransferError: TRANSFER,
}


def failure_of(error: BatchrunnerError) -> Failure:
    """What an exception says, as a value that can be stored."""
    if isinstance(error, Rejected):
        return Failure(
            code=error.code or f"http_{error.status}",
            message=str(error),
            status=error.status,
            retry_after_s=error.retry_after_s,
            is_lasting=error.status in BLAMES_THE_REQUEST,
        )
    # A storage, or an answer that broke off, may have asked for patience as well.
    asked_s: float | None = getattr(error, "retry_after_s", None)
    return Failure(code=_CODES[type(error)], message=str(error), retry_after_s=asked_s)


NOT_FOUND: Final = 404

LOST_AFTER = 12
"""Looks in a row that must say 404 before a project we hold is taken as gone: about ten minutes (`UNKNOWN_PROJECT`)."""


def is_lost(failure: Failure, *, tries: int) -> bool:
    """Whether the provider has said often enough that it does not know a project; `tries` includes this time."""
    return failure.status == NOT_FOUND and tries >= LOST_AFTER


BLAMES_THE_REQUEST = frozenset({400, 403, 404, 422})
"""Statuses that say the request itself is at fault: surely not accepted, and the same again cannot help.

Provider documentation 2026-08, "quick start", and its OpenAPI of 2026-09; 402 is judged by its code.
"""

BLAMES_THE_ACCOUNT = frozenset({401, 402})
"""Statuses that say nothing of the job: the key or the credits are the matter, and the run decides."""


def proves_refusal(status: int) -> bool:
    """Whether an HTTP status on the paid request proves that nothing was created and nothing charged.

    429 and the definite 4xx do. 5xx do not: the provider's documentation says both that a 502 without an id
    created nothing and that creation can be charged although the answer was lost, so we take the side that
    does not pay twice.
    """
    return status in {429} | BLAMES_THE_REQUEST | BLAMES_THE_ACCOUNT
