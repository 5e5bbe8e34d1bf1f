"""The paid request against everything a network can do to it: what may be claimed, and what the server knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
import gc
import json
import os
from pathlib import Path
import resource
import ssl
from typing import Any
from uuid import uuid4

import httpx
import pytest

from batchrunner.errors import NeverSent, NoAnswer, Rejected
from batchrunner.provider import connector
from batchrunner.provider.client import Client
from batchrunner.provider.connections import Timeouts
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from tests.support import chaos
from tests.support.chaos import Connection, Handler, Mode, answers, serving

PATIENT = Timeouts(connect_s=5, read_s=5, write_s=5, pool_s=5, whole_s=10)
HASTY = Timeouts(connect_s=0.2, read_s=0.2, write_s=0.2, pool_s=0.2, whole_s=2)
KIND = "image-to-video"
CREATED = b'{"id":"cmtwmxasp02q7h401s1vslohu","credits_charged":450}'


def client(base_url: str, timeouts: Timeouts = PATIENT) -> Client:
    return Client(base_url=base_url, key=API_KEY, timeouts=timeouts, read_wait_s=0)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("sandbox"), scale=0.1, credits=10_000_000)
    with launch.start(settings) as running:
        yield running.base_url


@pytest.fixture(scope="module")
def body(sandbox: str) -> dict[str, Any]:
    bearer = {"Authorization": f"Bearer {API_KEY}"}
    with httpx.Client(trust_env=False, base_url=sandbox) as http:
        items = {"items": [{"type": "image", "extension": "png"}]}
        target = http.post("/v1/files/upload-urls", json=items, headers=bearer).json()["items"][0]
        http.put(target["upload_url"], content=b"not looked at before it is rendered").raise_for_status()
    return {"end_seconds": 5, "assets": {"image_file_path": target["file_path"]}, "style": {"prompt": "x"}}


async def creates(sandbox: str, name: str) -> list[str]:
    async with httpx.AsyncClient(trust_env=False) as http:
        ledger = (await http.get(f"{sandbox}/_sandbox/ledger")).json()
    return [create["id"] for create in ledger["creates"] if create["name"] == name]


EXPECTED: dict[Mode, type[Exception] | None] = {
    Mode.PASS: None,
    Mode.TRICKLE: None,
    Mode.REFUSE: NeverSent,
    Mode.RESET_BEFORE: NoAnswer,
    Mode.RESET_IN_REQUEST: NoAnswer,
    Mode.STALL_BEFORE: NoAnswer,
    Mode.RESET_AFTER: NoAnswer,
    Mode.CLOSE_AFTER: NoAnswer,
    Mode.STALL_AFTER: NoAnswer,
    Mode.GARBAGE_AFTER: NoAnswer,
    Mode.CUT_HEAD: NoAnswer,
    Mode.CUT_BODY: NoAnswer,
    Mode.CUT_END: NoAnswer,
}
REPETITIONS = 5


@pytest.mark.parametrize("mode", Mode)
async def test_what_is_claimed_is_what_the_server_knows(sandbox: str, body: dict[str, Any], mode: Mode) -> None:
    timeouts = HASTY if "STALL" in mode.name else PATIENT
    port = int(sandbox.rpartition(":")[2])
    for _ in range(REPETITIONS):
        name = f"chaos {uuid4()}"
        async with chaos.proxy(port, mode) as proxy, client(proxy.url, timeouts) as provider:
            outcome: Any
            try:
                outcome = await provider.create(KIND, body | {"name": name})
            except (NeverSent, NoAnswer) as error:
                outcome = error
        known = await creates(sandbox, name)
        assert len(known) == (1 if mode in chaos.REACHES_SERVER else 0)
        assert proxy.accepted <= 1
        expected = EXPECTED[mode]
        if expected is None:
            assert [outcome.project_id] == known
            assert outcome.credits_charged > 0
        else:
            assert type(outcome) is expected
        if expected is NeverSent:
            assert not known
        if mode is Mode.CUT_END:
            assert [outcome.project_id] == known


async def failure(base_url: str, timeouts: Timeouts = PATIENT) -> Exception:
    async with client(base_url, timeouts) as provider:
        with pytest.raises((NeverSent, NoAnswer, Rejected)) as caught:
            await provider.create(KIND, {"name": "x"})
    return caught.value


# --- failures that prove that nothing was sent ---


async def test_a_name_that_does_not_exist() -> None:
    assert type(await failure("http://nonexistent.invalid")) is NeverSent


async def test_tls_to_a_server_that_speaks_garbage() -> None:
    async def handle(connection: Connection) -> None:
        await connection.send(chaos.GARBAGE)
        await chaos.silence(connection)

    async with serving(handle) as server:
        assert type(await failure(f"https://127.0.0.1:{server.port}")) is NeverSent


async def test_tls_to_a_server_that_resets_or_closes_the_handshake() -> None:
    async def reset(connection: Connection) -> None:
        await connection.reader.readexactly(10)
        connection.reset()

    async def close(connection: Connection) -> None:
        await connection.reader.readexactly(10)

    for handle in (reset, close):
        async with serving(handle) as server:
            assert type(await failure(f"https://127.0.0.1:{server.port}")) is NeverSent


async def test_tls_to_a_server_that_stalls_the_handshake() -> None:
    async with serving(chaos.silence) as server:
        assert type(await failure(f"https://127.0.0.1:{server.port}", HASTY)) is NeverSent


async def test_tls_with_a_certificate_nobody_vouches_for(certificate: ssl.SSLContext) -> None:
    async with serving(chaos.silence, tls=certificate) as server:
        error = await failure(f"https://127.0.0.1:{server.port}")
    assert type(error) is NeverSent
    assert "certificate" in str(error)


async def test_a_connection_that_never_comes() -> None:
    async with chaos.full_backlog() as port:
        assert type(await failure(f"http://127.0.0.1:{port}", HASTY)) is NeverSent


async def test_no_free_place_in_the_pool() -> None:
    places = 64
    timeouts = Timeouts(pool_s=1, read_s=60, whole_s=60)

    async def keep_waiting(connection: Connection) -> None:
        await connection.request()
        await chaos.silence(connection)

    async with serving(keep_waiting) as server, client(server.url, timeouts) as provider:
        busy = []
        for count in range(places):
            busy.append(asyncio.create_task(provider.create(KIND, {"name": "x"})))
            await server.until_requested(count + 1)
        with pytest.raises(NeverSent):
            await provider.create(KIND, {"name": "y"})
        assert server.accepted == places
        for task in busy:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*busy, return_exceptions=True)
        )


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1", "http://", "127.0.0.1:80"])
async def test_an_address_that_is_none(base_url: str) -> None:
    assert type(await failure(base_url)) is NeverSent


# --- sent once ---


async def test_a_lost_answer_is_not_asked_for_again() -> None:
    async def close(connection: Connection) -> None:
        await connection.request()

    async def reset(connection: Connection) -> None:
        await connection.request()
        connection.reset()

    for handle in (close, reset):
        async with serving(handle) as server:
            assert type(await failure(server.url)) is NoAnswer
            assert (server.accepted, len(server.requests)) == (1, 1)


async def test_each_request_has_a_connection_of_its_own() -> None:
    carried: list[int] = []

    async def handle(connection: Connection) -> None:
        number = len(carried)
        carried.append(0)
        while True:
            await connection.request()
            carried[number] += 1
            await connection.send(chaos.answer(CREATED))

    async with serving(handle) as server, client(server.url) as provider:
        for _ in range(3):
            created = await provider.create(KIND, {"name": "x"})
            assert created.project_id == "cmtwmxasp02q7h401s1vslohu"
        await server.until_accepted(4)
    assert carried == [1, 1, 1, 0]  # the last was opened for one that never came
    assert [request.header("connection") for request in server.requests] == ["close"] * 3


# --- connections that are opened ahead ---


async def test_the_next_connection_is_opened_while_a_request_is_under_way() -> None:
    async def handle(connection: Connection) -> None:
        await connection.request()
        if len(server.requests) == 2:  # of the third, nothing is known
            await server.until_accepted(3)
        await connection.send(chaos.answer(CREATED))

    async with serving(handle) as server, client(server.url) as provider:
        await provider.create(KIND, {"name": "x"})
        assert server.accepted == 1  # one alone makes no other likely
        await provider.create(KIND, {"name": "x"})
        await provider.create(KIND, {"name": "x"})
        assert len(server.requests) == 3


async def _speak(connection: Connection) -> None:
    await connection.send(CREATED)


async def _close(connection: Connection) -> None:
    await connection.close()


async def _reset(connection: Connection) -> None:
    connection.reset()
    await connection.close()


@pytest.mark.parametrize("spoil", [_speak, _close, _reset])
async def test_a_connection_opened_ahead_is_left_if_the_server_says_anything_on_it(spoil: Handler) -> None:
    """Its farewell included: what is sent on it would count as lost, and as perhaps paid for."""
    spoiled = asyncio.Event()

    async def handle(connection: Connection) -> None:
        if server.accepted == 3:
            await spoil(connection)
            spoiled.set()
            await chaos.silence(connection)
        await connection.request()
        if len(server.requests) == 2:
            await spoiled.wait()
        await connection.send(chaos.answer(CREATED))

    async with serving(handle) as server, client(server.url) as provider:
        for count in range(1, 5):
            assert (await provider.create(KIND, {"name": "x"})).project_id == "cmtwmxasp02q7h401s1vslohu"
            assert len(server.requests) == count


async def test_a_connection_opened_ahead_is_closed_if_no_request_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "AHEAD_S", 0.2)
    gone = asyncio.Event()

    async def handle(connection: Connection) -> None:
        if server.accepted == 3:
            await chaos.silence(connection)
            gone.set()
            return
        await connection.request()
        await connection.send(chaos.answer(CREATED))

    async with serving(handle) as server, client(server.url) as provider:
        for _ in range(2):
            await provider.create(KIND, {"name": "x"})
        await asyncio.wait_for(gone.wait(), 10)
        await provider.create(KIND, {"name": "x"})
        assert len(server.requests) == 3


async def test_a_connection_that_could_not_be_opened_ahead_proves_that_nothing_was_sent() -> None:
    async with answers(chaos.answer(CREATED)) as server, client(server.url) as provider:
        for _ in range(2):
            await provider.create(KIND, {"name": "x"})
        await server.until_accepted(3)
        server.accept_no_more()
        await provider.create(KIND, {"name": "x"})  # on the one that was opened before
        with pytest.raises(NeverSent):
            await provider.create(KIND, {"name": "x"})
        assert len(server.requests) == 3


async def test_a_request_that_is_cancelled_while_its_connection_is_opened_ahead_leaves_none_open() -> None:
    begun = asyncio.Event()

    async def stall(connection: Connection) -> None:
        begun.set()
        await chaos.silence(connection)

    async with serving(stall) as stalled, client(f"https://127.0.0.1:{stalled.port}") as provider:
        tasks = []
        for _ in range(3):
            tasks.append(asyncio.create_task(provider.create(KIND, {"name": "x"})))
            await asyncio.wait_for(begun.wait(), 10)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)


async def test_a_connection_opened_ahead_serves_where_no_other_can_be_opened() -> None:
    """Without a file descriptor that is free: to see that nothing has come on it takes none."""
    async with answers(chaos.answer(CREATED)) as server, client(server.url) as provider:
        for _ in range(2):
            await provider.create(KIND, {"name": "x"})
        await server.until_accepted(3)
        await _turns(50)  # until the connections before it are closed, at both ends
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            assert (await provider.create(KIND, {"name": "x"})).project_id == "cmtwmxasp02q7h401s1vslohu"
        finally:
            for each in taken:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_closing_or_giving_up_at_any_moment_leaves_no_connection_open() -> None:
    async with answers(chaos.answer(CREATED)) as server:
        for turns in range(24):
            await _closed_after(turns, server.url)
            await _given_up_after(turns, server.url)
            await _closed_in_vain_after(turns, server.url)
        gc.collect()  # what was left open warns then


async def _closed_after(turns: int, url: str) -> None:
    provider = client(url)
    await provider.create(KIND, {"name": "x"})
    task = asyncio.create_task(provider.create(KIND, {"name": "x"}))
    await _turns(turns)
    await provider.aclose()
    await asyncio.gather(task, return_exceptions=True)


async def _given_up_after(turns: int, url: str) -> None:
    """A request is cancelled, and cancelled again while it clears up."""
    async with client(url) as provider:
        for _ in range(2):
            await provider.create(KIND, {"name": "x"})
        task = asyncio.create_task(provider.create(KIND, {"name": "x"}))
        await _turns(turns)
        for _ in range(2):
            task.cancel()
            await _turns(1)
        await asyncio.gather(task, return_exceptions=True)


async def _closed_in_vain_after(turns: int, url: str) -> None:
    """Closing is cancelled itself."""
    provider = client(url)
    for _ in range(2):
        await provider.create(KIND, {"name": "x"})
    await _turns(turns)
    task = asyncio.create_task(provider.aclose())
    await _turns(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _turns(count: int) -> None:
    """Let everyone else go on so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_reads_keep_their_connection() -> None:
    async with answers(chaos.answer(b'{"credits":1}'), closing=False) as server, client(server.url) as provider:
        for _ in range(3):
            await provider.account()
        assert (server.accepted, len(server.requests)) == (1, 3)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with (
        answers(chaos.answer(CREATED)) as elsewhere,
        answers(chaos.answer(status=status, headers=f"Location: {elsewhere.url}/v1/{KIND}\r\n")) as server,
        client(server.url) as provider,
    ):
        with pytest.raises(Rejected) as caught:
            await provider.create(KIND, {"name": "x"})
        assert caught.value.status == status
        with pytest.raises(Rejected):
            await provider.account()
        assert elsewhere.accepted == 0
        assert len(server.requests) == 2


