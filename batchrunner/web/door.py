"""Where a run listens for notices, and with which secret. Apart, so that a run that does not listen loads no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchrunner.core.manifest import Webhooks
from batchrunner.environ import WEBHOOK_SECRET
from batchrunner.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where to listen, and the secret that deliveries are signed with; it shows in no text of this value."""

    host: str
    port: int
    secret: str

    def __repr__(self) -> str:
        return f"Door(host={self.host!r}, port={self.port}, secret=…)"


def wanted(block: Webhooks | None, *, port: int | None, host: str | None, environ: Mapping[str, str]) -> Door | None:
    """Where a run listens: the options, then the manifest's block; None where neither asks for it.

    Raises:
        UsageError: an address without a port, or no secret in the environment.
    """
    chosen = port if port is not None else block.port if block is not None else None
    if chosen is None:
        if host is not None:
            raise UsageError("--webhook-host says where to listen, and no port is named", hint="add --webhook-port")
        return None
    secret = environ.get(WEBHOOK_SECRET, "").strip()
    if not secret:
        raise UsageError(
            "there is no secret to check webhooks with",
            hint=f"set {WEBHOOK_SECRET} to the one that the provider showed when the webhook was made",
        )
    usual = block.host if block is not None else "127.0.0.1"
    return Door(host=host if host is not None else usual, port=chosen, secret=secret)
