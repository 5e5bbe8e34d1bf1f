"""Room on a disk: what downloads may take of it, all together, and what they leave for the state file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import shutil
import threading
from typing import Self

from batchrunner.errors import DiskFull

LARGEST_RESERVE = 64 * 1024 * 1024
"""Bytes of a disk that downloads leave free, or a fiftieth of a small one: the state file must be able to grow."""

_claimed: Counter[int] = Counter()
"""Bytes that downloads under way are still to write, by disk."""

_given_back: Counter[int] = Counter()
"""Bytes that were claimed and are no more, by disk: most of them are written."""

_lock = threading.Lock()


class Claim:
    """Room for one download in a folder; what others still have to write is not free. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk: int | None = None
        self._left = 0
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back(self._left)
        self._is_over = True  # a thread that was left behind changes nothing any more

    def add(self, count: int) -> None:
        """Claim room for as many bytes more; waits for the disk.

        Raises:
            DiskFull: they do not fit, or would take the last of the disk.
            OSError: the folder cannot be looked at.
        """
        if not count:
            return
        disk = self._folder.stat().st_dev
        before = _given_back[disk]
        usage = shutil.disk_usage(self._folder)  # without the lock: the loop would wait for a disk that hangs
        with _lock:
            if self._is_over:
                return
            # What others wrote since may be neither in what is free nor among the claims.
            taken = _claimed[disk] + _given_back[disk] - before
            if usage.free - taken - count < _reserve(usage.total):
                raise DiskFull(
                    f"the disk is full: {count:,} bytes do not fit into {self._folder}, {usage.free:,} are free"
                )
            self._disk = disk
            _claimed[disk] += count
            self._left += count

    @contextmanager
    def writing(self, count: int) -> Iterator[None]:
        """A block that writes as many bytes.

        Raises:
            DiskFull: they are more than was claimed, and do not fit.
        """
        self.add(max(0, count - self._left))
        try:
            yield
        finally:
            self._give_back(count)

    def _give_back(self, count: int) -> None:
        with _lock:
            if self._disk is not None and not self._is_over:
                _claimed[self._disk] -= count
                _given_back[self._disk] += count
                self._left -= count


def check(folder: Path) -> None:
    """Whether there is room for a record of what is bought next.

    Raises:
        DiskFull: only the reserve is left.
    """
    usage = shutil.disk_usage(folder)
    if usage.free < _reserve(usage.total):
        raise DiskFull(f"the disk of the state file is full: {usage.free:,} bytes are free in {folder}")


def _reserve(total: int) -> int:
    return min(LARGEST_RESERVE, total // 50)
