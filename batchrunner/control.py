"""What a person asks of a run in another process: to pause the buying, and to resume it.

A small private file beside the state file, which one process alone writes. It names the run that it is for, so that a
wish outlives neither that run nor a crash; a file that cannot be read asks for nothing. Whoever can write it can edit
the manifest, too: it gives nobody a right they lack, and nothing in it can make a run buy what was not agreed to.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Final

from batchrunner import private

LOOK_S: Final = 1.0
"""Seconds between two looks of a run; a pause is heeded so soon."""

_MOST_BYTES: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of the run of that id."""

    run: str
    is_paused: bool


def path_of(state: Path) -> Path:
    """The file that belongs to a state file."""
    return state.with_name(f"{state.name}.control")


def read(state: Path) -> Wish | None:
    """What is asked; None where nothing is, or nothing that can be read."""
    with suppress(OSError, ValueError, RecursionError):
        with path_of(state).open("rb") as file:
            said = json.loads(file.read(_MOST_BYTES))
        if isinstance(said, dict) and isinstance(said.get("run"), str) and isinstance(said.get("paused"), bool):
            return Wish(run=said["run"], is_paused=said["paused"])
    return None


def write(state: Path, wish: Wish) -> None:
    """Ask it.

    Raises:
        OSError: nothing can be written beside the state file.
    """
    private.write(path_of(state), json.dumps({"run": wish.run, "paused": wish.is_paused}))


def remove(state: Path, run: str) -> None:
    """Forget what was asked of a run that is over; what is asked of another stays."""
    wish = read(state)
    if wish is not None and wish.run == run:
        with suppress(OSError):
            path_of(state).unlink()
