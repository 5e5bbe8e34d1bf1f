"""How far transfers have come, and what of it is worth a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from batchrunner.cli import progress
from batchrunner.traffic import Traffic
from batchrunner.transfer import Fetch, Reply


@dataclass
class Answer:
    total: int | None
    start: int | None = None
    end: int | None = None
    status: int = 200
    etag: str | None = None

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield b""


@dataclass
class Watch:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def opener(answer: Answer) -> Fetch:
    @asynccontextmanager
    async def fetch(url: str, *, offset: int = 0, etag: str | None = None) -> AsyncGenerator[Reply]:
        del url, offset, etag
        yield answer

    return fetch


def test_an_upload_that_takes_long_has_a_line() -> None:
    watch = Watch()
    traffic = Traffic(clock=watch)
    with traffic.sending("clips/long.mp4", 4_000_000_000) as count:
        count(1_000_000_000)
        assert progress.big_transfers(traffic) == [], "it may be over in a moment"
        watch.now += 50
        assert progress.big_transfers(traffic) == ["↑   25 %  of 4.0 GB  20.0 MB/s  clips/long.mp4"]
    assert progress.big_transfers(traffic) == []
    assert (traffic.up, traffic.down) == (1_000_000_000, 0)


async def opened(fetch: AbstractAsyncContextManager[Reply]) -> None:
    async with fetch:
        pass


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (Answer(total=1_000_000_000), "↓   10 %  of 1.0 GB  10.0 MB/s  renders/a.mp4"),
        (Answer(total=1_000_000_000, start=400_000_000, status=206), "↓   50 %  of 1.0 GB  10.0 MB/s  renders/a.mp4"),
        (Answer(total=None), "↓  100.0 MB  10.0 MB/s  renders/a.mp4"),
    ],
)
def test_a_download_knows_its_length_by_the_answer_and_counts_what_was_kept(answer: Answer, line: str) -> None:
    watch = Watch()
    traffic = Traffic(clock=watch)
    with traffic.receiving("renders/a.mp4", opener(answer)) as (fetch, count):
        asyncio.run(opened(fetch("http://x/")))
        count(100_000_000)
        watch.now += 10
        assert progress.big_transfers(traffic) == [line]
    assert traffic.down == 100_000_000, "what was kept did not come over the wire again"


def test_no_more_lines_than_can_be_read() -> None:
    watch = Watch()
    traffic = Traffic(clock=watch)
    with traffic.sending("1", 10), traffic.sending("2", 10), traffic.sending("3", 10), traffic.sending("\x1b[31m4", 10):
        watch.now += 10
        assert [line[-1] for line in progress.big_transfers(traffic)] == ["1", "2", "3"]
