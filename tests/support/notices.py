"""Notices as the provider would sign and post them, made by hand."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import httpx

SECRET = "whsec_4f1c9a"


def signed(body: bytes, *, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers of a delivery signed at that time, now by default."""
    timestamp = str(int(time.time() if at is None else at))
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"magic-hour-event-signature": signature, "magic-hour-event-timestamp": timestamp}


def body_of(project_id: str, event: str = "video.completed", *, key: str = "payload", **payload: Any) -> bytes:
    project = {"id": project_id, "name": "m/j [1-a]"} | payload
    return json.dumps({"type": event, key: project}).encode()


async def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    """The status that a delivery is answered with."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(url, content=body, headers=signed(body) if headers is None else headers)
    assert answer.content == b""
    return answer.status_code
