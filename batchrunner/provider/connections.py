"""The connections beneath the client: aiohttp beneath httpx, one session a purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
import os
import socket
import ssl
from typing import Any, Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from batchrunner.provider.connector import Connector, FreshConnector
from batchrunner.provider.guard import Forbidden, Guard
from batchrunner.provider.lean import AiohttpResponseStream, AiohttpTransport, httpx
from batchrunner.provider.proxies import Proxies


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds that each part of a request may take; a transfer as a whole has no limit.

    Attributes:
        connect_s: for one attempt to connect to one address.
        read_s: between two pieces of an answer, and for as much of a download as the least speed allows.
        write_s: for the peer to take as much of an upload as the least speed allows, or the last of it.
        pool_s: for a connection, the wait for a free place, name lookup and TLS included.
        whole_s: for one request to the API, from the first to the last byte.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    write_s: float = 60.0
    pool_s: float = 30.0
    whole_s: float = 120.0


BUFFER = 1024 * 1024
"""Bytes of an answer that may have come and wait to be read, and twice that for a moment. With a quarter of it, a large
download was stopped and begun again all the time, which took a fifth of its processor time."""

AiohttpResponseStream.CHUNK_SIZE = BUFFER
"""Bytes given on at a time, at the most. In pieces of 16 KiB, as it has it, a large download is all bookkeeping."""

Transport = httpx.AsyncBaseTransport

Opens = Callable[..., Connector]
"""Makes what opens connections for a session, with the options of aiohttp's `TCPConnector`."""

MOST = 64
"""Connections of one purpose at the same time."""

KEPT: Opens = partial(Connector, keepalive_timeout=30.0)
CLOSED: Opens = partial(Connector, force_close=True)
"""After a request, its connection waits for the next one; or is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transports:
    """What carries the requests; handed in by tests that need a hand on the wire."""

    api: Transport
    paid: Transport
    storage: Transport


class Connections:
    """The real connections: aiohttp beneath httpx, one session a purpose; the guard is for storage alone."""

    def __init__(self, guard: Guard, proxies: Proxies | None = None) -> None:
        proxies = proxies or Proxies()
        self._sessions = {
            "api": _Session(KEPT, proxies=proxies),
            "paid": _Session(FreshConnector, proxies=proxies),
            # Not kept either: aiohttp repeats a PUT on a kept connection that died, with a body already read.
            "uploads": _Session(CLOSED, proxies=proxies, guard=guard),
            "downloads": _Session(KEPT, proxies=proxies, guard=guard),
        }

    def transports(self) -> Transports:
        # Whom to trust, the sessions know. Left to itself, each transport reads all certificates again, for nothing.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made = {name: AiohttpTransport(verify=nobody, client=session) for name, session in self._sessions.items()}
        storage = _Storage(uploads=made["uploads"], downloads=made["downloads"])
        return Transports(api=made["api"], paid=made["paid"], storage=storage)

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.aclose()


def _trusted() -> ssl.SSLContext | Literal[True]:
    """Whom to trust, by the environment; else as aiohttp, which has read what the system does."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return _trusted_by(file, folder) if file or folder else True


@lru_cache(maxsize=8)
def _trusted_by(file: str | None, folder: str | None) -> ssl.SSLContext:  # noqa: ARG001 - what OpenSSL goes by
    """The same by these variables; once, since it takes 30 ms."""
    return ssl.create_default_context()


class _Storage(httpx.AsyncBaseTransport):
    """Downloads go over kept connections, all else over fresh ones."""

    def __init__(self, *, uploads: Transport, downloads: Transport) -> None:
        self._uploads = uploads
        self._downloads = downloads

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._downloads if request.method == "GET" else self._uploads
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in (self._uploads, self._downloads):
            await transport.aclose()


