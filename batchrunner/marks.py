"""How far each state file has come, noted apart from it, so that an older copy of one is not taken for it.

A state file that is put back from a backup knows nothing of what was bought after the copy was made, and would have it
bought again. Nothing in the file itself can tell that. So every run notes outside of it, under the file's place and the
id of the very first run in it, which each of its copies has: which run was the last, and how many events are on record.

A copy in another place is a batch of its own, as where a folder is copied to begin the next night with, and each
goes on. Lies in the person's state folder, as the till. Other machines are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
from typing import Self

from batchrunner import private, system, zones
from batchrunner.core.retry import Instant
from batchrunner.errors import StateUnusable
from batchrunner.stateview import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a state file had come: its last run, the events on record, and when that was noted."""

    run: str
    events: int
    at: Instant


class Marks:
    """What is noted of state files on this machine. Without a folder to put it in, nothing is."""

    def __init__(self, folder: Path | None) -> None:
        """Use `folder`, which is made when something is written to it."""
        self._folder = folder

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """What is noted in the person's state folder."""
        return cls(system.state_folder(environ) / "states")

    def note(self, view: View, *, at: Instant) -> None:
        """Note how far a state file has come; where that cannot be kept, it is not."""
        reached, file = view.reached(), self._file(view)
        if file is None or reached is None:
            return
        with suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            run, events = reached
            private.write(file, json.dumps(asdict(Mark(run=run, events=events, at=at))))

    def ahead_of(self, view: View) -> Mark | None:
        """How far another copy of a state file has come that this one knows nothing of; None where it has all."""
        file = self._file(view)
        if file is None:
            return None
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            mark = Mark(run=str(said["run"]), events=int(said["events"]), at=float(said["at"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        reached = view.reached()
        has_all = reached is not None and view.has_run(mark.run) and reached[1] >= mark.events
        return None if has_all else mark

    def refuse_older(self, view: View, *, now: Instant) -> None:
        """Refuse to buy by a state file of which another copy has come further.

        Raises:
            StateUnusable: with what helps.
        """
        refusal = self.refusal_of(view, now=now)
        if refusal is not None:
            raise refusal

    def refusal_of(self, view: View, *, now: Instant) -> StateUnusable | None:
        """Why nothing may be bought by a state file, with what helps; None where it is no older copy."""
        ahead = self.ahead_of(view)
        if ahead is None:
            return None
        return StateUnusable(
            f"{view.path} is an older copy: a newer one was used here until {zones.time_words(ahead.at, now)},"
            " and what was bought with that is not on record in this one",
            hint="put back the newest one, with its -wal and -shm, if they are there. If it cannot be had,"
            " `batchrunner doctor MANIFEST --accept-lost-log` goes on without: every job that may have been bought"
            " since waits then until a person has decided about it",
        )

    def _file(self, view: View) -> Path | None:
        first = view.first_run()
        if self._folder is None or first is None:
            return None
        return self._folder / hashlib.sha256(f"{first}\0{view.path}".encode(errors="surrogateescape")).hexdigest()


NOWHERE = Marks(None)
"""Where nothing is noted."""
