"""A program that looks into results, beside the run: FFmpeg may crash on what is damaged, and then only this one ends.

    python -m batchrunner.viewer

One question a line on its input, one answer a line on its output, until the input ends: with whoever asks, however that
ends. It loads what a look needs and nothing else, since each run starts it anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
import json
import os
from pathlib import Path
import signal
import sys
from typing import BinaryIO, Final, TypeAlias

from batchrunner import watch
from batchrunner.core.facts import Media
from batchrunner.core.result import Doubt, Seen
from batchrunner.errors import DamagedFile

READY: Final = b"ready\n"
"""What it says first: whatever ends it after that, it is no matter of starting it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The input that a result is held against: its size in bytes as it was sent, and where the part used begins."""

    path: Path
    size: int
    media: Media
    start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A result to be looked into; paths are absolute, for the rest see `watch.doubt`."""

    path: Path
    seconds: float
    wants_sound: bool
    source: Original | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """It can be played; what is doubtful about it."""

    doubt: Doubt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """It is no video; in the words of `DamagedFile`."""

    words: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The look broke at something that is no matter of the file; the error's name."""

    name: str


Answer: TypeAlias = Looked | Damaged | Failed


# --- as lines --------------------------------------------------------------------------------------------------------


def question_line(question: Question) -> bytes:
    """A question as it travels."""
    source = question.source
    return _line(_fields(question) | {"source": None if source is None else _fields(source)})


def question_of(line: bytes) -> Question:
    """A question as it was asked; raises ValueError, KeyError or TypeError on what is none."""
    fields = json.loads(line)
    source = fields["source"]
    original = None if source is None else Original(**source | {"path": Path(source["path"])})
    return Question(**fields | {"path": Path(fields["path"]), "source": original})


def answer_line(answer: Answer) -> bytes:
    """An answer as it travels."""
    return _line({"is": type(answer).__name__, **asdict(answer)})


def answer_of(line: bytes) -> Answer | None:
    """An answer as it was given; None where a line is none, as that of a program that ended in the middle of it."""
    with suppress(ValueError, KeyError, TypeError):
        match json.loads(line):
            case {"is": "Looked", "doubt": None}:
                return Looked(doubt=None)
            case {"is": "Looked", "doubt": {"words": str(words), "at_s": float() | int() as at_s}}:
                return Looked(doubt=Doubt(words=words, at_s=at_s))
            case {"is": "Damaged", "words": str(words), "hint": str() | None as hint}:
                return Damaged(words=words, hint=hint)
            case {"is": "Failed", "name": str(name)}:
                return Failed(name=name)
    return None


def _fields(value: Question | Original) -> dict[str, object]:
    """A value's fields as they are; `asdict` copies all that is in them, which takes ten times as long."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _line(told: dict[str, object]) -> bytes:
    return json.dumps(told, default=str).encode() + b"\n"


# --- the program -----------------------------------------------------------------------------------------------------


def answer(question: Question) -> Answer:
    """What a look gives; it takes its time."""
    try:
        doubt = watch.doubt(
            question.path,
            seconds=question.seconds,
            wants_sound=question.wants_sound,
            source=lambda: _seen(question),
        )
    except DamagedFile as error:
        return Damaged(words=str(error), hint=error.hint)
    except Exception as error:  # noqa: BLE001 - it is looked into once more where the error can be told
        return Failed(name=type(error).__name__)
    return Looked(doubt=doubt)


def _seen(question: Question) -> Seen | None:
    source = question.source
    with suppress(OSError):
        if source is not None and source.path.stat().st_size == source.size:
            return watch.of(source.path, source.media, start_s=source.start_s, seconds=question.seconds)
    return None


def main() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run
    with suppress(OSError), _answers() as answers:  # nobody may be there any more to hear them
        answers.write(READY)
        for line in sys.stdin.buffer:
            answers.write(answer_line(answer(question_of(line))))


@contextmanager
def _answers() -> Iterator[BinaryIO]:
    """Where answers go; whatever a library prints goes nowhere, as it would be taken for one."""
    with open(os.dup(sys.stdout.fileno()), "wb", buffering=0) as answers:  # noqa: PTH123 - no path
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        yield answers


if __name__ == "__main__":
    main()
