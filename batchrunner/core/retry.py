"""From a failure to a verdict: again at a time, give up, or leave it to the next run.

A verdict is decided once, by a pure function of the step, the failure, what went before, the time and a random
number handed in. It is then stored with its date inside the event, so that a restart honours the date and a
replay of the log gives exactly the stored state.

What a failure of the paid request proves stands in `submit_verdict`; everything else (reads, uploads, downloads)
can be repeated at no cost and goes through `repeat_verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

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
DISK_FULL = "disk_full"
"""Our own codes: a request that could not be sent, one whose answer did not come, a file that is not what it was, a
disk without room for a result."""


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
        """Whether a 402 is about the balance; two other codes of 402 are about the plan (OpenAPI 2026-09)."""
        return self.status == 402 and self.code not in PLAN_CODES


PLAN_CODES = frozenset({"subscription_required", "plan_upgrade_required"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try the same step again, not before `at`."""

    at: Instant
    word: Literal["again"] = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Nothing will change by trying again: the attempt has failed."""

    word: Literal["give up"] = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Enough for this run; nothing is lost, and the next run starts the step again."""

    word: Literal["leave"] = "leave"


Verdict = Again | GiveUp | Leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how patiently a step is repeated within one run.

    Waits grow from `first_s` by doubling up to `longest_s`, each multiplied by a jitter in (0, 1] ("full jitter",
    which spreads the retries of many jobs best), but never less than what the provider asked for.
    """

    tries: int
    first_s: float
    longest_s: float


PATIENCE: dict[Step, Patience] = {
    Step.UPLOAD: Patience(tries=8, first_s=1.0, longest_s=60.0),
    Step.SUBMIT: Patience(tries=8, first_s=2.0, longest_s=60.0),
    Step.POLL: Patience(tries=16, first_s=1.0, longest_s=60.0),
    Step.DOWNLOAD: Patience(tries=10, first_s=1.0, longest_s=60.0),
}


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


def repeat_verdict(step: Step, failure: Failure, *, tries: int, now: Instant, jitter: float) -> Verdict:
    """What follows when a step that costs nothing to repeat has failed `tries` times in a row, this one included."""
    # What is paid for is never given up: looks and downloads are repeated whatever the failure.
    if failure.is_lasting and step in {Step.UPLOAD, Step.SUBMIT}:
        return GiveUp()
    patience = PATIENCE[step]
    most = TRIES_ON_A_FULL_DISK if failure.code == DISK_FULL else patience.tries
    if tries >= most or failure.code == INPUT_CHANGED:  # the next run reads the file anew
        return Leave()
    return Again(at=now + backoff_s(patience, tries=tries, jitter=jitter, asked_s=failure.retry_after_s))


_CODES: dict[type[BatchrunnerError], str] = {
    NeverSent: UNREACHABLE,
    NoAnswer: NO_ANSWER,
    InputProblem: INPUT_CHANGED,
    AddressExpired: "address_expired",
    DamagedFile: "damaged_file",
    DiskFull: DISK_FULL,
    TransferError: "transfer",
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
    asked_s = error.retry_after_s if isinstance(error, TransferError) else None
    return Failure(code=_CODES[type(error)], message=str(error), retry_after_s=asked_s)


LOST_AFTER = 12
"""Looks in a row that must say 404 before a project we hold is taken as gone: some minutes, since a new one may not be
readable at once and a deployment may forget for a moment."""


def is_lost(failure: Failure, *, tries: int) -> bool:
    """Whether the provider has said often enough that it does not know a project; `tries` includes this time."""
    return failure.status == 404 and tries >= LOST_AFTER


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


MOST_DOUBTS = 4
"""Submissions of one attempt whose answer may be lost before the rest is left to another run."""


def unpaid_verdict(*, submits: int, now: Instant, jitter: float) -> Verdict:
    """What follows a submission that was lost and proved unpaid, after `submits` of them: again, but not for ever."""
    if submits >= MOST_DOUBTS:
        return Leave()
    return Again(at=now + backoff_s(PATIENCE[Step.SUBMIT], tries=submits, jitter=jitter, asked_s=None))


def submit_verdict(failure: Failure, *, tries: int, now: Instant, jitter: float) -> Verdict:
    """What follows a submit that was surely not accepted: it never left, or the answer proves the refusal."""
    if failure.status in BLAMES_THE_REQUEST or (failure.status == 402 and not failure.is_about_credits):
        return GiveUp()
    if failure.status in BLAMES_THE_ACCOUNT:
        return Leave()
    return repeat_verdict(Step.SUBMIT, failure, tries=tries, now=now, jitter=jitter)
