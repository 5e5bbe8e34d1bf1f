"""What may happen to a job, in the past tense. What each means is said in `job`; the log keeps them by these names."""

from __future__ import annotations

from dataclasses import dataclass

from batchrunner.core.retry import Again, Failure, GiveUp, Instant, Verdict
from batchrunner.core.spec import Asset, Output, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one job, at a time."""

    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Event):
    """An attempt began: the manifest asks for this render and nobody has paid for it."""

    id: str
    attempt: int
    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded(Event):
    """Every local input is with the provider (or there was none to send)."""

    assets: tuple[Asset, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsExpired(Event):
    """The provider no longer keeps what was uploaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitStarted(Event):
    """The paid request is about to leave. On disk before it does: the only protection against paying twice."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Event):
    """The provider gave the submission a project id; `credits` is what it charged, where it said so."""

    project_id: str
    credits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """The submission was surely not accepted; `blames_inputs` when what was uploaded is to be sent anew first."""

    failure: Failure
    verdict: Verdict
    blames_inputs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLost(Event):
    """The submission may or may not have been accepted; evidence must decide."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedUnpaid(Event):
    """The evidence says that the submission was not charged."""

    evidence: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknowable(Event):
    """No machine can tell; `evidence` says what is known, for the person who decides.

    `is_paid` when what is missing from the account is what this submission costs.
    """

    evidence: str
    is_paid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted(Event):
    """A person (or a notice) named the project that a lost submission became."""

    project_id: str
    credits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved(Event):
    """A person said that the submission created nothing (again), or that it is to be written off (give up)."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked(Event):
    """A poll showed that it is still waiting or rendering."""

    status: str
    credits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered(Event):
    """The render is complete and can be fetched.

    `is_late` where that was seen so much later than planned that it says nothing of how long it took: the machine
    slept, or nobody looked.
    """

    status: str
    credits: int | None
    is_late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderFailed(Event):
    """The provider gave up on it, or no longer has it; `credits` is what remains charged, nothing if it starts over."""

    failure: Failure
    credits: int | None
    verdict: Again | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundAwaited(Event):
    """The provider gave up on it and has not given the credits back; it starts over as soon as that is seen."""

    failure: Failure
    credits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceled(Event):
    """Somebody canceled it in the provider's web application."""

    credits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reappeared(Event):
    """A render that had come to nothing is there after all: it goes on, or is complete, and what it brings is paid."""

    project_id: str
    status: str
    credits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected(Event):
    """The provider changed the charge of a project that is over: a late refund, a late settlement."""

    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded(Event):
    """The result is on disk under its final name, whole and checked.

    `suspect` says why it may not be what was paid for, if so; logs from before it was looked for have none.
    """

    outputs: tuple[Output, ...]
    suspect: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressExpired(Event):
    """The download address was no longer accepted; the provider is asked for a new one."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(Event):
    """An upload, a poll or a download did not succeed; the verdict says what follows."""

    failure: Failure
    verdict: Verdict
