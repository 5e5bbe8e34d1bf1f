"""Opening a state file: what must hold of it before SQLite may touch it, and the two ways in.

SQLite is helpful in ways that cost records: it deletes the log (`-wal`) that stands beside an empty file, makes a new
database where a name is free, and follows a log into a file that it does not belong to. So the file is looked at
first, as bytes, and only one that can be ours is opened. A new one is made under another name, and gets its own when
it is whole; an empty one is therefore damage, not a beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
import os
from pathlib import Path
import shlex
import shutil
import sqlite3
import tempfile
import urllib.parse

from batchrunner import private
from batchrunner.errors import StateUnusable
from batchrunner.stateerrors import damaged, is_nearly_full, translated, unwritable

APPLICATION_ID = 0x62726E31
"""Marks the file as ours ("brn1"), so that another program's database is never taken for a state file."""

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables (sqlite.org/stricttables.html)."""

VERSION = sqlite3.sqlite_version_info
"""Of the SQLite in use."""

IN_USE = "in_use"
"""The fact that stands in the main file while a run goes on, so that a copy without its log shows what it lacks."""

_held: set[Path] = set()
"""Files that this process has open to write. Opening and closing one again would drop SQLite's own locks on it, since
POSIX locks belong to a process and a file (sqlite.org/howtocorrupt.html, 2.2)."""

PATIENCE_S = 10.0
"""Seconds to wait for a file that somebody has for himself alone."""

_BESIDE = ("-journal", "-wal", "-shm")
"""Ends of the names of SQLite's own files beside a database."""

_MAGIC = b"SQLite format 3\x00"
_HEADER = 100  # bytes; sqlite.org/fileformat.html, 1.3


def path_for(manifest: Path) -> Path:
    """The state file that belongs to a manifest: beside it, `<stem>.state.db`; beside the file, not a link to it."""
    real = manifest.resolve()
    return real.with_name(f"{real.stem}.state.db")


def written_at(path: Path) -> float:
    """When a state file or its log was last written, by the clock of its disk; 0.0 where neither is there."""
    dates = [0.0]
    for each in (path, log_of(path)):
        with suppress(OSError):
            dates.append(each.stat().st_mtime)
    return max(dates)


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log beside a state file; what was committed last may stand only there."""
    return path.with_name(f"{path.name}-wal")


def index_of(path: Path) -> Path:
    """SQLite's index of that log, which a writer and readers share."""
    return path.with_name(f"{path.name}-shm")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


# --- before SQLite ---------------------------------------------------------------------------------------------------


def check_bytes(path: Path) -> None:
    """Refuse what cannot be a whole state file, from its first hundred bytes and its length; nothing is changed.

    Raises:
        StateUnusable: it is missing while its log is there, empty, cut off, no database, another program's, or newer.
    """
    if path in _held:
        return
    if not os.path.lexists(path):
        _refuse_orphan(path)
        return
    try:
        if path.is_dir():
            raise StateUnusable(f"{path} is a folder, not a state file", hint="name the state file with --state FILE")
        if not path.is_file():
            raise StateUnusable(f"{path} is no ordinary file", hint="name the state file with --state FILE")
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except OSError as error:
        raise StateUnusable(
            f"cannot read the state file {path}: {error.strerror or error}",
            hint=f"`ls -l {shlex.quote(str(path))}` shows whose it is; nothing was changed",
        ) from error
    _check_header(path, header)


def _check_header(path: Path, header: bytes) -> None:
    if not header:
        raise damaged(path, "it is empty, and a state file never is")
    if not header.startswith(_MAGIC):
        raise damaged(path, "it is not a database" if len(header) >= len(_MAGIC) else "it is cut off")
    if len(header) < _HEADER:
        raise damaged(path, "it is cut off")
    page = int.from_bytes(header[16:18])
    page = 65536 if page == 1 else page
    if page < 512 or page & (page - 1):
        raise damaged(path, "its header makes no sense")
    version, owner = (int.from_bytes(header[at : at + 4]) for at in (60, 68))
    if owner != APPLICATION_ID:
        raise StateUnusable(
            f"{path} is a database of another program",
            hint="name the state file of this batch with --state FILE; this one was not touched",
        )
    _refuse_newer(path, version)
    pages = int.from_bytes(header[28:32])
    # With a log beside it, the missing pages may stand there: a crash in the middle of copying them back.
    if size_of(path) < page * pages and not size_of(log_of(path)):
        raise damaged(path, f"it is cut off: {size_of(path):,} bytes of {page * pages:,}")


