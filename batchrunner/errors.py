"""Every exception of batchrunner, and the exit code each one leads to.

    BatchrunnerError                  expected: told in one line, no traceback
    ├── UsageError                    2    the command line or the environment is wrong
    │   ├── ManifestError             2    the manifest is wrong; carries every problem with its place
    │   ├── PlanMoved                 2    what would be bought is not what was looked at and agreed to
    │   └── NotAgreed                 2    credits would be spent, and nobody has agreed to that
    ├── ProviderError                 5    a call to the provider failed
    │   ├── NeverSent                 5    no byte of the request left; surely not accepted
    │   ├── NoAnswer                  5    it may have been accepted; nobody can tell from here
    │   └── Rejected                  5    the provider answered with an error status
    │       ├── KeyRefused            6    401, and 403 where the account is asked for
    │       └── OutOfCredits          7    402, or 422 that says so: not enough credits
    ├── TransferError                 3    bytes did not arrive; the transfer can be repeated
    │   ├── AddressExpired            3    the presigned address is no longer valid
    │   ├── DamagedFile               3    what arrived is not what was promised
    │   ├── DiskFull                  3    there is no room for what arrives
    │   └── InputProblem              3    the local file cannot be read or has changed
    ├── NoticeRefused                 -    a webhook delivery that is not believed; its sender is told, no command ends
    │   ├── NoticeForged              -    not signed with our secret
    │   ├── NoticeStale               -    signed too long ago, or too far ahead
    │   ├── NoticeUnreadable          -    signed, and it does not say what happened to which project
    │   └── NoticeTooLarge            -    more bytes than any notice has
    ├── StateLocked                   11   another run holds the state file
    └── StateUnusable                 12   damaged, or written by a newer version
        └── StateDiskFull             3    no room to record what is done, so nothing more is done
    IllegalTransition                 1    a bug in batchrunner: an event that its own machine does not allow

Split by whose rule was broken: a BatchrunnerError is the world's doing and is explained to the person; anything
else is a bug and leaves a log to attach. Foreign exceptions are translated where the foreign library is called
(provider/client.py, store.py, media.py, transfer.py) and nowhere above.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.core.problem import Problem


class Exit(IntEnum):
    """Exit codes of every command; documented in the README."""

    OK = 0
    BUG = 1
    USAGE = 2
    INCOMPLETE = 3
    JOBS_FAILED = 4
    UNREACHABLE = 5
    KEY_REFUSED = 6
    OUT_OF_CREDITS = 7
    BUDGET_REACHED = 8
    UNCERTAIN = 9
    WINDOW_OVER = 10
    LOCKED = 11
    STATE_UNUSABLE = 12
    INTERRUPTED = 130


class BatchrunnerError(Exception):
    """An expected failure; its text is for the person who typed the command."""

    exit_code: Exit = Exit.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # a traceback shows it


class UsageError(BatchrunnerError):
    """The command line, the environment or a file named there is wrong."""

    exit_code = Exit.USAGE


class ManifestError(UsageError):
    """The manifest cannot be used; `problems` holds all that was found, each with its place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class PlanMoved(UsageError):
    """What would be bought now is not what was agreed to; every difference is named, and nothing was bought."""


class NotAgreed(UsageError):
    """Credits would be spent, and nobody has agreed to that; nothing was bought."""


class ProviderError(BatchrunnerError):
    """A call to the provider failed."""

    exit_code = Exit.UNREACHABLE


class NeverSent(ProviderError):
    """Name lookup, connection, TLS or our own pool failed: the request never left, so nothing was accepted."""


class NoAnswer(ProviderError):
    """The request may have been received, and no answer that can be read came back.

    `project_id` is set when the unreadable answer still contained an id: it must never be lost.
    """

    def __init__(
        self,
        message: str,
        *,
        project_id: str | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.project_id = project_id
        self.retry_after_s = retry_after_s


class Rejected(ProviderError):
    """The provider answered with an error status; `code` is its own word for it, where it sent one."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class KeyRefused(Rejected):
    """401: the API key is wrong, missing or revoked; also 403, where not even the account may be read with it."""

    exit_code = Exit.KEY_REFUSED


class OutOfCredits(Rejected):
    """402, or a 422 that says so: the account cannot pay for the request."""

    exit_code = Exit.OUT_OF_CREDITS


class TransferError(BatchrunnerError):
    """Bytes did not arrive whole; the same transfer may be tried again at no cost.

    `retry_after_s` is set where the storage asked to be left alone for so long.
    """

    exit_code = Exit.INCOMPLETE

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class AddressExpired(TransferError):
    """A presigned address is no longer accepted; a new one must be asked for."""


class DamagedFile(TransferError):
    """The bytes that arrived are not the file that was promised (length, container, no picture)."""


class DiskFull(TransferError):
    """The disk, or the person's share of it, has no room for what arrives."""


class InputProblem(TransferError):
    """A local input cannot be read, or changed while it was being read."""


class NoticeRefused(BatchrunnerError):
    """A webhook delivery that is not believed; it has no effect but the answer that its sender gets."""


class NoticeForged(NoticeRefused):
    """It carries no signature, or one that was not made with our secret."""


class NoticeStale(NoticeRefused):
    """It was signed further from now than a delivery may take: an old one that is played again, or a wrong clock."""


class NoticeUnreadable(NoticeRefused):
    """It is signed, but does not say what happened to which project."""


class NoticeTooLarge(NoticeRefused):
    """It has more bytes than any notice."""


class StateLocked(BatchrunnerError):
    """Another run holds the state file."""

    exit_code = Exit.LOCKED


class StateUnusable(BatchrunnerError):
    """The state file is damaged, or a newer version of batchrunner wrote it."""

    exit_code = Exit.STATE_UNUSABLE


class StateDiskFull(StateUnusable):
    """There is no room for the state file, so nothing can be put on record; the next run goes on."""

    exit_code = Exit.INCOMPLETE


class IllegalTransition(Exception):
    """Our own code produced an event that the job machine does not allow in that state."""
