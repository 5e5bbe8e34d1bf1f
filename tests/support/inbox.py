"""A service that takes notices, on loopback: what apprise sends to a `json://` address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
import json
from typing import Any

from tests.support.posts import taking


@dataclass
class Inbox:
    port: int
    status: int = 200
    notices: list[dict[str, Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"json://someone:opensesame@127.0.0.1:{self.port}/"

    def titles(self) -> list[str]:
        return [each["title"] for each in self.notices]


@contextmanager
def opened(*, status: int = 200) -> Iterator[Inbox]:
    box = Inbox(port=0, status=status)

    def took(_path: str, _headers: Mapping[str, str], body: bytes) -> int:
        box.notices.append(json.loads(body))
        return box.status

    with taking(took) as box.port:
        yield box
