"""The lock of a state file: one run at a time has it to itself.

The kernel's lock is the authority, and dies with its owner; the file it stands on says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import errno
import os
from pathlib import Path
import shlex
from typing import TYPE_CHECKING

from batchrunner import private
from batchrunner.errors import StateUnusable
from batchrunner.stateerrors import unwritable

if TYPE_CHECKING:
    from filelock import FileLock

LONGEST_LOOK_S = 0.2
"""Seconds that another process may hold a lock or a mark only to see whether it can."""


def lock_of(path: Path) -> Path:
    """The file whose kernel lock a run holds; its being there says nothing."""
    return path.with_name(path.name + ".lock")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether the block has the state file to itself; a lock that another run holds is left alone.

    Raises:
        StateUnusable: nothing can be written beside it.
    """
    lock = take_lock(path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def is_locked(path: Path) -> bool:
    """Whether a run holds it now; where no lock file is, or none can be opened, nobody does."""
    if not lock_of(path).exists():
        return False
    with suppress(StateUnusable):
        lock = take_lock(path, patience_s=0)
        if lock is None:
            return True
        lock.release()
    return False


def _lock(path: Path) -> FileLock:
    """A lock on that file, not yet taken; what it raises where another process holds it is a `TimeoutError`."""
    from filelock import FileLock  # noqa: PLC0415 - who only reads a batch that is at rest needs none

    return FileLock(path, mode=private.MODE)


def mark_of(path: Path) -> Path:
    """The file whose kernel lock a run holds that is to begin later; its being there says nothing."""
    return path.with_name(path.name + "-waits")


@contextmanager
def marked(path: Path) -> Iterator[None]:
    """Let others see, for the block, that a run of this state file is to come; that holds nobody else up.

    Where it cannot be marked, nobody sees it. The kernel takes the mark away from who has ended, however that was.
    """
    lock = _lock(mark_of(path))
    with suppress(OSError):  # another run of it waits, too, and has marked it
        lock.acquire(timeout=LONGEST_LOOK_S)
    try:
        yield
    finally:
        lock.release()


def is_marked(path: Path) -> bool:
    """Whether a run of it is to come in another process."""
    if not mark_of(path).exists():
        return False
    lock = _lock(mark_of(path))
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        return True
    except OSError:
        return False
    lock.release()
    return False


def check_folder(path: Path) -> None:
    """Refuse a folder in which no run can be recorded, before anything else is begun.

    Raises:
        StateUnusable: it is missing, or cannot be written.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise StateUnusable(
            f"the folder of the state file {path} does not exist",
            hint=f"is its disk connected? Else `mkdir -p {shlex.quote(str(folder))}` makes it",
        )
    if not os.access(folder, os.W_OK):
        raise unwritable(path, PermissionError(errno.EACCES, "the folder is read-only"))


def take_lock(path: Path, *, patience_s: float | None = None) -> FileLock | None:
    """The kernel lock of a state file; None while another run holds it.

    By default it is waited for as long as somebody may hold it who only looks.

    Raises:
        StateUnusable: nothing can be written beside it.
    """
    check_folder(path)
    lock = _lock(lock_of(path))
    try:
        lock.acquire(timeout=LONGEST_LOOK_S if patience_s is None else patience_s)
    except TimeoutError:
        return None
    except OSError as error:
        raise unwritable(path, error) from error
    private.make_private(lock_of(path))
    return lock
