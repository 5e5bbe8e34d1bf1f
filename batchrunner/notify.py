"""Sends notices to wherever the person has them sent, through apprise. Never holds up a run, never fails it.

Where they go is the person's own affair: the addresses hold passwords and tokens, so they come from the environment or
from a file of the person's, never from a manifest, and they appear in no log, state file or error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import importlib
import logging
import os
from pathlib import Path
import queue
import stat
import threading
import time
from typing import Any, Final, Protocol
import warnings

from batchrunner import system
from batchrunner.core.notices import Notice
from batchrunner.environ import NOTIFY
from batchrunner.errors import UsageError

MOST_WAITING: Final = 20
"""Notices that wait to be sent. There are few; more means that nothing gets through."""

LONGEST_END_S: Final = 20.0
"""Seconds that the end of a run waits for notices on their way."""

_PACKAGE: Final = "batchrunner[notify]"

Tell = Callable[[str], None]


class Address(Protocol):
    """One service that takes notices."""

    name: str

    def send(self, notice: Notice) -> bool:
        """Whether it took the notice."""


def addresses(environ: Mapping[str, str], file: Path) -> tuple[str, ...]:
    """The addresses that the person has written down, each once.

    Raises:
        UsageError: the file is there and cannot be read, or others can read it.
    """
    return tuple(dict.fromkeys((*environ.get(NOTIFY, "").split(), *_in_file(file))))


def _in_file(file: Path) -> Iterable[str]:
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            lines = opened.read().splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {file}: {why}") from None
    if system.others_may(mode, stat.S_IRGRP | stat.S_IROTH):
        raise UsageError(
            f"others can read {file}, and the addresses in it hold passwords",
            hint=f"chmod 600 {file}, and run it again",
        )
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def opened(given: Sequence[str]) -> tuple[Address, ...]:
    """The services behind addresses.

    Raises:
        UsageError: apprise is not installed, or an address is of no service that it knows. The address is not told, as
            it may hold a password: only what it begins with and its place.
    """
    if not given:
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of another project's plugins, all of which it loads
            apprise = importlib.import_module("apprise")
    except ImportError as error:
        raise UsageError("notices need apprise, which is not installed", hint=f"pip install '{_PACKAGE}'") from error
    logging.getLogger("apprise").disabled = True  # its words hold addresses
    return tuple(_Service(apprise, each, number) for number, each in enumerate(given, start=1))


class _Service:
    """One address, opened by apprise."""

    def __init__(self, apprise: Any, address: str, number: int) -> None:
        scheme = address.partition("://")[0] if "://" in address else ""
        self._apprise = apprise
        self._asset = apprise.AppriseAsset(async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY)
        self._sender = apprise.Apprise(asset=self._asset)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            is_known = self._sender.add(address)
        if not is_known:
            said = f"begins with {scheme}://" if scheme.isalnum() and len(scheme) <= 20 else "has no scheme"
            raise UsageError(
                f"notice address {number} is not understood; it {said}",
                hint="https://github.com/caronc/apprise/wiki lists what each service wants",
            )
        (service,) = self._sender
        self.name = f"{service.service_name} ({scheme}://…)"

    def send(self, notice: Notice) -> bool:
        """Send it; a failure of whatever kind is False."""
        text = self._apprise.NotifyFormat.TEXT
        try:
            return bool(self._sender.notify(title=notice.title, body=notice.body, body_format=text))
        except Exception:  # noqa: BLE001 - a plugin of another project; its text may hold the address
            return False


class Notifier:
    """Sends from a thread of its own, in order; `tell` hears, once for each address, that it takes nothing."""

    def __init__(self, services: Sequence[Address], *, tell: Tell) -> None:
        """Begin to wait for notices, if there is anyone to send them to."""
        self._services = services
        self._tell = tell
        self._failed: set[str] = set()
        self._waiting: queue.Queue[Notice | None] = queue.Queue(maxsize=MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="notices", daemon=True)
        if services:
            self._thread.start()

    def send(self, notice: Notice) -> None:
        """Send it some time soon; returns at once."""
        if not self._services:
            return
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            self._once("more notices wait than can be sent; some are lost", "full")

    def close(self, *, wait_s: float = LONGEST_END_S) -> None:
        """Wait a while for what is on its way, and send no more."""
        if not self._services:
            return
        ends_at = time.monotonic() + wait_s
        try:
            self._waiting.put(None, timeout=wait_s)
        except queue.Full:
            return
        self._thread.join(max(0.0, ends_at - time.monotonic()))
        if self._thread.is_alive():
            self._once("a notice is not sent yet; nothing waits for it any longer", "late")

    def _work(self) -> None:
        while (notice := self._waiting.get()) is not None:
            for number, service in enumerate(self._services, start=1):
                if not service.send(notice):
                    self._once(f"notice address {number}, {service.name}, took no notice", str(number))

    def _once(self, words: str, what: str) -> None:
        if what not in self._failed:
            self._failed.add(what)
            self._tell(f"warning: {words}; the run is not touched by it")
