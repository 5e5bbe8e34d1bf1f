"""What the provider posts when a render moves, signed as its documentation says (2026-08).

The signature is the hex HMAC-SHA256 of `<timestamp>.<body>`. What is not answered with 2xx within ten seconds is posted
again, after 1, 2, 4, 8, … seconds, for a day. Nothing is posted for a canceled project. The documentation is silent on
whether a repetition is signed anew; the sandbox chose not, which is harder on whoever receives it. Repetitions that
wait are forgotten when the sandbox ends. Only this machine is posted to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
import hashlib
import hmac
import ipaddress
import json
import time
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batchrunner.errors import UsageError
from batchrunner.sandbox import answers, problems
from batchrunner.sandbox.books import Project
from batchrunner.sandbox.passage import USUAL, Delivery, Event, Sending

SECRET: Final = "SANDBOX_WEBHOOK_SECRET"  # noqa: S105 - the variable's name

_ANSWER_S: Final = 10
_FIRST_WAIT_S: Final = 1.0
_GIVES_UP_S: Final = 86_400.0
_AT_ONCE: Final = 16
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where notices go, and what they are signed with; the secret shows in no text of this value."""

    url: str
    host: str
    port: int
    path: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Target(url={self.url!r}, secret=…)"


def target_of(url: str, secret: str) -> Target:
    """An address on this machine and a secret.

    Raises:
        ValueError: it is another address, or there is no secret; the text says so.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not url.isascii() or not url.isprintable() or " " in url or parts.username:
        raise ValueError("expected an address that begins with http://")
    if not parts.hostname or not _is_loopback(parts.hostname):
        raise ValueError("a sandbox posts only to this machine: 127.0.0.1, [::1] or localhost")
    if not secret:
        raise ValueError("expected a secret")
    return Target(
        url=url,
        host=parts.hostname,
        port=80 if parts.port is None else parts.port,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        secret=secret.encode("utf-8", "surrogateescape"),
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def registered(url: str | None, environ: Mapping[str, str]) -> Target | None:
    """The webhook that a sandbox is started with.

    Raises:
        UsageError: the address is not on this machine, or there is no secret in the environment.
    """
    if url is None:
        return None
    secret = environ.get(SECRET, "").strip()
    if not secret:
        raise UsageError("there is no secret to sign webhooks with", hint=f"set {SECRET} to any text")
    try:
        return target_of(url, secret)
    except ValueError as error:
        raise UsageError(f"--webhook-url: {error}") from error


def usual(_event: Event, _project: Project) -> Delivery:
    """It arrives once, and at once."""
    return USUAL


class Courier:
    """Posts notices to the one webhook there is, and keeps what became of each."""

    def __init__(self, target: Target | None = None, *, sending: Sending = usual) -> None:
        self._target = target
        self._sending = sending
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._sent: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def announce(self, event: Event, project: Project, payload: Callable[[], Mapping[str, Any]]) -> None:
        """Post that something happened to a project, as far as somebody wants to know; returns at once."""
        if self._target is None:
            return
        delivery = self._sending(event, project)
        if delivery.is_lost:
            self._note(event, project, None)
            return
        body = json.dumps({"type": event, "payload": payload()}).encode()
        headers = _signed(body, self._target, delivery)
        for _ in range(delivery.copies):
            work = self._deliver(self._target, event, project, headers + body, late_s=delivery.late_s)
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up what was not delivered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, target: Target, event: Event, project: Project, message: bytes, *, late_s: float) -> None:
        await asyncio.sleep(late_s)
        wait_s = _FIRST_WAIT_S
        gives_up_at = time.monotonic() + _GIVES_UP_S
        while time.monotonic() < gives_up_at:
            async with self._turns:
                status = await _post(target, message)
            self._note(event, project, status)
            if status is not None and 200 <= status < 300:
                return
            await asyncio.sleep(wait_s)
            wait_s *= 2

    def _note(self, event: Event, project: Project, status: int | None) -> None:
        self._sent.append({"event": event, "project": project.id, "name": project.name, "status": status})

    # --- control

    def routes(self) -> list[Route]:
        """The provider has no such calls: a webhook is made in its Developer Hub."""
        return [
            Route("/_sandbox/webhook", self._read, methods=["GET"]),
            Route("/_sandbox/webhook", self._register, methods=["PUT"]),
            Route("/_sandbox/webhook", self._remove, methods=["DELETE"]),
        ]

    async def _read(self, _request: Request) -> Response:
        """Where notices go, and what each was answered; null for one that was lost or not answered."""
        return JSONResponse({"url": self._target and self._target.url, "deliveries": list(self._sent)})

    async def _register(self, request: Request) -> Response:
        """`{"url", "secret"}`: post there from now on."""
        try:
            given = json.loads(await request.body())
            if not isinstance(given, dict) or not all(isinstance(given.get(key), str) for key in ("url", "secret")):
                raise ValueError("expected an object with url and secret")  # noqa: TRY301 - one kind for all
            self._target = target_of(given["url"], given["secret"])
        except ValueError as error:
            return answers.refusal(problems.invalid_request(str(error)))
        return Response(status_code=204)

    async def _remove(self, _request: Request) -> Response:
        self._target = None
        return Response(status_code=204)


def _signed(body: bytes, target: Target, delivery: Delivery) -> bytes:
    """The head of a request with this body; what is forged is signed by somebody who does not know the secret."""
    signed_at = str(int(time.time() - delivery.stale_s))
    key = b"somebody else" if delivery.is_forged else target.secret
    signature = hmac.new(key, f"{signed_at}.".encode() + body, hashlib.sha256).hexdigest()
    return (
        f"POST {target.path} HTTP/1.1\r\n"
        f"Host: {urlsplit(target.url).netloc}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"magic-hour-event-timestamp: {signed_at}\r\n"
        f"magic-hour-event-signature: {signature}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()


async def _post(target: Target, message: bytes) -> int | None:
    """The status of the answer; None when there is none in time, or none that can be read."""
    writer = None
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            writer.write(message)
            await writer.drain()
            return int((await reader.readline()).split()[1])
    except (OSError, ValueError, IndexError):
        return None
    finally:
        if writer is not None:
            writer.close()