def _refuse_newer(path: Path, version: int) -> None:
    newest = len(migrations())
    if version > newest:
        raise StateUnusable(
            f"{path} was written by a newer version of batchrunner (state version {version}, this one knows {newest})",
            hint="`pip install --upgrade batchrunner`; nothing was changed",
        )


def _refuse_orphan(path: Path) -> None:
    """Refuse to begin anew where the main file is missing and its log is not: submissions may stand in the log."""
    log = log_of(path)
    if size_of(log):
        raise StateUnusable(
            f"{path} is missing, but {log.name} is there",
            hint="the two belong together, with the file that ends in -shm: bring back the one that was moved",
        )


# --- opening ---------------------------------------------------------------------------------------------------------


def connect_to_write(
    path: Path, *, accepts_lost_log: bool = False, meanwhile: Callable[[sqlite3.Connection], None] = lambda _: None
) -> sqlite3.Connection:
    """The state file, opened by whoever holds its lock; made when missing, migrated when old, checked for damage.

    Give it to `close` in the end. What is to be read in any case is read `meanwhile`, beside the look for damage,
    unless it must be migrated first; what it finds counts for nothing where the file is damaged.

    Raises:
        StateUnusable: it cannot be trusted or written.
    """
    check_bytes(path)
    if not path.exists():
        _make(path)
    had_log = bool(size_of(log_of(path)))  # a reader leaves an empty one behind
    with translated(path):
        connection = sqlite3.connect(
            _uri(path, "rw"), uri=True, isolation_level=None, check_same_thread=False, timeout=PATIENCE_S
        )
    try:
        with translated(path):
            version = _version(path, connection)
            is_newest = version == len(migrations())
            with _looked_through(path):
                if is_newest:
                    meanwhile(connection)
            if version and not had_log and not accepts_lost_log:
                refuse_lost_log(path, connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection)
            if not is_newest:
                meanwhile(connection)
            copy_back(connection)
    except BaseException:
        connection.close()
        raise
    _held.add(path)
    return connection


def copy_back(connection: sqlite3.Connection) -> None:
    """Copy what was committed from the log into the main file, so that it says so even if it is moved alone.

    The log keeps its length: one of no length beside a file in use is a log that was lost.
    """
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def close(path: Path, connection: sqlite3.Connection, *, is_in_order: bool = True) -> None:
    """Close what `connect_to_write` gave; the file then says that no run goes on, if it is there and in order."""
    with suppress(sqlite3.Error):
        connection.rollback()  # of a write that failed half way
    is_to_end = is_in_order and path.exists()
    kept = _keep_log(path) if is_to_end and not _end_use(connection) else None
    with suppress(sqlite3.Error):
        connection.close()
    if kept is not None:
        _bring_back(path, kept)
    _held.discard(path)


def _end_use(connection: sqlite3.Connection) -> bool:
    """Note that no run goes on; on a full disk, in the log's own place, which needs no room."""
    for _ in range(2):
        with suppress(sqlite3.Error):
            connection.execute("DELETE FROM fact WHERE name = ?", (IN_USE,))
            return True
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
    return False


def _keep_log(path: Path) -> Path | None:
    """Another name for the log, which SQLite deletes with its own; None where the disk takes none.

    A file that still says that a run goes on is taken for one that lost its log, if it has none.
    """
    kept = path.with_name(f"{log_of(path).name}.kept")
    try:
        kept.unlink(missing_ok=True)
        kept.hardlink_to(log_of(path))
    except OSError:
        return None
    return kept


def _bring_back(path: Path, kept: Path) -> None:
    with suppress(OSError):
        if log_of(path).exists():
            kept.unlink()
        else:
            kept.rename(log_of(path))


@contextmanager
def connected_to_read(path: Path, *, patience_s: float = PATIENCE_S) -> Iterator[sqlite3.Connection]:
    """The state file, opened for reading; nothing beside it is changed, and its folder need not be writable.

    Raises:
        StateUnusable: it cannot be trusted or read.
    """
    check_bytes(path)
    with _readable(path, patience_s) as connection:
        try:
            with translated(path):
                connection.execute("PRAGMA query_only = ON")
                _version(path, connection)
            yield connection
        finally:
            connection.close()


def job_ids(path: Path, *, beginning: str, state: str | None, limit: int) -> list[str]:
    """Ids of jobs that begin so, sorted, of one state or of any; none where there is no file.

    It is here and not in the store because a shell that waits for them needs no job read.

    Raises:
        StateUnusable: it cannot be trusted or read.
    """
    path = path.resolve()
    if not path.exists():
        return []
    with connected_to_read(path) as connection, translated(path):
        rows = connection.execute(
            "SELECT id FROM job WHERE is_current = 1 AND substr(id, 1, ?) = ? AND (? IS NULL OR state = ?)"
            " ORDER BY id LIMIT ?",
            (len(beginning), beginning, state, state, limit),
        )
        return [job_id for (job_id,) in rows]


