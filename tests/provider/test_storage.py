"""Bytes to and from presigned addresses: what travels, what never does, and what failures become."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
import gzip
from pathlib import Path
import traceback
import tracemalloc

import pytest

from batchrunner.errors import AddressExpired, BatchrunnerError, TransferError
from batchrunner.provider import coding, courier, speed
from batchrunner.provider.client import Client
from batchrunner.provider.connections import Timeouts
from tests.support import chaos
from tests.support.chaos import Connection, Handler, answers, serving

KEY = "mhk_secret_0123456789"
QUERY = "X-Amz-Credential=a%2Fb%2fc&X-Amz-Signature=SIGNED%2B~+a%20b&x=!$'()*,;:@/?-._~&empty=&flag&[]|^`{}\\"
PATH = "/bucket/it's%20(a)%2Fclip+~!$&*,;=:@%7e//x.mp4"
HASTY = Timeouts(connect_s=0.2, read_s=0.2, write_s=0.2, pool_s=0.2, whole_s=2)


def client(timeouts: Timeouts | None = None) -> Client:
    return Client(base_url="http://127.0.0.1:1", key=KEY, timeouts=timeouts)


async def pieces(*these: bytes) -> AsyncIterator[bytes]:
    for piece in these:
        yield piece


async def endless(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield bytes(65536)


async def read(provider: Client, url: str, *, offset: int = 0, etag: str | None = None) -> bytes:
    async with provider.fetch(url, offset=offset, etag=etag) as reply:
        return b"".join([chunk async for chunk in reply.chunks()])


async def test_what_nobody_asked_for_is_no_answer_to_the_next_request() -> None:
    answered, said = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
                if b"/first" in head:
                    await answered.wait()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
                    await writer.drain()
                    said.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client() as provider:
        assert await read(provider, f"{address}/first") == b"mine"
        answered.set()
        await said.wait()
        for _ in range(20):  # turns of the loop, in which what was sent arrives
            await asyncio.sleep(0)
        assert await read(provider, f"{address}/second") == b"mine"


# --- what travels ---


async def test_an_upload_is_exactly_its_bytes_at_exactly_its_address() -> None:
    async with answers(chaos.answer(b"")) as server, client() as provider:
        await provider.put(f"{server.url}{PATH}?{QUERY}", pieces(b"ab", b"", b"cde"), length=5)
    [request] = server.requests
    assert request.line == f"PUT {PATH}?{QUERY} HTTP/1.1"
    assert request.body == b"abcde"
    assert request.header("content-length") == "5"
    assert request.header("transfer-encoding") is None
    assert request.header("authorization") is None
    assert request.header("cookie") is None
    assert request.header("connection") == "close"
    assert request.header("expect") is None
    assert KEY.encode() not in request.head


async def test_a_download_asks_for_exactly_its_address() -> None:
    async with answers(chaos.answer(b"abc")) as server, client() as provider:
        assert await read(provider, f"{server.url}{PATH}?{QUERY}") == b"abc"
    [request] = server.requests
    assert request.line == f"GET {PATH}?{QUERY} HTTP/1.1"
    assert request.header("authorization") is None
    assert request.header("accept-encoding") == "identity"
    assert KEY.encode() not in request.head


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_download_goes_where_it_is_redirected_to_as_it_was_asked_for(status: int) -> None:
    async with (
        answers(chaos.answer(b"def")) as elsewhere,
        answers(chaos.answer(status=status, headers=f"Location: {elsewhere.url}{PATH}?{QUERY}#top\r\n")) as server,
        client() as provider,
    ):
        assert await read(provider, f"{server.url}/x?sig=SIGNED", offset=3, etag='"v1"') == b"def"
    [request] = elsewhere.requests
    assert request.line == f"GET {PATH}?{QUERY} HTTP/1.1"
    assert (request.header("range"), request.header("if-range")) == ("bytes=3-", '"v1"')
    assert (request.header("authorization"), request.header("referer")) == (None, None)
    assert b"SIGNED" not in request.head.replace(QUERY.encode(), b"")


async def test_a_redirect_may_be_a_path_and_a_circle_of_them_has_an_end() -> None:
    async with (
        answers(chaos.answer(status=302, headers="Location: ../x?sig=SIGNED\r\n")) as server,
        client() as provider,
    ):
        with pytest.raises(TransferError, match="302") as caught:
            await read(provider, f"{server.url}/a/b")
    assert [request.line for request in server.requests] == [
        "GET /a/b HTTP/1.1",
        *["GET /x?sig=SIGNED HTTP/1.1"] * courier.MOST_REDIRECTS,
    ]
    assert "SIGNED" not in str(caught.value)


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "ftp://h/x", "http://user:pass@127.0.0.1/x", "http://["]
)
async def test_a_redirect_to_what_is_no_address_of_storage_is_a_broken_transfer(location: str) -> None:
    async with (
        answers(chaos.answer(status=302, headers=f"Location: {location}\r\n")) as server,
        client() as provider,
    ):
        with pytest.raises(TransferError):
            await read(provider, server.url)


async def test_what_broke_behind_a_redirect_is_told_without_its_signature() -> None:
    gone = f"http://127.0.0.1:{chaos.closed_port()}/x?{QUERY}"
    async with (
        answers(chaos.answer(status=302, headers=f"Location: {gone}\r\n")) as server,
        client() as provider,
    ):
        with pytest.raises(TransferError) as caught:
            await read(provider, server.url)
    assert "SIGNED" not in str(caught.value)


FILE = bytes(range(256)) * 9000


def packed(body: bytes) -> bytes:
    return chaos.answer(body, headers='Content-Encoding: gzip\r\nETag: "v1"\r\n')


async def test_a_file_that_is_packed_unasked_is_as_it_was_before() -> None:
    answer = packed(gzip.compress(FILE))
    async with answers(answer) as server, client() as provider, provider.fetch(server.url) as reply:
        assert (reply.etag, reply.length, reply.total) == (None, None, None), "they are of the packed bytes"
        assert b"".join([chunk async for chunk in reply.chunks()]) == FILE


async def test_a_packed_file_that_ends_in_the_middle_is_a_broken_transfer() -> None:
    async with answers(packed(gzip.compress(FILE)[:-9])) as server, client() as provider:
        with pytest.raises(TransferError, match="in the middle"):
            await read(provider, server.url)


async def test_a_packed_file_opens_in_pieces_however_small_its_packets_are() -> None:
    bomb = gzip.compress(bytes(64 * coding.PIECE))
    tracemalloc.start()
    try:
        async with answers(packed(bomb)) as server, client() as provider, provider.fetch(server.url) as reply:
            size = sum([len(chunk) async for chunk in reply.chunks()])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 64 * coding.PIECE
    assert peak < 8 * coding.PIECE


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, gzip", "aws-chunked"])
async def test_a_file_is_what_travels_whatever_coding_is_named(coding: str) -> None:
    answer = chaos.answer(b"abc", headers=f"Content-Encoding: {coding}\r\n")
    async with answers(answer) as server, client() as provider:
        assert await read(provider, server.url) == b"abc"


async def test_the_words_of_a_refusal_are_unpacked_within_their_bound() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    tracemalloc.start()
    try:
        async with (
            answers(chaos.answer(bomb, status=403, headers="Content-Encoding: gzip\r\n")) as server,
            client() as provider,
        ):
            with pytest.raises(AddressExpired):
                await provider.put(server.url, pieces(b"a"), length=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


async def test_a_download_from_the_middle() -> None:
    answer = chaos.answer(b"cde", status=206, headers='ETag: "v1"\r\nContent-Range: bytes 2-4/5\r\n')
    async with (
        answers(answer) as server,
        client() as provider,
        provider.fetch(server.url, offset=2, etag='"v1"') as reply,
    ):
        assert (reply.status, reply.total, reply.length, reply.etag) == (206, 5, 3, '"v1"')
    [request] = server.requests
    assert request.header("range") == "bytes=2-"
    assert request.header("if-range") == '"v1"'


async def test_an_empty_upload_is_sent_as_such() -> None:
    async with answers(chaos.answer(b"")) as server, client() as provider:
        await provider.put(server.url, pieces(b""), length=0)
    assert server.requests[0].body == b""
    assert server.requests[0].header("content-length") == "0"


async def test_cookies_are_not_kept() -> None:
    answer = chaos.answer(headers="Set-Cookie: session=1; Path=/\r\n")
    async with answers(answer) as server, Client(base_url=server.url, key=KEY) as provider:
        for _ in range(2):
            await provider.account()
            await provider.put(server.url, pieces(b"a"), length=1)
            await read(provider, server.url)
    assert [request.header("cookie") for request in server.requests] == [None] * 6


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with answers(chaos.answer(b"abc")) as server, client() as provider:
        assert await read(provider, server.url) == b"abc"
    assert server.requests[0].header("authorization") is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_of_an_upload_is_not_followed(status: int) -> None:
    async with (
        answers(chaos.answer()) as elsewhere,
        answers(chaos.answer(status=status, headers=f"Location: {elsewhere.url}/?sig=SIGNED\r\n")) as server,
        client() as provider,
    ):
        with pytest.raises(TransferError, match=str(status)):
            await provider.put(server.url, pieces(b"a"), length=1)
        assert elsewhere.accepted == 0


# --- what failures become ---

EXPIRED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
TELLTALE = (
    b"<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match</Message><StringToSign>SIGNED</StringToSign>"
    b"<SignatureProvided>SIGNED</SignatureProvided></Error>"
)


@pytest.mark.parametrize(
    ("status", "said", "kind", "text"),
    [
        (403, EXPIRED, AddressExpired, "AccessDenied: Request has expired"),
        (403, TELLTALE, AddressExpired, "It does not match"),
        (403, b"", AddressExpired, "403"),
        (401, b"", AddressExpired, "401"),
        (404, b"<html>", AddressExpired, "404"),
        (410, b"", AddressExpired, "410"),
        (400, b"<Error><Code>ExpiredToken</Code></Error>", AddressExpired, "ExpiredToken"),
        (400, b"<Error><Code>EntityTooLarge</Code></Error>", TransferError, "EntityTooLarge"),
        (500, b"x" * 1_000_000, TransferError, "500"),
        (503, b"<Error><Code>SlowDown</Code></Error>", TransferError, "SlowDown"),
        (304, b"", TransferError, "304"),
    ],
)
async def test_a_refusal_of_the_storage(status: int, said: bytes, kind: type[TransferError], text: str) -> None:
    async with answers(chaos.answer(said, status=status)) as server, client() as provider:
        for attempt in (provider.put(server.url, pieces(b"a"), length=1), read(provider, server.url)):
            with pytest.raises(TransferError, match=text) as caught:
                await attempt
            assert type(caught.value) is kind
            assert "SIGNED" not in str(caught.value)


async def test_a_refusal_counts_though_its_words_break_off() -> None:
    async with answers(b"HTTP/1.1 403 No\r\nContent-Length: 500\r\n\r\n<Err") as server, client() as provider:
        for attempt in (provider.put(server.url, pieces(b"a"), length=1), read(provider, server.url)):
            with pytest.raises(AddressExpired):
                await attempt


async def hang_up(connection: Connection) -> None:
    await connection.head()


async def reset(connection: Connection) -> None:
    await connection.head()
    connection.reset()


async def reset_in_body(connection: Connection) -> None:
    await connection.head()
    await connection.reader.readexactly(100_000)
    connection.reset()


async def babble(connection: Connection) -> None:
    await connection.head()
    await connection.send(chaos.GARBAGE)


@pytest.mark.parametrize(
    "handle", [hang_up, reset, reset_in_body, babble, chaos.silence, chaos.deafness], ids=lambda each: each.__name__
)
async def test_an_upload_that_breaks_is_a_transfer_error_in_time(handle: Handler) -> None:
    async with serving(handle) as server, client(HASTY) as provider, asyncio.timeout(10):
        with pytest.raises(TransferError) as caught:
            await provider.put(f"{server.url}/a?{QUERY}", endless(64 * 1024 * 1024), length=64 * 1024 * 1024)
    assert type(caught.value) is TransferError
    assert server.accepted <= 2


async def test_the_peer_that_stops_reading_is_not_waited_for_long() -> None:
    async def handle(connection: Connection) -> None:
        await connection.head()
        await connection.reader.readexactly(1_000_000)
        await chaos.deafness(connection)

    async with serving(handle) as server, client(HASTY) as provider, asyncio.timeout(10):
        with pytest.raises(TransferError, match="too long"):
            await provider.put(server.url, endless(64 * 1024 * 1024), length=64 * 1024 * 1024)


async def test_an_upload_that_takes_long_is_not_hurried() -> None:
    """The deadline moves when a window's share of bytes has passed, whatever the pieces, and for the answer."""
    loop = asyncio.get_running_loop()
    window_s = 120.0  # 120 KiB at the least speed, which are two steps
    async with asyncio.timeout(10) as deadline:
        ends = []
        async for step in speed.sent(pieces(bytes(5 * speed.STEP)), deadline, window_s=window_s, answer_s=100):
            assert len(step) == speed.STEP
            end = deadline.when()
            assert end is not None
            ends.append(end - loop.time())
            deadline.reschedule(loop.time() + 1)
        last = deadline.when()
        assert last is not None
        ends.append(last - loop.time())
    assert ends == pytest.approx([120, 1, 120, 1, 120, 220], abs=0.5)


