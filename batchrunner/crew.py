"""Workers of our own on this machine: a scheduler in this process, and processes that are started anew when they die.

Whoever can speak to a scheduler can have its workers run anything. So it listens on loopback alone and, since others
may use this machine, speaks only to who holds a key that is made for this run. The workers' environment is made of what
is named here: of a person's keys and addresses they get none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
import importlib
import logging
import os
from pathlib import Path
import secrets
import shutil
import sys
import tempfile
from typing import Any, Final

from filelock import FileLock, Timeout

from batchrunner import environ, private, system
from batchrunner.errors import UsageError

CONNECT_S: Final = 5.0
"""Seconds for a connection to a scheduler, which may just be starting; and twice that until it has said who it is."""

AT_ONCE: Final = 8
"""Transfers that one of them carries at the same time: they mostly wait."""

READY_S: Final = 120.0
"""Seconds for the first workers to come up; a busy machine needs many."""

MOST_STARTS: Final = 20
"""Times that one worker is started anew; it dies for a reason then."""

REST_S: Final = 2.0

PASSED: Final = environ.OF_PYTHON | frozenset(
    {
        *("HOME", "USER", "LOGNAME", "TZ", "TMPDIR", "TMP", "TEMP", "SHELL", "VIRTUAL_ENV"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
        *("COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "NUMBER_OF_PROCESSORS", "PROGRAMDATA"),
    }
)
"""What of our environment a worker gets: what Python, FFmpeg and a connection need to work."""

PASSED_BEGINNINGS: Final = (*environ.OF_LANGUAGE, "DASK_", "OMP_")
OF_BUCKETS: Final = ("AWS_", "GOOGLE_", "AZURE_")
"""The credentials of stores, where the batch has an address in one."""


def environment(given: Mapping[str, str], *, needs_buckets: bool) -> dict[str, str]:
    """What a worker gets of an environment: no key of the provider, no address for notices, nothing else of no use."""
    return environ.passed(given, PASSED, PASSED_BEGINNINGS + (OF_BUCKETS if needs_buckets else ()))


def library() -> Any:
    """dask.distributed, loaded with the first use.

    What it logs is for who runs a cluster, and all that concerns a run is told by us. So it is silent, but where the
    program around us has loaded it for itself.
    """
    is_ours = "distributed" not in sys.modules
    loaded = importlib.import_module("distributed")
    if is_ours:
        for name in list(logging.root.manager.loggerDict):
            if name.partition(".")[0] == "distributed":
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return loaded


async def connected(address: str, *, security: Any = None) -> Any:
    """A client of the scheduler at an address; `security` has keys for TLS, by default those of dask's configuration.

    Raises:
        UsageError: this installation cannot speak to such an address.
        OSError, TimeoutError: no scheduler answers there, whatever else may.
    """
    distributed = library()
    _refuse_scheme(address)
    more = {} if security is None else {"security": security}
    client = None
    try:
        # The library's own limit ends a connection that is not made, and not one that nobody says anything by.
        async with asyncio.timeout(2 * CONNECT_S):
            client = distributed.Client(
                address, asynchronous=True, set_as_default=False, timeout=CONNECT_S, name="batchrunner", **more
            )
            return await client
    except BaseException as error:
        await closed(client)
        if isinstance(error, TypeError | ImportError):
            raise UsageError(
                f"{address} cannot be connected to: {error}",
                hint="certificates for tls:// and wss:// are named in dask's configuration, under distributed.comm.tls",
            ) from error
        if isinstance(error, Exception) and not isinstance(error, OSError | TimeoutError):
            # What came is no message of a scheduler, and may fail to be one in any way.
            raise ConnectionError(f"what answers at {address} is no scheduler") from error
        raise


async def closed(client: Any) -> None:
    """Have a client closed, in whatever state it is; None is none."""
    if client is not None:
        with suppress(Exception):
            await asyncio.wait_for(client.close(timeout=2), 5)


def _refuse_scheme(address: str) -> None:
    """Refuse an address of a kind that the library, as it is installed here, cannot speak to.

    Raises:
        UsageError: naming the kind.
    """
    scheme = address.partition("://")[0]
    registry = importlib.import_module("distributed.comm.registry")
    try:
        registry.get_backend(scheme).get_connector()
    except Exception as error:  # where support was taken out, what is left fails in its own ways
        raise UsageError(
            f"{address} cannot be connected to: dask.distributed has no support for {scheme}:// on this machine",
            hint="tcp:// and tls:// are always there",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A cluster of our own: where its scheduler listens, and the keys to speak to it."""

    address: str
    security: Any


