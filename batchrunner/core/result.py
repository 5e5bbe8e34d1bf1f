"""A result against what was asked for: whole and playable is not yet what was paid for.

A result that is black, stands still, is silent or has another length is *suspect*: it is kept, and pointed out. Dark,
still and silent clips are made on purpose, too. So it is held against its input wherever that can be had, and a result
that is as dark or as still as its input was is as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SHARE = 0.1
"""Part of the length asked for by which a result may be longer or shorter."""

FRAMES = 2
"""Pictures by which it may be so in any case: ranges are cut at pictures, at either end."""

USUAL_FPS = 24.0
"""Where a file does not say; the provider's models render 24 or 30 (models.mdx, 2026-08)."""

BLACK_BELOW: Final = 0.10
"""Brightness, of 1, below which a point counts as black; as FFmpeg's `blackdetect` has it (pixel_black_th)."""

BLACK_SHARE: Final = 0.98
"""Part of its points from which a picture counts as black; as `blackdetect` has it (picture_black_ratio_th)."""

STILL_BELOW: Final = 0.002
"""Mean change of a picture, of 1, below which it counts as the same. FFmpeg's `freezedetect` takes half of it (-60 dB);
between two groups of pictures, an encoder alone changes one that stands still by a little more than that."""

STILL_SPOT_BELOW: Final = 0.04
"""Change of any one spot, of 1, below which a picture counts as the same: lips that move in a room that does not are
movement, of 0.3 where they are, and hardly change the mean. An encoder alone comes to 0.03."""

SILENT_BELOW: Final = 0.001
"""Loudest sample, of 1, below which a track counts as silent; as FFmpeg's `silencedetect` has it (-60 dB)."""

PART: Final = 0.5
"""Part of the length from which black or still pictures are suspect, where the input shows that they should not be. A
fade or a rest is shorter; and without an input to compare with, all of them must be."""

SHORTEST_STILL_S: Final = 1.0
"""Seconds; a shorter clip may well show one thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture of a clip, as far as it tells whether something is to be seen; shares are of 1.

    Attributes:
        at_s: seconds into the part of the clip that is looked at.
        black: part of its points that are black.
        changed: mean difference from the shot before; None of the first.
        spot: difference of the spot that changed most since then; None of the first.
    """

    at_s: float
    black: float
    changed: float | None = None
    spot: float | None = None

    @property
    def is_black(self) -> bool:
        """Whether nothing is to be seen."""
        return self.black >= BLACK_SHARE

    @property
    def is_still(self) -> bool:
        """Whether it shows what the shot before showed."""
        if self.changed is None or self.spot is None:
            return False
        return self.changed < STILL_BELOW and self.spot < STILL_SPOT_BELOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen and heard of a clip, or of a still, in a few samples.

    Attributes:
        shots: spread over its length, in order; one of a still, and none where it could not be looked at.
        is_silent: whether nothing is to be heard; None where nobody listened.
        is_clip: whether it can move at all.
    """

    shots: tuple[Shot, ...] = ()
    is_silent: bool | None = None
    is_clip: bool = True

    def shows(self, test: Callable[[Shot], bool], at_s: float) -> bool:
        """Whether its shot nearest to a time, in seconds, passes a test; a still shows one thing at all times."""
        return bool(self.shots) and test(min(self.shots, key=lambda shot: abs(shot.at_s - at_s)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A result as it was found: its length in seconds, frames a second (0 where it does not say), and what it shows."""

    seconds: float
    fps: float
    seen: Seen = Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why a result may not be what was paid for, in words, and the seconds into it of a picture that shows it."""

    words: str
    at_s: float


def doubt(*, asked_s: float, found: Found, wants_sound: bool = False, source: Seen | None = None) -> Doubt | None:
    """Why a result may not be what was paid for; None when it is as asked for.

    `source` is what its input shows in the part that was asked for; None where that is not known.
    """
    looks = _black(found, source) or _still(found, source)
    silence = _silence(found) if wants_sound else None
    reasons = [each for each in (_length(asked_s, found), looks, silence) if each is not None]
    if not reasons:
        return None
    return Doubt(words="; ".join(each.words for each in reasons), at_s=(looks or reasons[0]).at_s)


def is_settled(middle: Sequence[Shot]) -> bool:
    """Whether three shots in a row, about the middle of a clip, show that it is neither black nor still for a `PART`.

    A row that makes up half of a clip comes to its middle from one side or the other; what the last two of the three
    show is neither black nor the same as before, and leaves less than half on either side.
    """
    return len(middle) == 3 and not any(shot.is_black or shot.is_still for shot in middle[1:])


def asks_for_input(found: Found) -> bool:
    """Whether a result shows what only its input can explain."""
    nothing_to_compare = Seen()
    return any(judge(found, nothing_to_compare) is not None for judge in (_black, _still))


def _length(asked_s: float, found: Found) -> Doubt | None:
    """Of another length than asked for.

    It did happen: the provider's changelog of 2025-07-13 tells of 480p renders of the wrong length, and refunds them.
    """
    slack_s = max(SHARE * asked_s, FRAMES / (found.fps or USUAL_FPS))
    # A hair of slack beyond that: lengths come as sums of fractions.
    if asked_s <= 0 or abs(found.seconds - asked_s) <= slack_s + 1e-6:
        return None
    return Doubt(
        words=f"it is {found.seconds:.2f} s long where {asked_s:g} s were asked for",
        at_s=min(found.seconds, asked_s),  # the last picture, or the first that nobody asked for
    )


def _black(found: Found, source: Seen | None) -> Doubt | None:
    def is_black(shot: Shot) -> bool:
        return shot.is_black and not (source is not None and source.shows(lambda each: each.is_black, shot.at_s))

    return _in_doubt("it is black", found.seen.shots, is_black, part=1.0 if source is None else PART)


def _still(found: Found, source: Seen | None) -> Doubt | None:
    """Compared with a clip only: what is made of a still is paid for because it moves."""
    moving = source if source is not None and source.is_clip else None

    def is_still(shot: Shot) -> bool:
        return shot.is_still and not (moving is not None and moving.shows(lambda each: each.is_still, shot.at_s))

    if found.seconds < SHORTEST_STILL_S:
        return None
    # The first shot has none before it to be the same as.
    return _in_doubt("it stands still", found.seen.shots[1:], is_still, part=1.0 if moving is None else PART)


def _silence(found: Found) -> Doubt | None:
    """Image-to-video alone can be asked for sound (`audio`), and a still has none to compare with."""
    if found.seen.is_silent is not True:
        return None
    return Doubt(words="it is silent, and sound was asked for", at_s=found.seconds / 2)


def _in_doubt(what: str, shots: Sequence[Shot], test: Callable[[Shot], bool], *, part: float) -> Doubt | None:
    """The longest row of shots that fail a test, if it makes up that part of them."""
    run = max(_runs(shots, test), key=len)
    if not run or len(run) < part * len(shots):
        return None
    span = "" if len(run) == len(shots) else f" from {run[0].at_s:.1f} s to {run[-1].at_s:.1f} s"
    return Doubt(words=f"{what}{span}", at_s=run[len(run) // 2].at_s)


def _runs(shots: Sequence[Shot], test: Callable[[Shot], bool]) -> Iterator[Sequence[Shot]]:
    run: list[Shot] = []
    for shot in shots:
        if test(shot):
            run.append(shot)
            continue
        yield run
        run = []
    yield run