async def crawl(connection: Connection, *, head: bytes) -> None:
    """Answer with a byte at a time, always in time, and for ever."""
    await connection.request()
    await connection.send(head)
    while True:
        await connection.send(b"x")
        await asyncio.sleep(HASTY.read_s / 10)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "fewer than 1,024 bytes a second for 0.2 s"),
        (b"HTTP/1.1 200 OK\r\nX-Endless: ", "too long"),
    ],
)
async def test_a_storage_that_trickles_is_left(head: bytes, words: str) -> None:
    async def handle(connection: Connection) -> None:
        await crawl(connection, head=head)

    async with serving(handle) as server, client(HASTY) as provider, asyncio.timeout(10):
        with pytest.raises(TransferError, match=words):
            await read(provider, server.url)


async def test_a_storage_that_is_slow_and_steady_is_not_left() -> None:
    size = 20 * 1024  # in 20 windows' worth of pauses

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(20):
            await connection.send(bytes(size // 20))
            await asyncio.sleep(HASTY.read_s / 10)

    async with serving(handle) as server, client(HASTY) as provider:
        assert len(await read(provider, server.url)) == size


async def test_time_that_the_disk_takes_is_not_the_peers() -> None:
    window_s = 0.05

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"

    got = []
    async for chunk in speed.received(chunks(), window_s=window_s):
        got.append(chunk)
        await asyncio.sleep(2 * window_s)
    assert got == [b"x"] * 3


async def test_an_upload_that_the_peer_takes_in_drops_is_left() -> None:
    async def handle(connection: Connection) -> None:
        await connection.head()
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            await connection.reader.read(1)
            await asyncio.sleep(HASTY.write_s / 10)

    async with serving(handle) as server, client(HASTY) as provider, asyncio.timeout(20):
        with pytest.raises(TransferError, match="too long"):
            await provider.put(server.url, endless(64 * 1024 * 1024), length=64 * 1024 * 1024)


@pytest.mark.parametrize("status", [429, 503, 403])
async def test_what_the_storage_asks_to_wait_is_kept(status: int) -> None:
    answer = chaos.answer(b"<Error><Code>SlowDown</Code></Error>", status=status, headers="Retry-After: 17\r\n")
    async with answers(answer) as server, client() as provider:
        for attempt in (provider.put(server.url, pieces(b"a"), length=1), read(provider, server.url)):
            with pytest.raises(TransferError) as caught:
                await attempt
            assert caught.value.retry_after_s == 17


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{closed}/a", "http://nonexistent.invalid/a", "ftp://127.0.0.1/a", "http://[/a", "a"]
)
async def test_an_address_that_leads_nowhere(url: str) -> None:
    url = url.format(closed=chaos.closed_port()) + "?sig=SIGNED"
    async with client() as provider:
        with pytest.raises(TransferError) as sent:
            await provider.put(url, pieces(b"a"), length=1)
        with pytest.raises(TransferError) as fetched:
            await read(provider, url)
    assert "SIGNED" not in _all_text(sent.value) + _all_text(fetched.value)


# A request without a body has no middle to be reset in.
UNHARMED = {chaos.Mode.PASS, chaos.Mode.TRICKLE, chaos.Mode.RESET_IN_REQUEST}


@pytest.mark.parametrize("mode", sorted(set(chaos.Mode) - UNHARMED))
async def test_a_download_that_breaks_is_a_transfer_error_without_secrets(mode: chaos.Mode) -> None:
    async with (
        answers(chaos.answer(b"abcdefghij")) as server,
        chaos.proxy(server.port, mode) as proxy,
        client(HASTY) as provider,
    ):
        with pytest.raises(TransferError) as caught:
            await read(provider, f"{proxy.url}/a?{QUERY}")
    text = _all_text(caught.value)
    assert "SIGNED" not in text
    assert KEY not in text


async def test_a_length_of_thousands_of_digits_is_none() -> None:
    """Python refuses to read such a number."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5000 + b"5\r\nConnection: close\r\n\r\n"
    async with answers(head + b"abcde") as server, client() as provider, provider.fetch(server.url) as reply:
        assert reply.length is None
        assert b"".join([chunk async for chunk in reply.chunks()]) == b"abcde"


async def test_a_download_that_is_cancelled_leaves_nothing_open() -> None:
    gone = asyncio.Event()
    started = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        started.set()
        await connection.reader.read()
        gone.set()

    async with serving(handle) as server, client() as provider:
        task = asyncio.create_task(read(provider, server.url))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


async def test_an_upload_that_is_cancelled_leaves_nothing_open() -> None:
    gone = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.head()
        connection.server.changed.set()
        await chaos.silence(connection)
        gone.set()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    async with serving(handle) as server, client() as provider:
        task = asyncio.create_task(provider.put(server.url, stuck(), length=2))
        await server.until_accepted(1)
        await server.changed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_large_download_is_not_held_in_memory() -> None:
    size = 200 * 1024 * 1024

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await connection.send(bytes(65536))

    got = 0
    tracemalloc.start()
    try:
        async with serving(handle) as server, client() as provider, provider.fetch(server.url) as reply:
            async for chunk in reply.chunks():
                got += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got == size
    assert peak < 40 * 1024 * 1024


def _all_text(error: BatchrunnerError) -> str:
    """All that a log or a traceback could ever show of it, causes included."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)
