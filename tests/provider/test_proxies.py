"""Proxies: which one carries a connection, what it gets to see, and what a failure there proves."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
import json
from pathlib import Path
import ssl
import traceback

import pytest

from batchrunner.access import access
from batchrunner.errors import NeverSent, NoAnswer, TransferError, UsageError
from batchrunner.provider.client import Client
from batchrunner.provider.connections import Timeouts
from batchrunner.provider.proxies import Proxies, Proxy, proxies_of
from tests.support import chaos
from tests.support.chaos import Connection, answers, serving, tunnelling

KEY = "mhk_secret_0123456789"
API = "https://api.example.com"
STORED = "https://storage.example.com/a.mp4?sig=SIGNED"
HASTY = Timeouts(connect_s=0.5, read_s=0.5, write_s=0.5, pool_s=0.5, whole_s=2)
PATIENT = Timeouts(connect_s=20, read_s=20, write_s=20, pool_s=20)
LOGIN = "Basic " + b64encode(b"me:p@ss").decode()


def carried_by(port: int, *, host: str = "127.0.0.1", no_proxy: str = "") -> Proxies:
    return proxies_of({"HTTPS_PROXY": f"http://me:p%40ss@{host}:{port}", "NO_PROXY": no_proxy})


def client(proxies: Proxies, *, base_url: str = API, timeouts: Timeouts = PATIENT) -> Client:
    return Client(base_url=base_url, key=KEY, proxies=proxies, timeouts=timeouts, read_attempts=1)


async def pieces(*these: bytes) -> AsyncIterator[bytes]:
    for piece in these:
        yield piece


# --- which one ---


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": " "}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, Proxy(url="http://p:3128", name="HTTPS_PROXY")),
        ({"ALL_PROXY": "p:3128"}, Proxy(url="http://p:3128", name="ALL_PROXY")),
        ({"ALL_PROXY": "http://a", "HTTPS_PROXY": "http://b/"}, Proxy(url="http://b:80", name="HTTPS_PROXY")),
        ({"HTTPS_PROXY": "http://b", "https_proxy": "http://c"}, Proxy(url="http://c:80", name="https_proxy")),
        ({"HTTPS_PROXY": "https://[::1]"}, Proxy(url="https://[::1]:443", name="HTTPS_PROXY")),
        (
            {"HTTPS_PROXY": "http://me:p%40ss@p:1"},
            Proxy(url="http://p:1", name="HTTPS_PROXY", authorization=LOGIN),
        ),
    ],
)
def test_the_first_variable_that_is_set_counts(environ: dict[str, str], proxy: Proxy | None) -> None:
    assert proxies_of(environ).proxy == proxy


@pytest.mark.parametrize(
    "text", ["socks5://p:1", "ftp://p", "http://", "http://p:port", "http://[", "http://p q", "p:99999"]
)
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(text: str) -> None:
    text = text.replace("://", "://me:sesame@") if text.startswith("s") else text
    with pytest.raises(UsageError, match="HTTPS_PROXY") as caught:
        access({"MAGIC_HOUR_API_KEY": KEY, "HTTPS_PROXY": text})
    assert "sesame" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint is not None
    assert "http://host:port" in caught.value.hint


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_direct"),
    [
        ("", "api.example.com", False),
        ("*", "api.example.com", True),
        ("example.com", "api.example.com", True),
        (".example.com", "API.Example.com.", True),
        ("*.example.com", "api.example.com", True),
        ("ample.com", "api.example.com", False),
        ("other.com, example.com", "api.example.com", True),
        ("example.com:443", "api.example.com", True),
        ("example.com:8443", "api.example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("::1", "[::1]", True),
        ("fd00::/8", "[fd12::1]", True),
        (" , ,", "api.example.com", False),
    ],
)
def test_no_proxy_names_what_is_spoken_to_directly(no_proxy: str, host: str, *, is_direct: bool) -> None:
    proxies = proxies_of({"HTTPS_PROXY": "http://p:1", "no_proxy": no_proxy})
    assert (proxies.of(scheme="https", host=host, port=None) is None) is is_direct


def test_without_tls_nothing_goes_through_a_proxy() -> None:
    proxies = proxies_of({"ALL_PROXY": "http://p:1"})
    assert proxies.of(scheme="http", host="api.example.com", port=80) is None


# --- what it gets to see ---


async def test_everything_with_tls_goes_through_tunnels_and_the_proxy_sees_only_where_to(tls: ssl.SSLContext) -> None:
    said = json.dumps({"id": "cmtwmxasp02q7h401s1vslohu", "credits": 7, "status": "queued"}).encode()
    async with (
        serving(chaos.answering(chaos.answer(said)), tls=tls) as far,
        tunnelling(far.port) as proxy,
        client(carried_by(proxy.port)) as provider,
    ):
        assert (await provider.account()).credits == 7
        await provider.create("image-to-video", {"name": "x"})
        await provider.put(STORED, pieces(b"abc"), length=3)
        async with provider.fetch(STORED) as reply:
            assert b"".join([chunk async for chunk in reply.chunks()]) == said
    assert [request.line for request in proxy.requests] == [
        "CONNECT api.example.com:443 HTTP/1.1",
        "CONNECT api.example.com:443 HTTP/1.1",
        "CONNECT storage.example.com:443 HTTP/1.1",
        "CONNECT storage.example.com:443 HTTP/1.1",
    ]
    for request in proxy.requests:
        assert request.header("proxy-authorization") == LOGIN
        assert request.header("authorization") is None
        assert KEY.encode() not in request.head
        assert b"SIGNED" not in request.head
    assert [request.line.split()[0] for request in far.requests] == ["GET", "POST", "PUT", "GET"]
    assert [request.header("authorization") for request in far.requests] == [f"Bearer {KEY}"] * 2 + [None] * 2
    assert [request.header("proxy-authorization") for request in far.requests] == [None] * 4


async def test_a_plain_address_is_spoken_to_directly() -> None:
    async with answers(chaos.answer(b'{"credits": 7}')) as near:
        proxies = carried_by(chaos.closed_port())
        async with client(proxies, base_url=near.url) as provider:
            assert (await provider.account()).credits == 7


async def test_a_host_that_no_proxy_names_is_spoken_to_directly(tls: ssl.SSLContext) -> None:
    async with (
        serving(chaos.answering(chaos.answer(b'{"credits": 7}')), tls=tls) as near,
        tunnelling(near.port) as proxy,
    ):
        async with client(
            carried_by(proxy.port, no_proxy="localhost"), base_url=f"https://localhost:{near.port}"
        ) as provider:
            assert (await provider.account()).credits == 7
        assert proxy.accepted == 0


# --- what a failure proves ---


async def created(proxies: Proxies, timeouts: Timeouts = PATIENT) -> Exception:
    async with client(proxies, timeouts=timeouts) as provider:
        with pytest.raises((NeverSent, NoAnswer)) as caught:
            await provider.create("image-to-video", {"name": "x"})
    told = "".join(traceback.format_exception(caught.value))
    assert "p@ss" not in told
    assert "p%40ss" not in told
    assert LOGIN not in told
    return caught.value


async def test_a_proxy_that_is_not_there_proves_that_nothing_was_sent() -> None:
    for proxies in (carried_by(chaos.closed_port()), carried_by(1, host="nonexistent.invalid")):
        assert type(await created(proxies)) is NeverSent


@pytest.mark.parametrize(
    "refusal",
    [
        chaos.answer(status="407 Proxy Authentication Required"),
        chaos.answer(b"<html>blocked</html>", status=403),
        chaos.answer(status=502),
        chaos.answer(status=302, headers="Location: https://elsewhere.example.com/\r\n"),
        chaos.GARBAGE,
        b"HTTP/1.1 200",
        b"",
    ],
)
async def test_a_tunnel_that_does_not_come_about_proves_that_nothing_was_sent(refusal: bytes) -> None:
    async with tunnelling(1, refusal=refusal) as proxy:
        error = await created(carried_by(proxy.port))
    assert type(error) is NeverSent, error
    assert f"127.0.0.1:{proxy.port}" in str(error), "which proxy it was"
    assert len(proxy.requests) == 1


async def test_a_proxy_that_resets_or_says_nothing_proves_that_nothing_was_sent() -> None:
    async def reset(connection: Connection) -> None:
        await connection.head()
        connection.reset()

    async with serving(reset) as proxy:
        assert type(await created(carried_by(proxy.port))) is NeverSent
    async with serving(chaos.silence) as proxy:
        assert type(await created(carried_by(proxy.port), HASTY)) is NeverSent


async def test_a_tunnel_that_breaks_in_the_handshake_proves_that_nothing_was_sent(tls: ssl.SSLContext) -> None:
    async with serving(chaos.silence, tls=tls) as far, tunnelling(far.port, cut_after=1) as proxy:
        assert type(await created(carried_by(proxy.port))) is NeverSent


async def test_an_answer_that_is_lost_in_the_tunnel_proves_nothing(tls: ssl.SSLContext) -> None:
    async def reset(connection: Connection) -> None:
        await connection.request()
        connection.reset()

    async with serving(reset, tls=tls) as far, tunnelling(far.port) as proxy:
        assert type(await created(carried_by(proxy.port))) is NoAnswer
        assert len(far.requests) == 1


async def test_a_server_behind_the_proxy_must_be_who_it_says(tls: ssl.SSLContext) -> None:
    async with (
        serving(chaos.silence, tls=tls) as far,
        tunnelling(far.port) as proxy,
        client(carried_by(proxy.port), base_url="https://other.example.org") as provider,
    ):
        with pytest.raises(NeverSent, match="certificate"):
            await provider.create("image-to-video", {"name": "x"})


# --- our own network ---


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "127.0.0.1", "[::1]", "localhost", "metadata.google.internal", "intranet", "2130706433"]
)
async def test_a_storage_in_our_own_network_is_not_asked_of_the_proxy_either(host: str) -> None:
    async with tunnelling(1) as proxy, client(carried_by(proxy.port)) as provider:
        with pytest.raises(TransferError):
            await provider.put(f"https://{host}/x", pieces(b"abc"), length=3)
    assert proxy.accepted == 0


async def test_a_proxy_with_a_name_in_our_own_network_is_used_for_storage(tls: ssl.SSLContext) -> None:
    async with serving(chaos.answering(chaos.answer()), tls=tls) as far, tunnelling(far.port) as proxy:
        async with client(carried_by(proxy.port, host="localhost")) as provider:
            await provider.put(STORED, pieces(b"abc"), length=3)
        assert [request.line for request in far.requests] == ["PUT /a.mp4?sig=SIGNED HTTP/1.1"]


async def test_a_name_that_is_exempt_for_being_the_proxys_is_no_storage() -> None:
    proxies = carried_by(chaos.closed_port(), host="proxy.example.net", no_proxy="proxy.example.net")
    async with client(proxies) as provider:
        with pytest.raises(TransferError, match="the proxy itself is named as a storage"):
            await provider.put("https://proxy.example.net/x", pieces(b"abc"), length=3)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS for the names above, with a certificate that this process trusts."""
    path = tmp_path / "trusted.pem"
    path.write_text(TRUSTED)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


TRUSTED = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrJE9EHrjOkhQs1DP
YbOVaL6FJQ0Mw+mgNJ9vsY4361KhRANCAAQA7KZ86ABA3vFKiTonCRtdJq5d5P4M
GK3i1VBJU8d8joi4fEuQQahKen22SOEJ6g/xYk70VLu+U7mwGQAjf4Qb
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBjTCCATOgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABADspnzoAEDe8UqJ
OicJG10mrl3k/gwYreLVUElTx3yOiLh8S5BBqEp6fbZI4QnqD/FiTvRUu75TubAZ
ACN/hBujdDByMEAGA1UdEQQ5MDeCCWxvY2FsaG9zdIIPYXBpLmV4YW1wbGUuY29t
ghNzdG9yYWdlLmV4YW1wbGUuY29thwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wHQYD
VR0OBBYEFL+6OxdO6Bm0CuEDFqiCOgboQtuQMAoGCCqGSM49BAMCA0gAMEUCIQCi
LY8/5Vs8NbKRHCagwJk6t2lT0xhDD9glPMX4DDDUtQIgXYIjSS/B8iNIsGxFv5Jg
7paFZm5Z0qX4uAZYLxzqb+c=
-----END CERTIFICATE-----
"""
