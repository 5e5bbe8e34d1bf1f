"""A server of buckets that all tests of a worker share; each test has a bucket of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchrunner.storage import buckets as stores
from tests.support.bucket import Bucket, Buckets, serving_buckets
from tests.support.program import Program


@pytest.fixture(scope="session")
def buckets() -> Iterator[Buckets]:
    with serving_buckets() as running:
        yield running


@pytest.fixture
def bucket(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, which this process reaches, too."""
    made = buckets.new()
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    stores.forget()
    return made


@pytest.fixture
def far(program: Program, bucket: Bucket) -> Program:
    """The program with the bucket in its environment."""
    program.env |= bucket.env
    return program
