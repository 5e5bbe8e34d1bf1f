"""Which proxy of the environment carries a connection, if any.

`HTTPS_PROXY` or `ALL_PROXY`, in either case of letters, the lower one first, as curl has it; `NO_PROXY` names hosts
that are spoken to directly. Only connections with TLS go through a proxy: it makes a tunnel (`CONNECT`) and sees where
that leads, and neither the key nor a signature nor a file. What has no TLS is a sandbox on this machine, and
`HTTP_PROXY` is of no use for it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from batchrunner.errors import UsageError

NAMES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The first that is set counts; one that is set to nothing is as good as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy.

    Attributes:
        url: where it is, without user and password.
        name: the variable that names it.
        authorization: what it is to be shown, if anything; a secret.
    """

    url: str
    name: str
    authorization: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Its host."""
        return urlsplit(self.url).hostname or ""

    @property
    def headers(self) -> dict[str, str]:
        """What the request for a tunnel carries, and nothing else does."""
        return {} if self.authorization is None else {"Proxy-Authorization": self.authorization}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxy, and the hosts that it is not for; without arguments, none.

    Attributes:
        proxy: the one for every connection with TLS.
        direct: hosts without it, in lower case: `*`, addresses, networks, and names, which stand for what is below
            them, too; all but the networks may have a port.
    """

    proxy: Proxy | None = None
    direct: tuple[str, ...] = ()

    def of(self, *, scheme: str, host: str | None, port: int | None) -> Proxy | None:
        """The proxy that carries a connection; None for one that is made directly."""
        if self.proxy is None or scheme != "https" or not host:
            return None
        name = host.strip("[]").rstrip(".").lower()
        return None if any(_fits(entry, name, port or 443) for entry in self.direct) else self.proxy


def proxies_of(environ: Mapping[str, str]) -> Proxies:
    """What the environment asks for.

    Raises:
        UsageError: it names a proxy of a sort that we cannot use.
    """
    name = next((each for each in NAMES if environ.get(each, "").strip()), None)
    if name is None:
        return Proxies()
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    direct = tuple(entry.strip().lower() for entry in listed.split(",") if entry.strip())
    return Proxies(proxy=_proxy(name, environ[name].strip()), direct=direct)


def _proxy(name: str, text: str) -> Proxy:
    hint = f"write it as http://host:port, or unset {name} to connect directly"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port, host, user = parts.port, parts.hostname, parts.username
    except ValueError:  # a port that is no number, a bracket that is not closed
        raise UsageError(f"{name} is no address of a proxy", hint=hint) from None
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"{name} names a proxy of the sort {parts.scheme}://, which is not supported", hint=hint)
    if not host or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"{name} is no address of a proxy", hint=hint)
    shown = f"[{host}]" if ":" in host else host
    usual = 443 if parts.scheme == "https" else 80
    authorization = None
    if user is not None:
        secret = f"{unquote(user)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(secret.encode()).decode()}"
    return Proxy(url=f"{parts.scheme}://{shown}:{port or usual}", name=name, authorization=authorization)


def _fits(entry: str, host: str, port: int) -> bool:
    """Whether an entry of `NO_PROXY` is about a host."""
    if entry == "*":
        return True
    named, _, of_port = entry.rpartition(":")
    if named and of_port.isdigit() and (":" not in named or named.startswith("[")):
        if int(of_port) != port:
            return False
        entry = named
    entry = entry.strip("[]").removeprefix("*").strip(".")
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:  # one of both is a name
        return bool(entry) and (host == entry or host.endswith(f".{entry}"))
