"""A scheduler and workers of dask.distributed as anybody starts them, each a process of its own, on loopback."""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys

from tests.support.program import wait_for

__all__ = ["Processes", "wait_for"]

KEYS = ("MAGIC_HOUR_API_KEY", "MAGIC_HOUR_API_TOKEN", "MAGIC_HOUR_BASE_URL")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Processes:
    """A scheduler and its workers; started anew, the scheduler has the same address."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._port = _free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def _start(self, module: str, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / "cluster.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *words],
                cwd=self.folder,
                env={name: value for name, value in os.environ.items() if name not in KEYS} | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start_scheduler(self) -> None:
        words = (
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
        )
        self.scheduler = self._start("dask_scheduler", *words)
        wait_for(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def add_worker(self, *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        name = f"worker-{len(self.workers)}"
        words = ["--no-nanny", "--nthreads", "4", "--name", name, "--host", "127.0.0.1", "--no-dashboard"]
        words += ["--memory-limit", "0", "--death-timeout", "30", "--local-directory", str(self.folder / name)]
        worker = self._start("dask_worker", self.address, *words, env=env)
        self.workers.append(worker)
        return worker

    def words(self) -> str:
        return (self.folder / "cluster.log").read_text(errors="replace")

    def count(self) -> int:
        """Workers that the scheduler has, told by its log."""
        return self.words().count("Register worker")

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.send_signal(signal.SIGKILL)
        self.scheduler.wait()

    def stop(self) -> None:
        for each in (*self.workers, self.scheduler):
            if each is not None and each.poll() is None:
                each.send_signal(signal.SIGCONT)
                each.kill()
                each.wait()
