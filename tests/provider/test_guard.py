"""Where a presigned address may lead, and that nothing gets past the rules on the way to a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
import socket
import traceback

from aiohttp.abc import AbstractResolver, ResolveResult
import httpx
import pytest

from batchrunner.errors import TransferError
from batchrunner.provider import guard
from batchrunner.provider.client import Client
from batchrunner.provider.connections import Connections, GuardedResolver, Timeouts
from batchrunner.provider.courier import Courier
from batchrunner.provider.guard import Forbidden, guard_of
from tests.support import chaos
from tests.support.chaos import answers

PUBLIC = "https://api.magichour.ai"
PLAIN = "http://api.example.com"

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2001::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "no address",
]
OUTSIDE = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside(address: str) -> None:
    assert not guard.is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_outside(address: str) -> None:
    assert guard.is_public(address)


@pytest.mark.parametrize(
    ("base_url", "is_local"),
    [
        (PUBLIC, False),
        (PLAIN, False),
        ("https://1.1.1.1:8443", False),
        ("https://[2606:4700::1111]", False),
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("http://192.168.0.7", True),
        ("https://render-farm", True),
        ("https://render.internal", True),
    ],
)
def test_where_the_api_is_decides(base_url: str, *, is_local: bool) -> None:
    found = guard_of(base_url)
    assert (found.allows_local, found.needs_tls) == (is_local, base_url.startswith("https"))


REFUSED = [
    "http://127.0.0.1:{port}/a",
    "http://127.0.0.1.:{port}/a",
    "http://2130706433:{port}/a",
    "http://0x7f000001:{port}/a",
    "http://0x7f.1:{port}/a",
    "http://0177.0.0.1:{port}/a",
    "http://127.1:{port}/a",
    "http://0:{port}/a",
    "http://[::1]:{port}/a",
    "http://[::ffff:127.0.0.1]:{port}/a",
    "http://[64:ff9b::7f00:1]:{port}/a",
    "http://localhost:{port}/a",
    "http://LOCALHOST.:{port}/a",
    "http://x.localhost:{port}/a",
    "http://metadata.google.internal:{port}/a",
    "http://printer:{port}/a",
    "http://169.254.169.254/latest/meta-data/",
    "http://user:SECRET@127.0.0.1:{port}/a",
    "http://user:SECRET@example.com/a",
    "http://:SECRET@example.com/a",
    "file:///etc/passwd",
    "ftp://example.com/a",
    "http:///a",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_an_address_that_leads_inside_is_never_connected_to(url: str) -> None:
    async with answers(chaos.answer(b"abc")) as server, Client(base_url=PLAIN, key="k") as provider:
        url = url.format(port=server.port) + "?sig=SIGNED"
        for attempt in (_put(provider, url), _get(provider, url)):
            with pytest.raises(TransferError) as caught:
                await attempt
            told = "".join(traceback.format_exception(caught.value))
            assert "SIGNED" not in told
            assert "SECRET" not in told
        assert server.accepted == 0


async def test_the_same_address_is_used_where_the_api_is_here_too() -> None:
    async with answers(chaos.answer(b"abc")) as server, Client(base_url="http://localhost:1", key="k") as provider:
        await _get(provider, f"http://127.0.0.1:{server.port}/a")
        await _put(provider, f"http://localhost:{server.port}/a")
        assert server.accepted == 2


async def test_an_api_with_tls_has_storage_with_tls() -> None:
    async with Client(base_url=PUBLIC, key="k") as provider:
        with pytest.raises(TransferError, match="the storage was named without TLS"):
            await _get(provider, "http://example.com/a")


class Names(AbstractResolver):
    """A name server under somebody else's control: another answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        self._left = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self._left.pop(0)
        ]

    async def close(self) -> None:
        self._left.clear()


async def test_a_name_is_judged_by_what_it_leads_to_now() -> None:
    names = GuardedResolver(Names(["1.1.1.1"], ["127.0.0.1"], ["1.1.1.1", "::1"], []), guard_of(PUBLIC))
    assert [each["host"] for each in await names.resolve("a.example", 443)] == ["1.1.1.1"]
    for inside in ("127.0.0.1", "::1"):
        with pytest.raises(Forbidden, match=rf"a\.example leads to {inside}, which is not on the open internet"):
            await names.resolve("a.example", 443)
    assert await names.resolve("a.example", 443) == []
    await names.close()


@pytest.mark.parametrize("way", ["downloads", "uploads"])
async def test_a_name_that_leads_inside_is_never_connected_to(way: str) -> None:
    async with answers(chaos.answer(b"abc")) as server, Client(base_url=PLAIN, key="k") as provider:
        owned = provider._owned
        assert owned is not None
        session = owned._sessions[way]
        session()
        assert session._session is not None
        session._session.connector._resolver = GuardedResolver(Names(["127.0.0.1"]), guard_of(PLAIN))  # type: ignore[union-attr]
        ask = _get if way == "downloads" else _put
        with pytest.raises(TransferError, match=r"files\.example leads to 127\.0\.0\.1") as caught:
            await ask(provider, f"http://files.example:{server.port}/a?sig=SIGNED")
        assert "SIGNED" not in str(caught.value)
        assert server.accepted == 0


class _Redirecting(httpx.AsyncBaseTransport):
    """The first answer, from a public host, leads to one of ours; whatever follows goes to the real connections."""

    def __init__(self, beneath: httpx.AsyncBaseTransport, target: str) -> None:
        self._beneath = beneath
        self._target = target

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "videos.magichour.ai":
            return httpx.Response(302, headers={"Location": self._target}, request=request)
        return await self._beneath.handle_async_request(request)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_redirect_leads_no_further_than_an_address(scheme: str) -> None:
    connections = Connections(guard_of(f"{scheme}://api.magichour.ai"))
    async with answers(chaos.answer(b"secret")) as server:
        transport = _Redirecting(connections.transports().storage, server.url)
        fetching = Courier(transport, Timeouts(), owned=connections)
        with pytest.raises(TransferError, match="open internet" if scheme == "http" else "without TLS"):
            async with fetching.fetch(f"{scheme}://videos.magichour.ai/x"):
                pass
        await fetching.aclose()
        assert server.accepted == 0


async def _get(provider: Client, url: str) -> None:
    async with provider.fetch(url) as reply:
        assert [chunk async for chunk in reply.chunks()]


async def _put(provider: Client, url: str) -> None:
    await provider.put(url, _one(), length=1)


async def _one() -> AsyncIterator[bytes]:
    yield b"a"
