"""Where a presigned address may lead: never into our own network, unless the API itself is there.

An address comes from the provider, or from whoever speaks in its place. On a machine inside a company or a cloud, a
download from `http://169.254.169.254/…` would bring home what only that machine may read, and an upload would deliver
it. So every address is held against these rules when the connection is made, and every name against what it resolves
to at that moment: a name that first leads elsewhere and then here gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
import errno
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
import re
from urllib.parse import urlsplit

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
"""Names that no public server has (RFC 6761, RFC 6762, RFC 8375, ICANN 2024 for `internal`; `lan` by usage)."""

_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")


class Forbidden(OSError):
    """A connection that is not made; `strerror` says why."""

    def __init__(self, words: str) -> None:
        super().__init__(errno.EACCES, words)


def is_public(address: str) -> bool:
    """Whether an IP address, as text, is one of the open internet."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        return _is_public_v6(found)
    return _is_public_v4(found)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_public_v6(address: IPv6Address) -> bool:
    within = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        within = IPv4Address(int(address) & 0xFFFFFFFF)
    if within is not None:
        return _is_public_v4(within)
    return address in _GLOBAL_V6 and address.is_global and not address.is_multicast and address.scope_id is None


def _is_local_name(host: str) -> bool:
    return host == "localhost" or "." not in host or host.endswith(_LOCAL_SUFFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The rules for one API.

    Attributes:
        allows_local: the API is on this machine or in this network, and its storage may be, too.
        needs_tls: the API is spoken to over TLS, and its storage must be, too.
    """

    allows_local: bool
    needs_tls: bool

    def check(self, *, scheme: str, host: str | None, has_user: bool) -> None:
        """Nothing, if a connection may be tried; a name is checked again by what it resolves to.

        Raises:
            Forbidden: it may not; the text holds nothing of the address but its host.
        """
        if scheme not in {"http", "https"}:
            raise Forbidden("an address of storage must begin with http:// or https://")
        if self.needs_tls and scheme != "https":
            raise Forbidden("the storage was named without TLS, and the API has it")
        if has_user:
            raise Forbidden("an address of storage with a user name in it is not used")
        if not host:
            raise Forbidden("an address of storage without a host is not used")
        if not self.allows_local:
            _check_host(host)

    def check_resolved(self, host: str, addresses: list[str]) -> None:
        """Nothing, if a name may be connected to under all that it resolves to.

        Raises:
            Forbidden: it leads into a network of our own.
        """
        inside = [] if self.allows_local else [each for each in addresses if not is_public(each)]
        if inside:
            raise Forbidden(f"{host} leads to {inside[0]}, which is not on the open internet")


def _check_host(host: str) -> None:
    plain = host.strip("[]").rstrip(".").lower()
    if ":" in plain or _is_dotted(plain):
        if plain != host.strip("[]").lower() or not is_public(plain):
            raise Forbidden(f"{host} is not on the open internet")
    elif _NUMBER.fullmatch(plain.rpartition(".")[2]):
        # Half of the world's software reads 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1.
        raise Forbidden(f"{host} is an odd way to write a number")
    elif _is_local_name(plain):
        raise Forbidden(f"{host} is a name of our own network")


def _is_dotted(host: str) -> bool:
    """Whether it is an IPv4 address in the only form in which nobody can take it for another."""
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


def guard_of(base_url: str) -> Guard:
    """The rules that follow from where the API is."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").rstrip(".")
    try:
        ip_address(host)
        is_local = not is_public(host)
    except ValueError:
        is_local = _is_local_name(host)
    return Guard(allows_local=is_local, needs_tls=parts.scheme == "https")
