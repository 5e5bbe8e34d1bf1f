"""Deliveries over real sockets, to a receiver in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
import logging
import signal
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from batchrunner.core.manifest import Webhooks
from batchrunner.environ import WEBHOOK_SECRET as VARIABLE
from batchrunner.errors import UsageError
from batchrunner.provider.webhooks import Notice
from batchrunner.web import door as doors, receiver, serving
from batchrunner.web.door import Door
from tests.support.notices import SECRET, body_of, post, signed

PRIVATE = "a prompt that nobody else may read"


@dataclass
class Listener:
    url: str = ""
    notices: list[Notice] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def noticed(self) -> list[str]:
        return [notice.project_id for notice in self.notices]


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[Listener]:
    listener = Listener()
    door = Door(host=host, port=0, secret=SECRET)
    async with receiver.listening(
        door, on_notice=listener.notices.append, now=time.time, tell=listener.told.append
    ) as listener.url:
        yield listener


async def spoken(url: str, *pieces: bytes, ends: bool = False) -> bytes:
    """What comes back to these bytes; the sending side is closed first, if it `ends`."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for piece in pieces:
        writer.write(piece)
    if ends:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def test_a_notice_is_answered_and_passed_on() -> None:
    async with listening() as here:
        assert await post(here.url, body_of("c1")) == 204
        assert await post(here.url, body_of("c2", "video.errored")) == 204
        assert await post(here.url, body_of("c2", "video.started", name=None)) == 204
    assert here.notices == [
        Notice(event="video.completed", project_id="c1", name="m/j [1-a]"),
        Notice(event="video.errored", project_id="c2", name="m/j [1-a]"),
        Notice(event="video.started", project_id="c2", name=None),
    ]
    assert here.told == []


