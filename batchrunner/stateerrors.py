"""Why a state file cannot be used, in our words and with what helps: SQLite's errors, the disk's, and our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
from pathlib import Path
import shutil
import sqlite3

from batchrunner.errors import IllegalTransition, StateDiskFull, StateUnusable

LITTLE = 256 * 1024
"""Bytes: with less left on its disk, SQLite has no room for its index (32 KiB, and 32 KiB more each 4,096 pages) and
what it copies; it then says `disk I/O error`, or that it cannot open the file."""

_NO_TEXT = "it holds text that cannot be read"

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours; text that is none is found by Python, in rows and in SQLite's own words.

    Raises:
        StateUnusable: in place of every error of SQLite.
        StateDiskFull: where the disk is full, or so full that it must be the cause.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(path, error) from error
    except UnicodeDecodeError as error:
        raise damaged(path, _NO_TEXT) from error


def _of_sqlite(path: Path, error: sqlite3.Error) -> StateUnusable:
    # The lower byte is what happened, the rest is where (sqlite.org/rescode.html); errors of Python's have no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return full(path)
    if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN} and is_nearly_full(path):
        return full(path)
    if "decode to UTF-8" in str(error):  # Python's words, with the text
        return damaged(path, _NO_TEXT)
    return damaged(path, str(error))


def is_nearly_full(path: Path) -> bool:
    """Whether the disk of a state file has no room for what SQLite puts beside it."""
    try:
        return shutil.disk_usage(path.parent).free < LITTLE
    except OSError:
        return False


def full(path: Path) -> StateDiskFull:
    """The error for a disk without room for what is to be recorded."""
    return StateDiskFull(
        f"the disk of the state file {path} is full",
        hint="make room on it and run again; what is on record is whole, and it goes on from there",
    )


def impossible(path: Path, error: IllegalTransition) -> StateUnusable:
    """The error for a log of events that cannot follow each other."""
    # What stands behind the colon is the whole job, for a report of a bug.
    return damaged(path, f"the log in it holds what cannot have happened: {str(error).partition(': ')[0]}")


def damaged(path: Path, reason: str) -> StateUnusable:
    """The error for a file that cannot be trusted any more."""
    return StateUnusable(
        f"the state file {path} cannot be used: {reason}",
        hint="keep it, with its -wal and -shm: it is the only record of what was paid for. Put back a copy that is"
        " whole; `batchrunner doctor MANIFEST` shows what is wrong",
    )


def unwritable(path: Path, error: OSError) -> StateUnusable:
    """The error for a folder that takes no file."""
    if error.errno in _NO_ROOM:
        return full(path)
    return StateUnusable(
        f"cannot write beside {path}: {error.strerror or error}",
        hint="make its folder writable; `status`, `plan` and `ledger` work without",
    )
