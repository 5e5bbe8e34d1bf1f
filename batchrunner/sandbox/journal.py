"""An append-only file of JSON lines that survives a killed process, and the lock that keeps it to one owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from batchrunner.errors import BatchrunnerError, StateLocked

Record = Mapping[str, Any]


class Journal:
    """The records of one data folder, in order.

    With `is_synced` false they survive a killed process and not a power cut: for simulations whose thousands of
    records would wait for the disk, one after the other.

    Raises:
        BatchrunnerError: another sandbox uses the folder, or a line before the last cannot be read.
    """

    def __init__(self, data_dir: Path, *, is_synced: bool = True) -> None:
        self._is_synced = is_synced
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BatchrunnerError(f"{data_dir} cannot be used: {error.strerror}") from error
        self._lock = FileLock(data_dir / "sandbox.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StateLocked(f"{data_dir} is already used by another sandbox") from error
        try:
            self._path = data_dir / "journal.jsonl"
            self._past = _read(self._path)
            self._file: BinaryIO = self._path.open("ab")
        except BaseException:
            self._lock.release()
            raise

    def past(self) -> Iterator[Record]:
        """The records found when the journal was opened."""
        yield from self._past
        self._past = []

    def append(self, record: Record) -> None:
        """Put a record on disk; it is there when this returns.

        On the event loop on purpose: checking the balance, writing the charge and lowering the balance must
        not be interleaved with another request, and one fsync takes a few milliseconds at most.
        """
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        if self._is_synced:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        self._lock.release()


def _read(path: Path) -> list[Record]:
    """All records; a last line torn by a crash was never answered for, and is cut off."""
    if not path.exists():
        return []
    records: list[Record] = []
    whole = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise BatchrunnerError(f"{path}:{number}: damaged; start with another data folder") from error
            whole += len(line)
    os.truncate(path, whole)
    return records