class _Session:
    """An aiohttp session that sends addresses as they stand.

    aiohttp rewrites `%2F` in a query to `/`, and a presigned address is signed as it was written. The transport takes
    any callable that gives a session, and asks it before each request; so this is both.
    """

    def __init__(self, opens: Opens, *, proxies: Proxies, guard: Guard | None = None) -> None:
        self._opens = opens
        self._guard = guard
        self._proxies = proxies
        self._options: dict[str, Any] = {"limit": MOST}
        self._session: aiohttp.ClientSession | None = None

    def __call__(self) -> Any:
        if self._session is None:  # made here, since aiohttp wants a running loop
            if self._guard is not None:
                proxy = self._proxies.proxy
                unguarded = None if proxy is None else proxy.host
                self._options["resolver"] = GuardedResolver(
                    aiohttp.ThreadedResolver(), self._guard, unguarded=unguarded
                )
            self._session = aiohttp.ClientSession(
                connector=self._opens(**self._options),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=BUFFER,
            )
        return self

    def request(self, *, method: str, url: str, **options: Any) -> Any:
        assert self._session is not None
        address = URL(url, encoded=True)
        if address.scheme == "https":
            options["ssl"] = _trusted()
        proxy = self._proxies.of(scheme=address.scheme, host=address.host, port=address.port)
        if self._guard is not None:
            self._guard.check(scheme=address.scheme, host=address.host, has_user=address.user is not None)
            if proxy is None and self._proxies.proxy is not None and address.host == self._proxies.proxy.host:
                # Of all names, this one is not held against what it resolves to.
                raise Forbidden("the proxy itself is named as a storage")
        if proxy is not None:
            options |= {"proxy": proxy.url, "proxy_headers": proxy.headers}
        return _Exchange(self._session.request(method, address, **options))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class GuardedResolver(AbstractResolver):
    """Names to addresses, but for those that the guard does not let through; the connection goes to what it gives.

    A proxy of our own network is `unguarded`. It resolves what goes through it; of that, the guard sees the name alone.
    """

    def __init__(self, beneath: AbstractResolver, guard: Guard, *, unguarded: str | None = None) -> None:
        self._beneath = beneath
        self._guard = guard
        self._unguarded = unguarded

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._beneath.resolve(host, port, family)
        if host != self._unguarded:
            self._guard.check_resolved(host, [each["host"] for each in found])
        return found

    async def close(self) -> None:
        await self._beneath.close()


class _Exchange:
    """One request under way. The transport encodes the reason phrase strictly, and stumbles over bytes that are none.

    It would do so after the answer came, with an error that names no connection and leaves the answer open.
    """

    def __init__(self, pending: Any) -> None:
        self._pending = pending

    async def __aenter__(self) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self._pending.__aenter__()
        response.reason = (response.reason or "").encode("ascii", "replace").decode()
        return response


class Carrier:
    """Sends what it is told and nothing else: no cookies, no redirects, no password of the environment.

    What httpx's own client does beyond that, for each request, costs more than the request.
    """

    def __init__(
        self, transport: Transport, timeouts: Timeouts, *, headers: Mapping[str, str], base_url: str = ""
    ) -> None:
        """Send `headers` with everything; addresses that are only a path are behind `base_url`."""
        self._transport = transport
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept": "*/*", "Connection": "keep-alive"} | dict(headers)
        timeout = httpx.Timeout(
            connect=timeouts.connect_s, read=timeouts.read_s, write=timeouts.write_s, pool=timeouts.pool_s
        )
        self._extensions = {"timeout": timeout.as_dict()}

    def build_request(
        self,
        method: str,
        address: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        json: object = None,
    ) -> httpx.Request:
        """A request for `send`; the address is whole, or a path that begins with a slash."""
        return httpx.Request(
            method,
            self._base_url + address if address.startswith("/") else address,
            headers=self._headers | dict(headers or {}),
            content=content,
            json=json,
            extensions=self._extensions,
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The head of the answer; its body is still to come, and it must be closed.

        Raises:
            httpx.HTTPError, aiohttp.ClientError: as its transport.
        """
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    async def aclose(self) -> None:
        """Close what carries it."""
        await self._transport.aclose()
