"""A result on its way out: ranges, entity tags, and a record of what was asked for and sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
import os
from pathlib import Path
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from batchrunner.sandbox.passage import Etag


@dataclass(slots=True, kw_only=True)
class Sent:
    """One request for a result, as it was asked and as far as it was answered; `sent` counts whole pieces."""

    project: str
    range: str | None
    if_range: str | None
    status: int | None = None
    sent: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def note_of(request: Request, project_id: str) -> Sent:
    """The record of a request, before it is answered."""
    return Sent(project=project_id, range=request.headers.get("range"), if_range=request.headers.get("if-range"))


class Result(FileResponse):
    """A file with ranges, under a tag of the asked kind; notes what it sends."""

    def __init__(self, path: Path, *, etag: Etag, note: Sent) -> None:
        self._etag = etag
        self._note = note
        super().__init__(path, media_type="video/mp4")

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """As every file's, with another tag where one is asked for."""
        super().set_stat_headers(stat_result)
        match self._etag:
            case "new":
                self.headers["etag"] = f'"{secrets.token_hex(16)}"'
            case "weak":
                self.headers["etag"] = f"W/{self.headers['etag']}"
            case "none":
                del self.headers["etag"]
            case _:
                pass

    def _should_use_range(self, http_if_range: str) -> bool:
        tag = self.headers.get("etag", "W/")
        # A weak tag does not say that the bytes are the same (RFC 9110, 13.1.5).
        return not tag.startswith("W/") and super()._should_use_range(http_if_range)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                self._note.status = message["status"]
            else:
                self._note.sent += len(message.get("body", b""))

        await super().__call__(scope, receive, noted)
