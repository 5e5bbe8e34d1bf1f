"""A run that kills itself, with SIGKILL, at the n-th point where a crash could hurt.

A point lies before and after every action, every write to the state file, and every HTTP request. Run as
`python -m tests.support.crash_child MANIFEST N`, or with the name of a point in place of N (`after settle`,
`after POST /v1/image-to-video`; `before append #2` is the third of that name); prints the number of points passed when
it got to its end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
import os
from pathlib import Path
import signal
import sys
from typing import Any

import httpx

from batchrunner import access as provider_access, assembly, batch
from batchrunner.core import schedule
from batchrunner.provider.client import Client
from batchrunner.provider.connections import Connections, Transports
from batchrunner.provider.guard import guard_of
from batchrunner.session import Order, begin
from batchrunner.till import Till


class Points:
    def __init__(self, deadly: str) -> None:
        self.deadly = deadly
        self.passed = 0
        self._named: Counter[str] = Counter()

    def touch(self, name: str) -> None:
        numbered = f"{name} #{self._named[name]}"
        self._named[name] += 1
        if self.deadly in {str(self.passed), name, numbered}:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1

    def around(self, call: Any, name: str = "") -> Any:
        async def surrounded(*arguments: Any, **named: Any) -> Any:
            self.touch(f"before {name}")
            result = await call(*arguments, **named)
            self.touch(f"after {name}")
            return result

        return surrounded


class Wire(httpx.AsyncBaseTransport):
    """The real transport, with a point on either side of each request."""

    def __init__(self, real: httpx.AsyncBaseTransport, points: Points) -> None:
        self._real = real
        self._points = points

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {request.url.path}"
        self._points.touch(f"before {name}")
        response = await self._real.handle_async_request(request)
        self._points.touch(f"after {name}")
        return response

    async def aclose(self) -> None:
        await self._real.aclose()


async def _run(manifest: Path, deadly: str) -> int:
    points = Points(deadly)
    read = batch.read(manifest)
    access = provider_access.access(os.environ)
    connections = Connections(guard_of(access.base_url))
    real = connections.transports()
    wires = Transports(api=Wire(real.api, points), paid=Wire(real.paid, points), storage=Wire(real.storage, points))
    async with Client(base_url=access.base_url, key=access.key, transports=wires) as client:
        account = await provider_access.account(client)
        with begin(read, Order(), access=access, account=account) as session:
            for name in ("append", "settle"):
                setattr(session.store, name, points.around(getattr(session.store, name), name))
            engine, performer = assembly.engine(
                session,
                client=client,
                till=Till(None),
                access=access,
                account=account,
                observe=lambda _event, _job: None,
                tell=lambda _text: None,
            )
            engine._perform = points.around(performer)
            outcome = await engine.run()
    await connections.aclose()
    sys.stdout.write(f"{points.passed}\n")
    return schedule.exit_code(outcome.by_state, stop=outcome.stop, is_unreachable=outcome.is_unreachable)


def main() -> None:
    sys.exit(asyncio.run(_run(Path(sys.argv[1]), sys.argv[2])))


if __name__ == "__main__":
    main()
