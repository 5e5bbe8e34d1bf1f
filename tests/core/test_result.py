"""When a result is not what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, strategies as st
import pytest

from batchrunner.core.result import Doubt, Found, Seen, Shot, asks_for_input, doubt, is_settled


def found(seconds: float = 6, *shots: Shot, fps: float = 24, is_silent: bool | None = None) -> Found:
    return Found(seconds=seconds, fps=fps, seen=Seen(shots=shots, is_silent=is_silent))


CHANGES = {"s": (0.0004, 0.01), "l": (0.0004, 0.2), "m": (0.2, 0.7)}


def shots(pattern: str) -> Sequence[Shot]:
    """One shot a second: `b` black, `s` as the one before, `m` another picture, `l` the same but for moving lips."""
    made = []
    for number, what in enumerate(pattern):
        is_more_black = what == "b" and pattern[number - 1] == "b"
        changed, spot = (0.0, 0.0) if is_more_black else CHANGES.get(what, CHANGES["m"])
        black = 1.0 if what == "b" else 0.1
        is_first = number == 0
        made.append(
            Shot(at_s=number + 0.5, black=black, changed=None if is_first else changed, spot=None if is_first else spot)
        )
    return made


def source(pattern: str) -> Seen:
    return Seen(shots=tuple(shots(pattern)))


@pytest.mark.parametrize(
    ("asked_s", "found_s", "fps"),
    [
        (10, 10, 24),
        (10, 9, 24),
        (10, 11, 24),
        (0.5, 0.5 + 2 / 12, 12),  # two pictures, which are more than a tenth
        (0.5, 0.5 - 2 / 12, 12),
        (0.1, 0.1 + 2 / 24, 0),
        (0, 5, 24),  # a length that nobody asked for
    ],
)
def test_a_length_as_asked(asked_s: float, found_s: float, fps: float) -> None:
    assert doubt(asked_s=asked_s, found=found(found_s, fps=fps)) is None


@pytest.mark.parametrize(
    ("asked_s", "found_s", "fps"), [(10, 5, 24), (10, 8.99, 24), (10, 11.01, 24), (0.5, 0.3, 24), (5, 0, 0)]
)
def test_a_length_that_is_not(asked_s: float, found_s: float, fps: float) -> None:
    told = doubt(asked_s=asked_s, found=found(found_s, fps=fps))
    words = f"it is {found_s:.2f} s long where {asked_s:g} s were asked for"
    assert told == Doubt(words=words, at_s=min(asked_s, found_s))


@pytest.mark.parametrize(
    ("pattern", "of_input", "words", "at_s"),
    [
        # Nothing is known of the input: all of it must be so.
        ("bbbbbb", None, "it is black", 3.5),
        ("mbbbbb", None, None, 0),
        ("ssssss", None, "it stands still", 3.5),
        ("mmssss", None, None, 0),
        ("llllll", None, None, 0),
        # Held against a clip: half of it, where the clip shows something else.
        ("mmmbbb", "mmmmmm", "it is black from 3.5 s to 5.5 s", 4.5),
        ("mmmmbb", "mmmmmm", None, 0),
        ("bbbbbb", "bbbbbb", None, 0),
        ("mmmbbb", "mmmbbb", None, 0),
        ("mmmsss", "mmmmmm", "it stands still from 3.5 s to 5.5 s", 4.5),
        ("mmmsss", "mmmsss", None, 0),
        ("ssssss", "ssssss", None, 0),
        ("ssssss", "llllll", "it stands still", 3.5),
    ],
)
def test_what_a_result_shows_is_held_against_its_input(
    pattern: str, of_input: str | None, words: str | None, at_s: float
) -> None:
    told = doubt(asked_s=6, found=found(6, *shots(pattern)), source=None if of_input is None else source(of_input))
    assert told == (None if words is None else Doubt(words=words, at_s=at_s))


def test_a_still_that_does_not_move_is_suspect_and_a_black_one_is_not() -> None:
    dark, bright = (Seen(shots=(Shot(at_s=0, black=black),), is_clip=False) for black in (1.0, 0.0))
    assert doubt(asked_s=6, found=found(6, *shots("ssssss")), source=bright) == Doubt(words="it stands still", at_s=3.5)
    assert doubt(asked_s=6, found=found(6, *shots("mmmbbb")), source=dark) is None
    assert doubt(asked_s=6, found=found(6, *shots("mmmmbbbb")), source=bright) == Doubt(
        words="it is black from 4.5 s to 7.5 s", at_s=6.5
    )


def test_a_clip_too_short_to_move_is_not_suspect_for_standing_still() -> None:
    assert doubt(asked_s=0.9, found=found(0.9, *shots("ss"))) is None


@pytest.mark.parametrize(
    ("wants_sound", "is_silent", "is_suspect"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_result_without_the_sound_that_was_asked_for(*, wants_sound: bool, is_silent: bool, is_suspect: bool) -> None:
    told = doubt(asked_s=6, found=found(6, *shots("mmm"), is_silent=is_silent), wants_sound=wants_sound)
    assert told == (Doubt(words="it is silent, and sound was asked for", at_s=3) if is_suspect else None)


def test_every_reason_is_told_and_the_picture_is_of_what_can_be_seen() -> None:
    told = doubt(asked_s=10, found=found(6, *shots("bbbbbb"), is_silent=True), wants_sound=True)
    words = "it is 6.00 s long where 10 s were asked for; it is black; it is silent, and sound was asked for"
    assert told == Doubt(words=words, at_s=3.5)


@pytest.mark.parametrize(
    ("pattern", "asks"), [("mmmmmm", False), ("mmmmbb", False), ("mmmbbb", True), ("mmmsss", True), ("llllll", False)]
)
def test_an_input_is_looked_at_only_where_it_decides(*, pattern: str, asks: bool) -> None:
    assert asks_for_input(found(6, *shots(pattern))) is asks


def test_what_could_not_be_looked_at_is_not_suspect() -> None:
    assert doubt(asked_s=6, found=found(6), source=Seen()) is None
    assert not asks_for_input(found(6))


@given(
    pattern=st.text("bslm", min_size=12, max_size=12), of_input=st.none() | st.text("bslm", min_size=12, max_size=12)
)
@example(pattern="bbbbbmmbbbbb", of_input="mmmmmmmmmmmm")
@example(pattern="msssslmsssss", of_input="mmmmmmmmmmmm")
def test_a_middle_that_settles_it_comes_to_the_same_as_the_whole(pattern: str, of_input: str | None) -> None:
    whole = shots(pattern)
    middle = whole[4:7]
    if is_settled(middle):
        of_source = None if of_input is None else source(of_input)
        for some in (whole, middle):
            assert doubt(asked_s=6, found=found(6, *some), source=of_source) is None
            assert not asks_for_input(found(6, *some))


@pytest.mark.parametrize(
    ("pattern", "settles"), [("mmm", True), ("blm", True), ("mbm", False), ("mms", False), ("mm", False), ("", False)]
)
def test_what_settles_it(*, pattern: str, settles: bool) -> None:
    assert is_settled(shots(pattern)) is settles
