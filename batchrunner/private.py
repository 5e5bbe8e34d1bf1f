"""Files that only their owner may read: the state, the log, the lock, saved plans."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import tempfile
from typing import Final

from batchrunner import system

MODE: Final = 0o600


def open_for(path: Path, flags: int) -> int:
    """A descriptor of the file at `path`, made with mode 0600 whatever the umask, and given it if it had another.

    Raises:
        OSError: it cannot be opened that way.
    """
    descriptor = os.open(path, flags | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), MODE)
    make_private(descriptor)
    return descriptor


def make_private(file: int | Path) -> None:
    """Take everybody else's rights from a file; where the file system knows no rights, nothing is lost."""
    with suppress(OSError, NotImplementedError):
        os.chmod(file, MODE)  # noqa: PTH101 - of a descriptor, too


def is_private(path: Path) -> bool:
    """Whether nobody but the owner may read or write it; also where there is nothing at all."""
    try:
        return not system.others_may(path.stat().st_mode, 0o077)
    except OSError:
        return True


def write(path: Path, text: str) -> None:
    """Put a text under a name, whole or not at all, readable by the owner only; one that is there is replaced.

    Raises:
        OSError: it cannot be written.
    """
    target = path.resolve()  # a link stays a link
    if target.exists() and not target.is_file():  # a terminal, a pipe
        target.write_text(text, encoding="utf-8")
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".new", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            make_private(file.fileno())
            file.write(text)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
