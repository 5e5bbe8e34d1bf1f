"""A dashboard as a person starts it, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import re
import signal
import subprocess
import time
from typing import Any

import httpx

from tests.support.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A dashboard that runs: where it is, its token, and a client that sends what its own page would."""

    url: str
    token: str
    client: httpx.Client

    @property
    def address(self) -> str:
        return f"{self.url}/#token={self.token}"

    def overview(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/api/overview").json()
        return found

    def news(self, batch: str, mark: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/m/{batch}", params={"mark": mark} if mark else {}).json()
        return found

    def ask(self, batch: str, action: str, jobs: list[int] | None = None) -> httpx.Response:
        return self.client.post(f"/api/m/{batch}/ask", json={"action": action, "jobs": jobs})

    def do(self, batch: str, ticket: str) -> httpx.Response:
        return self.client.post(f"/api/m/{batch}/do", json={"ticket": ticket})

    def until(self, batch: str, holds: Any, *, seconds: float = 60) -> dict[str, Any]:
        """The batch as soon as something holds of its summary."""
        summary: dict[str, Any] = {}
        for _ in range(int(seconds * 10)):
            summary = self.news(batch)["summary"]
            if holds(summary):
                return summary
            time.sleep(0.1)
        raise AssertionError(summary)


@contextmanager
def dashboard(program: Program, *arguments: str) -> Iterator[Page]:
    """`batchrunner dashboard` while in the block."""
    process = program.start("dashboard", *arguments)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.fullmatch(r"dashboard: (http://[^/]+)/#token=(\S+)\n", line)
        assert found is not None, line + process.stderr.read()
        url, token = found.groups()
        with httpx.Client(base_url=url, headers={"Origin": url, "X-Batchrunner-Token": token}, timeout=30) as client:
            yield Page(url=url, token=token, client=client)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert (process.returncode, said.replace(PLAIN_HTTP, "")) == (0, "")


PLAIN_HTTP = "this is plain HTTP: whoever sees the traffic sees the token; a tunnel (ssh -L) keeps it private\n"
