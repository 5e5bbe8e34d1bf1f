"""A bucket on loopback, at moto's S3 server, looked into by boto3: nobody who wrote this wrote either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import logging
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
