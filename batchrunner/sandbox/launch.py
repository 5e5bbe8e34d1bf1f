"""A sandbox in a process of its own, for demonstrations, rehearsals and tests."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import json
from queue import Empty, SimpleQueue
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import IO, Final, Self

from batchrunner import system
from batchrunner.errors import BatchrunnerError, Exit, StateLocked
from batchrunner.sandbox.settings import Settings

_STOP_S: Final = 10
_TAIL: Final = 2000
_LAST_WORDS_S: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A started sandbox; as a context manager it is stopped at the end of the block."""

    base_url: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End it gracefully by closing its standard input, and less gracefully if that takes too long."""
        _stop(self.process)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        _stop(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def start(settings: Settings, *, timeout_s: float = 30.0) -> Running:
    """A running sandbox that accepts connections. It ends when it is stopped, or when this process dies.

    Raises:
        StateLocked: another sandbox uses its folder.
        BatchrunnerError: it did not come up in time; the text ends with what it wrote to standard error.
    """
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
            _command(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            **system.own_group(),  # Ctrl-C is for the program, which then stops its sandbox in its own time
        )
        line = _first_line(process, timeout_s=timeout_s)
        try:
            return Running(base_url=json.loads(line)["base_url"], process=process)
        except (ValueError, KeyError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS_S)  # what ended by itself has an exit code that says why
            process.kill()
            _stop(process)
            kind = StateLocked if process.returncode == Exit.LOCKED else BatchrunnerError
            raise kind(f"the sandbox did not start: {_tail(stderr)}") from error


def _command(settings: Settings) -> list[str]:
    return [
        sys.executable,
        "-m",
        "batchrunner.sandbox",
        "--exit-with-parent",
        f"--data-dir={settings.data_dir}",
        f"--host={settings.host}",
        f"--port={settings.port}",
        f"--scale={settings.scale}",
        f"--latency={settings.latency_s}",
        f"--credits={settings.credits}",
        f"--tier={settings.tier}",
        f"--render-workers={settings.render_workers}",
        f"--upload-ttl={settings.upload_ttl_s}",
        f"--download-ttl={settings.download_ttl_s}",
        f"--asset-ttl={settings.asset_ttl_s}",
        f"--latency-spread={settings.latency_spread}",
        f"--seed={settings.seed}",
        *(["--no-render"] if settings.no_render else []),
        *([] if settings.faults is None else [f"--faults={settings.faults}"]),
        *([] if settings.chaos is None else [f"--chaos={settings.chaos}"]),
        *([] if settings.webhook_url is None else [f"--webhook-url={settings.webhook_url}"]),
    ]


def _first_line(process: subprocess.Popen[bytes], *, timeout_s: float) -> bytes:
    """What it says first; nothing when it ends, or says nothing in time. Read in a thread: pipes have no timeout."""
    lines: SimpleQueue[bytes] = SimpleQueue()
    assert process.stdout is not None
    threading.Thread(target=_read_line, args=(process.stdout, lines), daemon=True).start()
    try:
        return lines.get(timeout=timeout_s)
    except Empty:
        return b""


def _read_line(stream: IO[bytes], lines: SimpleQueue[bytes]) -> None:
    lines.put(stream.readline())


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    return stderr.read()[-_TAIL:].decode("utf-8", "replace").strip() or "it said nothing"