async def test_an_answer_that_never_ends_is_given_up() -> None:
    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + CREATED)
        while True:
            await connection.send(b" ")
            await asyncio.sleep(0)

    timeouts = Timeouts(read_s=5, whole_s=0.3)
    async with serving(handle) as server:
        error = await failure(server.url, timeouts)
    assert isinstance(error, NoAnswer)
    assert error.project_id == "cmtwmxasp02q7h401s1vslohu"


async def test_an_error_status_counts_though_its_body_breaks_off() -> None:
    cut = b'HTTP/1.1 402 Payment Required\r\nContent-Length: 500\r\n\r\n{"code":"insuff'
    async with answers(cut) as server:
        error = await failure(server.url)
    assert isinstance(error, Rejected)
    assert error.status == 402


# --- cancellation ---


async def test_a_request_that_is_cancelled_leaves_nothing_open() -> None:
    gone = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.reader.read()
        gone.set()

    async with serving(handle) as server, client(server.url) as provider:
        task = asyncio.create_task(provider.create(KIND, {"name": "x"}))
        await server.until_requested(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


def test_a_client_may_be_made_before_there_is_a_loop() -> None:
    provider = client("http://127.0.0.1:1")

    async def use() -> None:
        async with provider:
            with pytest.raises(NeverSent):
                await provider.create(KIND, {"name": "x"})

    asyncio.run(use())


async def test_closing_twice_or_unused_is_no_error() -> None:
    provider = client("http://127.0.0.1:1")
    await provider.aclose()
    await provider.aclose()


async def test_the_request_is_json_with_the_bearer() -> None:
    async with answers(chaos.answer(CREATED)) as server, client(server.url) as provider:
        await provider.create(KIND, {"name": "ünï", "end_seconds": 2.5})
    [request] = server.requests
    assert request.line == f"POST /v1/{KIND} HTTP/1.1"
    assert request.header("authorization") == f"Bearer {API_KEY}"
    assert request.header("content-type") == "application/json"
    assert json.loads(request.body) == {"name": "ünï", "end_seconds": 2.5}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's side of TLS whose certificate no authority signed."""
    path: Path = tmp_path_factory.mktemp("tls") / "self-signed.pem"
    path.write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


SELF_SIGNED = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZFmopMeAHusrrTyO
cPRo2jKVvsC25cmh2wrQx+W2MFKhRANCAAR3gy/iAJjLsWNDGV/In/cGhVp7qdk7
7Xv1FolIIvpaFvtKHG1Wymu+fLOu6qsFqtVeWWId0TwJaZlxdeMCDUD6
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUOuHsL8z7LnNT7s1xDS88jNN35JQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE0MjQwNFoYDzIxMjYxMDI4
MTQyNDA0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR3gy/iAJjLsWNDGV/In/cGhVp7qdk77Xv1FolIIvpaFvtKHG1Wymu+
fLOu6qsFqtVeWWId0TwJaZlxdeMCDUD6o1MwUTAdBgNVHQ4EFgQUFbZKHYiapLP3
Kgnfjmb4iOmwXIMwHwYDVR0jBBgwFoAUFbZKHYiapLP3Kgnfjmb4iOmwXIMwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAeLIJhiBlUmVhYNUYjEjMw
A7BSA4ARI57C7pUvFgn7rAIhAN/9XW/ovn6kduxxNql9anfanETVfy8+vaqAmDWh
oswo
-----END CERTIFICATE-----
"""
