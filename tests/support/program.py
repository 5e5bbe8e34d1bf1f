"""The program as a person runs it, and the provider's own books to hold it against."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import chdir, suppress
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any
import urllib.request

from click.testing import CliRunner
import pytest

from batchrunner.cli.app import main
from batchrunner.media import check_video
from batchrunner.sandbox.settings import API_KEY
from tests.support import forked


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A running sandbox."""

    base_url: str

    def ledger(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.base_url}/_sandbox/ledger", timeout=30) as answer:
            books: dict[str, Any] = json.load(answer)
            return books

    def creates(self, manifest: str) -> list[dict[str, Any]]:
        """Every accepted create whose name says that it is of this manifest."""
        return [each for each in self.ledger()["creates"] if each["name"].startswith(f"{manifest}/")]

    def creates_by_job(self, manifest: str) -> Counter[str]:
        """How many creates were accepted for each job of a manifest."""
        return Counter(each["name"].removeprefix(f"{manifest}/").partition(" [")[0] for each in self.creates(manifest))

    def requests(self) -> dict[str, int]:
        counts: dict[str, int] = self.ledger()["requests"]
        return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True, kw_only=True)
class Program:
    """`batchrunner` in a folder, talking to a provider."""

    folder: Path
    provider: Provider
    env: dict[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        return os.environ | {
            "MAGIC_HOUR_BASE_URL": self.provider.base_url,
            "MAGIC_HOUR_API_KEY": API_KEY,
            "PYTHONWARNINGS": "error",
            "BATCHRUNNER_RUN_YES": "1",
            **self.env,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return self._started("-m", "batchrunner", *arguments)

    def _started(self, *arguments: str) -> subprocess.Popen[str]:
        return _started(*arguments, folder=self.folder, env=self.environ())

    def run(self, *arguments: str, timeout_s: float = 100) -> Ended:
        return ended("batchrunner", *arguments, folder=self.folder, env=self.environ(), timeout_s=timeout_s)

    def python(self, code: str, *, timeout_s: float = 100) -> Ended:
        """Run Python code in the program's folder and environment."""
        return _ended(self._started("-c", code), timeout_s)

    def here(self, *arguments: str) -> Ended:
        """Run a command that buys nothing, in this process: it is the same program, and Python is not started again.

        Where a browser was started in this thread, its event loop runs there, and no other can: then as a process.
        """
        if _has_a_loop():
            return self.run(*arguments)
        with chdir(self.folder), CliRunner().isolation(env=self.environ()) as (out, err, _):
            code = main(arguments)
            sys.stdout.flush()
            return Ended(code=code, out=out.getvalue().decode(), err=err.getvalue().decode())

    def status(self, manifest: Path) -> dict[str, Any]:
        ended = self.here("status", manifest.name, "--json")
        assert ended.code == 0, ended.err
        shape: dict[str, Any] = ended.json()
        return shape


def ended(module: str, *arguments: str, folder: Path, env: Mapping[str, str], timeout_s: float = 100) -> Ended:
    """What `python -m module` comes to, in a process."""
    if forked.can_run(env):
        code, out, err = forked.run(module, arguments, folder=folder, env=env, timeout_s=timeout_s)
        return Ended(code=code, out=out, err=err)
    return _ended(_started("-m", module, *arguments, folder=folder, env=env), timeout_s)


def _started(*arguments: str, folder: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def _ended(process: subprocess.Popen[str], timeout_s: float) -> Ended:
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ended(code=process.returncode, out=out, err=err)


def _has_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def misbehave(program: Program, *rules: object) -> None:
    """Put these rules of misbehaviour in force at the provider, in place of those before."""
    address = f"{program.provider.base_url}/_sandbox/faults"
    request = urllib.request.Request(address, data=json.dumps(rules).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """What a condition gives as soon as that is something: what happens in other processes."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return found


def children(pid: int, word: str) -> list[int]:
    """The processes that one has started and that live, by a word of their command line."""
    if not Path("/proc/self/task").exists():
        pytest.skip("only Linux tells of other processes")
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread may end meanwhile
            pids += map(int, (task / "children").read_text().split())
    return [each for each in pids if lives(each, word)]


def lives(pid: int, word: str) -> bool:
    """Whether a process is there that has this word in its command line, which a dead one has not."""
    with suppress(OSError):
        return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def check_books(program: Program, manifest: Path, *, jobs: int, name: str | None = None) -> dict[str, Any]:
    """Hold a batch's state file against the provider's books; gives back its status.

    Every job is done with a whole file, or uncertain with an accepted create behind it; no job has two creates; and
    credits recorded equal credits charged.
    """
    status = program.status(manifest)
    assert len(status["jobs"]) == jobs
    name = name or manifest.stem
    creates = program.provider.creates(name)
    assert all(count == 1 for count in program.provider.creates_by_job(name).values())
    assert len(creates) == jobs
    charged = {each["id"]: each["charged"] for each in creates}
    for job in status["jobs"]:
        assert job["state"] in {"done", "uncertain"}, job
        if job["state"] == "done":
            assert job["credits"]["charged"] == charged[job["project_id"]]
            (output,) = job["outputs"]
            path = manifest.parent / output["path"]
            assert path.stat().st_size == output["bytes"]
            check_video(path)
    assert not list(manifest.parent.rglob("*.part")), "a finished batch leaves no partial file"
    return status
