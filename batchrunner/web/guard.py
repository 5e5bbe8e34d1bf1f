"""Who may read and who may act on a page that is served from this machine.

Any page in a browser may send requests to this machine, and a name that its owner points here makes them look like the
page's own. So the name that is asked for must be one of ours (RFC 9110, 7.4: 421), an action must come from our own
page (`Origin`) and bring the token, which no other page can know. Where others than this machine can reach it, the
token is needed for reading, too.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import hmac
import ipaddress
import secrets
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN: Final = "X-Batchrunner-Token"  # noqa: S105 - the header's name
COOKIE: Final = "batchrunner"
DATA: Final = "/api/"
"""Everything under it tells of a batch; the rest is the empty page."""

SESSION: Final = "/session"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """The rules of one start of the server, with its token; it shows in no text of this value."""

    def __init__(self, host: str, *, token: str | None = None, own: frozenset[str] = frozenset()) -> None:
        """Guard what listens on `host`; `own` are names of this machine, which nobody else can point here."""
        self._host = host.lower()
        self.token = token or secrets.token_urlsafe(24)
        self.is_local = is_loopback(host)
        self._own = own

    def __repr__(self) -> str:
        return f"Guard(host={self._host!r}, token=…)"

    @property
    def cookie(self) -> str:
        """What a browser keeps after it has shown the token; the token cannot be told from it."""
        return hashlib.sha256(f"cookie {self.token}".encode()).hexdigest()

    def knows(self, host: str | None) -> bool:
        """Whether a request was sent to a name of ours.

        An address in figures cannot be pointed elsewhere; any other name but ours can.
        """
        name = _name_of(host)
        if name is None:
            return False
        if self.is_local:
            return is_loopback(name)
        return name in {self._host, "localhost", *self._own} or _is_address(name)

    def may_read(self, headers: Headers) -> bool:
        """Whether a request may be told of batches."""
        return self.is_local or self.has_token(headers) or self._has_cookie(headers)

    def has_token(self, headers: Headers) -> bool:
        """Whether a request brings the token."""
        return hmac.compare_digest(headers.get(TOKEN, "").encode(), self.token.encode())

    def is_our_page(self, headers: Headers) -> bool:
        """Whether a request that changes something comes from a page of ours."""
        origin, host = headers.get("origin"), headers.get("host")
        if origin is None or host is None:
            return False
        try:
            return urlsplit(origin).netloc == host
        except ValueError:
            return False

    def _has_cookie(self, headers: Headers) -> bool:
        # By hand: a cookie that another server of this host has set, and that is none, must not hide ours.
        pairs = (pair.strip().partition("=") for each in headers.getlist("cookie") for pair in each.split(";"))
        given = [value.encode() for name, _, value in pairs if name == COOKIE]
        return any(hmac.compare_digest(value, self.cookie.encode()) for value in given)


def _name_of(host: str | None) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname if host else None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def guarded(app: ASGIApp, guard: Guard) -> ASGIApp:
    """The application behind its guard; every answer has the headers that keep a page to itself."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = _refusal(scope, guard)
        answer = app if refusal is None else JSONResponse({"error": refusal[1]}, status_code=refusal[0])
        await answer(scope, receive, _with_headers(send))

    return serve


def _refusal(scope: Scope, guard: Guard) -> tuple[int, str] | None:
    headers = Headers(scope=scope)
    if not guard.knows(headers.get("host")):
        return 421, "this is not the name of this server"
    if scope["method"] not in {"GET", "HEAD"}:
        if not guard.is_our_page(headers):
            return 403, "this did not come from the dashboard's own page"
        if not guard.has_token(headers):
            return 403, "the token is missing or is not that of this start; open the address that was printed"
    elif scope["path"].startswith(DATA) and not guard.may_read(headers):
        return 401, "the token is needed; open the address that was printed"
    return None


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sent
