"""Runs a command of the person's for each job that is done, with the job as JSON on its standard input.

It never holds up a run, never fails it, and does not outlive it. It is started without a shell, so that nothing in a
job can become a command, and without the account's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import os
from pathlib import Path
import queue
import subprocess
import threading
import time
from typing import Final

from batchrunner import system
from batchrunner.environ import NOTIFY, SECRETS
from batchrunner.errors import UsageError

LONGEST_S: Final = 60.0
"""Seconds that a command may take; then it is ended, and what it started with it."""

AT_ONCE: Final = 2
"""Commands that run at the same time."""

LONGEST_END_S: Final = 60.0
"""Seconds that the end of a run waits for commands that have not run yet."""

WITHHELD: Final = (*SECRETS, NOTIFY)
"""Variables that the command does not get."""

LEAST_S: Final = 5.0
"""Seconds that a command must have before the end; with less it is not begun, rather than ended in the middle."""

GRACE_S: Final = 2.0
"""Seconds that a command has to end when it is asked to at the end of a run; then it is ended."""

_TOLD: Final = 3
"""Failures that are told one by one; the others are counted at the end."""

Tell = Callable[[str], None]


class Hook:
    """The command, and the jobs that it has still to be run for.

    A job waits as the one line that the command will read: what waits is bounded by what has been rendered meanwhile.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        tell: Tell,
        longest_s: float = LONGEST_S,
    ) -> None:
        """Make ready to run `command` in `folder`; `tell` hears of what goes wrong."""
        self._command = list(command)
        self._folder = folder
        self._environ = {name: value for name, value in environ.items() if name not in WITHHELD}
        self._tell = tell
        self._longest_s = longest_s
        self._failures = 0
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._left = 0
        self._ends_at = float("inf")
        self._waiting: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="hook", daemon=True) for _ in range(AT_ONCE)]
        for thread in self._threads:
            thread.start()

    def done(self, job_id: str, line: str) -> None:
        """Run the command for a job some time soon; returns at once."""
        self._waiting.put((job_id, line))

    def close(self, *, wait_s: float = LONGEST_END_S) -> None:
        """Wait a while for what has still to be run; what has not by then is told, and what runs is ended.

        An exception that comes meanwhile, such as Ctrl-C, ends it at once.
        """
        self._ends_at = time.monotonic() + wait_s
        for _ in self._threads:
            self._waiting.put(None)
        try:
            self._join(wait_s)
        finally:
            self._end_all()
        if self._left:
            self._tell(f"warning: on_job_done has not run, or not to its end, for {self._left:,} of the jobs")
        if self._failures > _TOLD:
            self._tell(f"warning: on_job_done failed for {self._failures:,} jobs in all")

    def _join(self, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _end_all(self) -> None:
        """Begin no more, and end what runs: first asked, then made to."""
        with self._lock:
            self._ends_at = float("-inf")
            running = list(self._running)
        for process in running:
            system.end(process, is_asked=True)
        self._join(GRACE_S)
        for process in running:  # what it started may be there when it is not
            system.end(process, is_asked=False)
        self._join(GRACE_S)

    def _work(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            self._run(*waiting)

    def _run(self, job_id: str, line: str) -> None:
        try:
            process = self._started()
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            self._failed(job_id, f"cannot be started: {said}")
            return
        if process is None:
            return
        try:
            process.communicate(line.encode(), timeout=self._longest_s)
        except subprocess.TimeoutExpired:
            system.end(process, is_asked=False)
            process.communicate()
            self._failed(job_id, f"took longer than {self._longest_s:g} s and was ended")
        else:
            if process.returncode != 0 and not self._is_cut():
                self._failed(job_id, f"ended with {process.returncode}")
        finally:
            with self._lock:
                self._running.discard(process)

    def _started(self) -> subprocess.Popen[bytes] | None:
        """The command, begun; None where the end is too near."""
        with self._lock:
            if time.monotonic() + LEAST_S > self._ends_at:
                self._left += 1
                return None
            process = subprocess.Popen(  # noqa: S603 - the person's own command, without a shell
                self._command,
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **system.own_session(),
            )
            self._running.add(process)
            return process

    def _is_cut(self) -> bool:
        """Whether the run's end ended a command, which is counted."""
        with self._lock:
            is_cut = self._ends_at == float("-inf")
            self._left += is_cut
            return is_cut

    def _failed(self, job_id: str, what: str) -> None:
        with self._lock:
            self._failures += 1
            is_told = self._failures <= _TOLD
        if is_told:
            self._tell(f"warning: on_job_done {what} for {job_id}; the run is not touched by it")


def checked(command: Sequence[str], *, folder: Path) -> None:
    """Refuse a command that is not there, before anything is bought.

    Raises:
        UsageError: naming it.
    """
    import shutil  # noqa: PLC0415 - only a run with a hook pays for it

    name = command[0]
    where = shutil.which(name) if os.sep not in name else shutil.which(str(folder / name))
    if where is None:
        raise UsageError(f"on_job_done: there is no command {name!r}", hint="name a program that can be run")
