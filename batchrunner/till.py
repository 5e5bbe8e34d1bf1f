"""The till: one place on this machine for each account, where one run at a time spends its credits.

Whether a lost submission was charged is judged by the account's balance, and caps on a day or a balance are counted
over several manifests. Neither can hold while two runs spend from the same account. So a run that buys waits until the
one before it has ended; collecting (`download`) needs no till. Every batch of the account is noted, so that what
another one left unfinished is known when the balance is read.

Lies in the person's state folder (XDG Base Directory Specification). Other machines, and other programs, are not seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import platform
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from batchrunner import private, system

CHECK_S = 0.5
"""Seconds between two tries to take a till that another run has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A batch of the account: its state file, and the folder of its manifest."""

    state: Path
    root: Path


class Till:
    """The till of one account. Without a folder to put it in, it is always free."""

    def __init__(self, folder: Path | None) -> None:
        """Use `folder`, which is made when something is written to it."""
        self._folder = folder
        self._lock: FileLock | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], *, provider: str, account: str) -> Self:
        """The till of an account at a provider; of one that does not name its accounts, all have the same till."""
        name = hashlib.sha256(f"{provider}\n{account}".encode()).hexdigest()[:16]
        return cls(system.state_folder(environ) / "accounts" / name)

    async def wait(self, *, batch: Path, tell: Callable[[str], None]) -> None:
        """Take the till as soon as it is free; `tell` is given the words for the person who waits."""
        has_told = False
        while not self._take(batch):
            if not has_told:
                tell(f"waiting: {self._holder()} spends from the same account; this batch goes on when it has ended")
                has_told = True
            await asyncio.sleep(CHECK_S)

    def note(self, noted: Noted) -> None:
        """Keep a batch in mind."""
        with suppress(OSError):
            line = json.dumps([str(noted.state), str(noted.root)])
            if self._folder is not None and noted not in self.batches():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_APPEND
                with os.fdopen(private.open_for(self._batches_file, flags), "a", encoding="utf-8") as file:
                    file.write(f"{line}\n")

    def batches(self) -> tuple[Noted, ...]:
        """Every batch that was noted and whose state file is still there."""
        if self._folder is None:
            return ()
        try:
            lines = self._batches_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return ()
        return tuple(noted for line in lines if (noted := _noted(line)) is not None and noted.state.exists())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def _batches_file(self) -> Path:
        assert self._folder is not None
        return self._folder / "batches.jsonl"

    def _take(self, batch: Path) -> bool:
        """Take the till if it is free; where it cannot be kept at all, it counts as free."""
        if self._folder is None:
            return True
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self._folder / "lock", mode=private.MODE)
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError:
            return True
        self._lock = lock
        with suppress(OSError):
            words = f"{batch} (process {os.getpid()} on {platform.node()})"
            private.write(self._folder / "holder", words)
        return True

    def _holder(self) -> str:
        assert self._folder is not None
        try:
            return (self._folder / "holder").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return "another run"


def _noted(line: str) -> Noted | None:
    """The batch that a line of the file names; None where it is damaged."""
    try:
        state, root = json.loads(line)
        return Noted(state=Path(state), root=Path(root))
    except (ValueError, TypeError):
        return None