@contextmanager
def _readable(path: Path, patience_s: float) -> Iterator[sqlite3.Connection]:
    """A connection that reads; where folder or disk takes no index and there is none, to a copy of file and log."""
    is_fixed = not os.access(path.parent, os.W_OK) or is_nearly_full(path)
    if is_fixed and not size_of(log_of(path)):
        with translated(path):
            yield sqlite3.connect(_uri(path, "ro&immutable=1"), uri=True, isolation_level=None, timeout=patience_s)
        return
    if not is_fixed or index_of(path).exists():
        with translated(path):
            connection = sqlite3.connect(_uri(path, "ro"), uri=True, isolation_level=None, timeout=patience_s)
        if not is_fixed or _answers(connection):
            yield connection
            return
        connection.close()
    # No index: nobody writes, so that file and log fit each other while they are copied.
    with tempfile.TemporaryDirectory(prefix="batchrunner-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / path.name
        try:
            shutil.copyfile(path, copy)
            shutil.copyfile(log_of(path), log_of(copy))
        except OSError as error:
            raise damaged(path, f"it cannot be copied to be read: {error.strerror or error}") from error
        with translated(path):
            yield sqlite3.connect(_uri(copy, "rw"), uri=True, isolation_level=None, timeout=patience_s)


def _answers(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return False
    return True


def _make(path: Path) -> None:
    """Make a state file that only its owner may read, under its name only when it is whole.

    Raises:
        StateUnusable: its folder is missing, or cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.new")
    try:
        # Of a run that died here: the caller holds the lock. A journal that is left would be rolled into the new file.
        for leftover in (unfinished, *(unfinished.with_name(unfinished.name + end) for end in _BESIDE)):
            leftover.unlink(missing_ok=True)
        os.close(private.open_for(unfinished, os.O_RDWR | os.O_EXCL))
        with translated(path):
            connection = sqlite3.connect(unfinished, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                _migrate(connection)
                connection.execute("PRAGMA journal_mode = WAL")
            finally:
                connection.close()
        unfinished.rename(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version; each step and its version number are one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(migrations(), start=1):
        if number > version:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA application_id = {APPLICATION_ID};\n"
                f"PRAGMA user_version = {number};\nCOMMIT;"
            )


@cache
def migrations() -> tuple[str, ...]:
    """The migration scripts in order; the first leads to version 1."""
    folder = resources.files("batchrunner.data") / "migrations"
    scripts = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return tuple(script.read_text(encoding="utf-8") for script in scripts)


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """The file's version, which may stand in the log alone."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    _refuse_newer(path, version)
    return int(version)


@contextmanager
def _looked_through(path: Path) -> Iterator[None]:
    """Refuse a damaged file before anything is bought on its word; it is looked through beside what is done inside.

    Each takes as long as reading all of the file, and SQLite lets Python go on meanwhile. Of what goes wrong inside,
    damage is the cause where there is any.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="check") as thread:
        looking = thread.submit(_damage_in, path)
        try:
            yield
        finally:
            if (found := looking.result()) is not None:
                raise damaged(path, found)


def _damage_in(path: Path) -> str | None:
    """What is wrong with the pages of a file; None where nothing is. Reads through a connection of its own."""
    connection = sqlite3.connect(_uri(path, "rw"), uri=True, isolation_level=None, timeout=PATIENCE_S)
    try:
        connection.execute("PRAGMA query_only = ON")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        connection.close()
    return None if found == "ok" else str(found).splitlines()[-1]


def refuse_lost_log(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a file that a run left open, for one who found no log beside it: the last submissions stood there.

    Raises:
        StateUnusable: with what brings it back.
    """
    with translated(path):
        is_in_use = connection.execute("SELECT 1 FROM fact WHERE name = ?", (IN_USE,)).fetchone() is not None
    if is_in_use:
        raise StateUnusable(
            f"the last run of {path} was cut short, and {log_of(path).name}, which holds its end, is gone",
            hint="bring it back, if the file was moved or copied without it. If it cannot be had,"
            " `batchrunner doctor MANIFEST --accept-lost-log` goes on without: what was bought last is on no record"
            " then, so every job that may have been bought waits until a person has decided about it",
        )


def _uri(path: Path, mode: str) -> str:
    return f"file:{urllib.parse.quote(str(path.resolve()))}?mode={mode}"
