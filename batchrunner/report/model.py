"""What a report tells. Values only: every renderer shows the same figures, and none of them decides anything.

Texts are fit to be shown: secrets are out of them and nothing in them steers a terminal. Escaping for a format is the
renderer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchrunner.core.ledger import Due
from batchrunner.core.retry import Instant
from batchrunner.core.totals import Totals

Series = tuple[tuple[Instant, int], ...]
"""A number after each moment at which it changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a report was made of, when and by what.

    Attributes:
        selection: the words that selected its jobs; empty where it is of all.
        provider: whose account it was; None where it was never noted.
        first_at: when the first attempt was opened.
        last_at: when anything last happened.
        is_running: whether a run was at work on it.
    """

    manifest: str
    state_file: str
    version: str
    made_at: Instant
    selection: str = ""
    provider: str | None = None
    first_at: Instant | None = None
    last_at: Instant | None = None
    is_running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file on disk.

    Attributes:
        path: seen from the manifest's folder, as it is, for links; `shown` is for people.
        is_there: whether it is still where it was put.
        suspect_at_s: seconds into it of the picture that shows why the job is suspect.
    """

    path: str
    shown: str
    bytes: int
    is_there: bool = True
    suspect_at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One purchase of a job; times in seconds since 1970, credits None where they are not known."""

    number: int
    state: str
    project_id: str | None
    estimated: int | None
    held: int | None
    charged: int | None
    code: str | None
    message: str | None
    suspect: str | None
    edits: tuple[str, ...]
    files: tuple[File, ...]
    opened_at: Instant
    submitted_at: Instant | None
    accepted_at: Instant | None
    rendered_at: Instant | None
    ended_at: Instant | None

    @property
    def took_s(self) -> float | None:
        """Seconds from acceptance to the finished render."""
        if self.accepted_at is None or self.rendered_at is None:
            return None
        return max(0.0, self.rendered_at - self.accepted_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One job.

    Attributes:
        note: what it waits for, or why it came to nothing.
        settings: the fields of its request by name, without those that are empty.
        inputs: what goes in, by field.
        seconds: length asked for.
        credits: charged over every attempt.
        earlier: the attempts before the current one, oldest first.
    """

    id: str
    kind: str
    model: str
    style: str
    tags: tuple[str, ...]
    seconds: float
    note: str
    prompt: str
    settings: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, str], ...]
    now: Attempt
    credits: int
    earlier: tuple[Attempt, ...] = ()

    @property
    def state(self) -> str:
        """Of its current attempt."""
        return self.now.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Jobs that came to nothing for one reason, and the command that tries them again.

    Attributes:
        messages: what was said of them, the most frequent first.
        is_hopeless: the same again fails again: the input or the request is at fault.
    """

    code: str
    ids: tuple[str, ...]
    messages: tuple[str, ...]
    command: str
    is_hopeless: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """A submission that nobody can judge by machine, where to look for it, and the two commands that decide."""

    id: str
    sent_at: Instant | None
    sent_as: str
    message: str
    library: str
    adopt: str
    resolve: str
    is_paid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What one model did.

    Attributes:
        typical_s: median seconds from acceptance to the finished render; None where none was finished.
        per_second: credits charged for a second of finished video; None where none was finished and charged.
    """

    name: str
    done: int
    typical_s: float | None
    per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A batch, or the selected jobs of one.

    Attributes:
        totals: credits over every attempt, as `status` and `ledger` tell them.
        estimated: credits that the current attempts were expected to cost.
        cap: credits of the batch that the manifest allows; None where it names none.
        spend: what was charged, refunds taken off, over time.
        in_flight: renders that the provider was at work on, over time.
        stop_at: when `in_flight` ends.
    """

    origin: Origin
    cards: tuple[Card, ...]
    by_state: Mapping[str, int]
    totals: Totals
    estimated: int
    cap: int | None
    groups: tuple[Group, ...]
    due: tuple[Due, ...]
    uncertain: tuple[Uncertain, ...]
    models: tuple[Model, ...]
    spend: Series
    in_flight: Series
    download: str | None = None
    ledger: str = ""

    @property
    def suspects(self) -> tuple[Card, ...]:
        """Jobs whose result may not be what was paid for."""
        return tuple(card for card in self.cards if card.now.suspect is not None)

    @property
    def broken(self) -> int:
        """Jobs that came to nothing."""
        return sum(len(group.ids) for group in self.groups)

    @property
    def odd(self) -> int:
        """Jobs that somebody should look at."""
        return len(self.suspects) + len(self.uncertain) + self.broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as a page shows it: an address (data, or a file beside the page), and its size in pixels."""

    src: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The pictures of one job; where one is missing, why.

    Attributes:
        loop: the address of a short silent loop of the result.
        is_moment: the picture after is the one that shows why the result is suspect.
    """

    before: Picture | None = None
    before_why: str = ""
    after: Picture | None = None
    after_why: str = ""
    loop: str | None = None
    is_moment: bool = False

    @property
    def shape(self) -> str:
        """Of the place where they are shown side by side: `wide`, `tall`, or `even`."""
        picture = self.after or self.before
        if picture is None or picture.width >= 1.5 * picture.height:
            return "wide"
        return "tall" if picture.height >= 1.2 * picture.width else "even"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The pictures of a report, by job id, and what is to be said of them all."""

    shown: Mapping[str, Shown] = field(default_factory=dict)
    note: str = ""
