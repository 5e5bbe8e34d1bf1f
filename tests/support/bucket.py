"""A bucket on loopback, at moto's S3 server, looked into by boto3: nobody who wrote this wrote either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import logging
import threading
from typing import Any
import uuid

SECRET = "the-secret-of-the-bucket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket of its own for one test.

    Attributes:
        env: what a program needs in its environment to reach it.
        s3: boto3's client of the same server.
    """

    name: str
    env: dict[str, str]
    s3: Any

    def url(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return sorted(each["Key"] for each in found)

    def unfinished(self) -> list[str]:
        """Keys of multipart uploads that were neither completed nor given up."""
        return [each["Key"] for each in self.s3.list_multipart_uploads(Bucket=self.name).get("Uploads", [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """A server of buckets."""

    endpoint: str

    def new(self) -> Bucket:
        import boto3

        env = {
            "AWS_ACCESS_KEY_ID": "a-key-id",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }
        s3 = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="a-key-id",
            aws_secret_access_key=SECRET,
        )
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=name)
        return Bucket(name=name, env=env, s3=s3)


@contextmanager
def serving_buckets() -> Iterator[Buckets]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield Buckets(endpoint=f"http://127.0.0.1:{port}")
    finally:
        server.stop()


Refuses = Callable[[str, str, int, bool], bool]
"""Whether a request is refused: its method, its target, the status the server would give it, whether it is a copy."""


@contextmanager
def refusing(endpoint: str, refuses: Refuses) -> Iterator[str]:
    """The same server by an address at which some requests are refused, as by the policy of a bucket.

    What is refused is not done, but for a request whose answer decides.
    """
    host = endpoint.removeprefix("http://")

    class Gate(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_copy = "x-amz-copy-source" in self.headers
            if refuses(self.command, self.path, 0, is_copy):
                self._answer(403, REFUSED, {})
                return
            beyond = http.client.HTTPConnection(host, timeout=60)
            try:
                beyond.request(self.command, self.path, body, dict(self.headers.items()))
                reply = beyond.getresponse()
                content = reply.read()
            finally:
                beyond.close()
            if refuses(self.command, self.path, reply.status, is_copy):
                self._answer(403, REFUSED, {})
            else:
                self._answer(reply.status, content, dict(reply.getheaders()))

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815 - as the library calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is inherited
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Gate) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


REFUSED = b"<Error><Code>AccessDenied</Code></Error>"