async def test_half_open_connections_hold_notices_up_only_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LONGEST_HEAD_S", 0.2)
    async with listening() as here:
        heads = (spoken(here.url, b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n") for _ in range(110))
        assert set(await asyncio.gather(*heads)) == {b""}
        assert await post(here.url, body_of("c1")) == 204
    assert here.noticed == ["c1"]


async def test_a_repeated_notice_is_answered_and_not_passed_on_again() -> None:
    body = body_of("c1")
    headers = signed(body)
    async with listening() as here:
        assert [await post(here.url, body, headers) for _ in range(3)] == [204, 204, 204]
        assert await post(here.url, body, signed(body, at=time.time() - 60)) == 204
    assert here.noticed == ["c1"]


@pytest.mark.parametrize(
    ("body", "sign", "status", "told"),
    [
        (body_of("c1"), dict, 401, "without the time of its signature"),
        (body_of("c1"), lambda: signed(body_of("c2")), 401, f"{VARIABLE} is not the secret"),
        (body_of("c1"), lambda: signed(body_of("c1"), secret="guess"), 401, "was not signed with this secret"),
        (body_of("c1"), lambda: signed(body_of("c1"), at=1_700_000_000), 400, "this machine's clock is wrong"),
        (b"{}", lambda: signed(b"{}"), 400, "does not say what happened"),
        (body_of("c1", pad="x" * 1_000_000), dict, 413, "more than 1000000 bytes"),
    ],
    ids=["unsigned", "other-body", "other-secret", "stale", "unreadable", "too-large"],
)
async def test_what_is_not_believed_has_no_effect(
    body: bytes, sign: Callable[[], dict[str, str]], status: int, told: str
) -> None:
    headers = sign()  # now, not when the tests were collected
    async with listening() as here:
        assert await post(here.url, body, headers) == status
        assert await post(here.url, body, headers) == status
        assert await post(here.url, body_of("c9")) == 204
    assert here.noticed == ["c9"]
    [line] = here.told
    assert told in line


async def test_a_body_without_an_announced_length_is_cut_off_too() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    async with listening() as here, httpx.AsyncClient(trust_env=False) as client:
        status = None
        with suppress(httpx.TransportError):  # it may hang up while we still send
            status = (await client.post(here.url, content=pieces())).status_code
        assert status in {413, None}
        assert await post(here.url, body_of("c1")) == 204
    assert here.noticed == ["c1"]


async def test_there_is_one_route() -> None:
    async with listening() as here, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(here.url)).status_code == 405
        assert (await client.post(here.url + "/other")).status_code == 404
        assert (await client.post(here.url.removesuffix(receiver.PATH))).status_code == 404
    assert here.noticed == []


async def test_no_stranger_disturbs_it(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening() as here:
        assert b" 400 " in (await spoken(here.url, b"220 this is no web browser\r\n\r\n")).splitlines()[0]
        head = b"POST /webhook HTTP/1.1\r\nHost: x\r\n"
        assert b" 400 " in await spoken(here.url, head + b"Content-Length: \xb2\r\n\r\n")
        await spoken(here.url, head + b"Content-Length: 100\r\n\r\nno more comes", ends=True)
        body = body_of("c1", name=PRIVATE)
        assert await post(here.url, body, signed(body, secret="guess")) == 401
        assert await post(here.url, body) == 204
    assert here.noticed == ["c1"]
    said = "".join([*capfd.readouterr(), *here.told, *(record.getMessage() for record in caplog.records)])
    assert PRIVATE not in said
    assert SECRET not in said
    assert "Invalid HTTP request" not in said


async def test_a_body_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "LONGEST_BODY_S", 0.0)
    async with listening() as here:
        answer = await spoken(here.url, b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in answer.splitlines()[0]
    assert here.noticed == []


async def test_it_ends_although_somebody_holds_the_line() -> None:
    async with listening() as here:
        parts = urlsplit(here.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        assert await post(here.url, body_of("c1")) == 204
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(httpx.ConnectError):
        await post(here.url, body_of("c1"))


async def test_the_signals_stay_with_the_run() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with listening() as here:
        assert await post(here.url, body_of("c1")) == 204
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        door = Door(host="127.0.0.1", port=taken.getsockname()[1], secret=SECRET)
        with pytest.raises(UsageError, match=r"cannot listen for webhooks on 127\.0\.0\.1:\d+: Address already in use"):
            async with receiver.listening(door, on_notice=print, now=time.time, tell=print):
                pass


@pytest.mark.parametrize("host", ["a" * 300, "192.0.2.1", "x..y"])
async def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(UsageError, match="cannot listen for webhooks on ") as caught:
        async with receiver.listening(
            Door(host=host, port=0, secret=SECRET), on_notice=print, now=time.time, tell=print
        ):
            pass
    assert SECRET not in str(caught.value)


# --- where to listen ---

SET = {VARIABLE: f"{SECRET}\n"}
BLOCK = Webhooks(port=8765, host="0.0.0.0")


@pytest.mark.parametrize(
    ("block", "port", "host", "expected"),
    [
        (None, None, None, None),
        (None, 1, None, ("127.0.0.1", 1)),
        (None, 0, "::1", ("::1", 0)),
        (BLOCK, None, None, ("0.0.0.0", 8765)),
        (BLOCK, 0, None, ("0.0.0.0", 0)),
        (BLOCK, None, "127.0.0.1", ("127.0.0.1", 8765)),
    ],
)
def test_an_option_counts_before_the_manifest(
    block: Webhooks | None, port: int | None, host: str | None, expected: tuple[str, int] | None
) -> None:
    made = doors.wanted(block, port=port, host=host, environ=SET)
    assert (None if made is None else (made.host, made.port)) == expected
    if made is not None:
        assert made.secret == SECRET
        assert SECRET not in repr(made)


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}, {VARIABLE: " "}])
def test_without_a_secret_nothing_listens(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="no secret to check webhooks with") as caught:
        doors.wanted(BLOCK, port=None, host=None, environ=environ)
    assert VARIABLE in str(caught.value.hint)


def test_a_host_without_a_port_is_a_slip() -> None:
    with pytest.raises(UsageError, match="no port is named"):
        doors.wanted(None, port=None, host="127.0.0.1", environ=SET)
