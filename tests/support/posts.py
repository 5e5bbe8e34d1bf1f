"""A server on loopback that takes what is posted to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import threading

Took = Callable[[str, Mapping[str, str], bytes], int]
"""Takes a path, the headers by their names in small letters, and a body; gives the status of the answer."""


@contextmanager
def taking(took: Took) -> Iterator[int]:
    """Such a server while in the block; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(took(self.path, headers, self.rfile.read(int(headers["content-length"]))))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
