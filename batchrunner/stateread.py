"""Opening a state file to read it; also while a run writes it.

Apart from the store, since who only reads needs nothing of what writing takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batchrunner import snapshots, stateerrors, statefile, statelock
from batchrunner.errors import StateUnusable
from batchrunner.stateview import View


@contextmanager
def open_to_read(
    path: Path, *, is_known: bool = False, patience_s: float = statefile.PATIENCE_S
) -> Iterator[View | None]:
    """What is in the state file at `path`, without a lock and without changing it; None when there is no file.

    Who looks again and again says that it `is_known`: its snapshots are then not held against its log once more, which
    costs the more, the more jobs there are. `patience_s` is for a file that somebody has for himself alone.

    Raises:
        StateUnusable: it is damaged, not ours, of a newer version, or lacks its log: what it says is then not true.
    """
    path = path.resolve()
    statefile.check_bytes(path)
    if not path.exists():
        yield None
        return
    had_log = bool(statefile.size_of(statefile.log_of(path)))
    with statefile.connected_to_read(path, patience_s=patience_s) as connection:
        try:
            if not had_log:
                statefile.refuse_lost_log(path, connection)
        except StateUnusable:
            # A run that has begun since has made its log, and holds the lock.
            if not statelock.is_locked(path):
                raise
        if not is_known:
            with stateerrors.translated(path):
                wrong = snapshots.unlike_the_log(connection)
            refuse_other_snapshots(path, wrong)
        yield View(path, connection)


def refuse_other_snapshots(path: Path, wrong: Sequence[str]) -> None:
    """Refuse to go by a snapshot that is not what its log led to: what it forgot would be bought again.

    Raises:
        StateUnusable: naming a job, and the command that helps.
    """
    if wrong:
        others = f", and of {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        raise StateUnusable(
            f"what the state file {path} says of the job {wrong[0]!r}{others} is not what the log in it led to",
            hint="`batchrunner doctor MANIFEST --fix` rebuilds it from the log, if that is whole, and keeps a copy",
        )