@asynccontextmanager
async def started(count: int, *, needs_buckets: bool, tell: Callable[[str], None]) -> AsyncIterator[Own]:
    """A scheduler, and so many workers, while in the block.

    Raises:
        UsageError: they do not come up.
    """
    distributed = library()
    await asyncio.to_thread(_sweep)
    folder, lock = await asyncio.to_thread(_own_folder)
    try:
        try:
            security = distributed.Security.temporary()
        except ImportError as error:
            raise UsageError("--workers needs one more package", hint="pip install 'batchrunner[workers]'") from error
        scheduler = distributed.Scheduler(
            host="127.0.0.1",
            port=0,
            local_directory=str(folder),
            protocol="tls",
            security=security,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
        )
        async with scheduler:
            crew = _Crew(
                address=scheduler.address,
                folder=folder,
                keys=_written(security, folder),
                environ=environment(os.environ, needs_buckets=needs_buckets),
                tell=tell,
            )
            keeping = [asyncio.create_task(crew.keep(f"local-{number + 1}")) for number in range(count)]
            try:
                await _ready(scheduler, count, crew)
                yield Own(address=scheduler.address, security=security)
            finally:
                for each in keeping:
                    each.cancel()
                await asyncio.wait(keeping)
    finally:
        await asyncio.to_thread(_remove, folder, lock)


_PREFIX: Final = "batchrunner-workers-"


def _lock_of(folder: Path) -> FileLock:
    """The kernel lock that a run holds as long as it lives, on a file beside its folder; it dies with its owner."""
    return FileLock(folder.with_name(f"{folder.name}.lock"), mode=private.MODE, thread_local=False)


def _own_folder() -> tuple[Path, FileLock]:
    """A folder for this run alone, and the lock by which others see that it is in use: taken before the folder is made.

    Raises:
        UsageError: it cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{secrets.token_hex(8)}"
    lock = _lock_of(folder)
    try:
        lock.acquire(timeout=0)
        folder.mkdir(mode=0o700)
    except (Timeout, OSError) as error:
        lock.release()
        raise UsageError(f"cannot make the folder {folder} for workers: {error}") from error
    return folder, lock


def _remove(folder: Path, lock: FileLock) -> None:
    """Remove a folder whose lock is held here, and then the lock, which nobody looks at any more."""
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)


def _sweep() -> None:
    """Remove the folders, with their keys, of runs of ours that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = _lock_of(folder)
        with suppress(Timeout, OSError, NotImplementedError):
            if system.is_own_folder(folder.lstat()):
                lock.acquire(timeout=0)
                _remove(folder, lock)


async def _ready(scheduler: Any, count: int, crew: _Crew) -> None:
    """Return when all workers are there.

    Raises:
        UsageError: they do not come up.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_S):
            while len(scheduler.workers) < count:
                if crew.has_failed:
                    break
                await asyncio.sleep(0.05)
            else:
                return
    raise UsageError(f"the workers on this machine do not start: {crew.last_words()}")


def _written(security: Any, folder: Path) -> list[str]:
    """The words that give a worker its keys, which are files that only their owner may read."""
    words = []
    for name, text in (
        ("ca-file", security.tls_ca_file),
        ("cert", security.tls_worker_cert),
        ("key", security.tls_worker_key),
    ):
        path = folder / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")
        words += [f"--tls-{name}", str(path)]
    return words


@dataclass(slots=True, kw_only=True)
class _Crew:
    """The worker processes of one run."""

    address: str
    folder: Path
    keys: list[str]
    environ: Mapping[str, str]
    tell: Callable[[str], None]
    has_failed: bool = False

    @property
    def _log(self) -> Path:
        return self.folder / "workers.log"

    async def keep(self, name: str) -> None:
        """Have a worker of this name run, until canceled."""
        for _ in range(MOST_STARTS):
            process = await self._start(name)
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            self.has_failed = True
            self.tell(f"the worker {name} died (exit code {code}), and is started anew")
            await asyncio.sleep(REST_S)
        self.tell(f"the worker {name} dies again and again: {self.last_words()}")

    async def _start(self, name: str) -> asyncio.subprocess.Process:
        words = [self.address, "--no-nanny", "--nworkers", "1", "--nthreads", str(AT_ONCE), "--name", name]
        words += ["--host", "127.0.0.1", "--no-dashboard", "--memory-limit", "0", "--death-timeout", "60"]
        words += ["--local-directory", str(self.folder), "--preload", "batchrunner.worker", *self.keys]
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "distributed.cli.dask_worker", *words),
                env=dict(self.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **system.own_session(),  # Ctrl-C is for the run, which has them collect what was bought
            )

    def last_words(self) -> str:
        """The last line that one of them wrote."""
        with suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if lines:
                return lines[-1]
        return "nothing is known of why"
