"""A service that takes notices, on loopback: what apprise sends to a `json://` address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import threading
from typing import Any


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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            box.notices.append(json.loads(body))
            self.send_response(box.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
