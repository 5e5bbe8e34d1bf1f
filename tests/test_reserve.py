"""Room on a disk that is really small: downloads leave the last of it to the state file, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
import shutil
import subprocess

import pytest

from batchrunner import reserve, transfer, viewers
from batchrunner.core import events
from batchrunner.core.job import Action, advance
from batchrunner.core.kind import Kind
from batchrunner.core.retry import DISK_FULL
from batchrunner.core.space import Bound
from batchrunner.errors import DamagedFile, DiskFull, TransferError
from batchrunner.perform import Performer
from batchrunner.provider.client import Client
from tests.support import chaos
from tests.support.chaos import Connection, answers, serving
from tests.test_perform import NOW, STILL, opened, submitting
from tests.test_transfer import ANY_SIZE, endless

SIZE = 6_000 * 1024
LEFT = SIZE // 50


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of six megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def free(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def sizes(disk: Path) -> list[int]:
    return [each.stat().st_size for each in disk.iterdir()]


async def fetched(
    client: Client, url: str, target: Path, least: list[int], *, bound: Bound = ANY_SIZE
) -> BaseException | None:
    """How a download ends; notes how much was free with each piece."""
    try:
        await transfer.download(
            url,
            target=target,
            mark=target.stem,
            bound=bound,
            fetch=client.fetch,
            check=partial(viewers.see, lambda _path: None),
            meter=lambda _count: least.append(free(target.parent)),
        )
    except TransferError as error:
        return error
    return None


async def test_a_length_that_is_not_told_does_not_fill_the_disk(disk: Path) -> None:
    least: list[int] = []
    async with serving(endless) as server, Client(base_url=server.url, key="k") as client:
        ends = await asyncio.gather(
            *(fetched(client, server.url, disk / f"{name}.mp4", least) for name in ("a", "b", "c"))
        )
    assert all(isinstance(each, DiskFull) for each in ends), ends
    assert min(least) >= LEFT
    assert sizes(disk) == []


def test_what_is_written_while_the_disk_is_asked_is_not_free(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no claim any more, and was free when the disk answered."""
    ask = shutil.disk_usage
    with reserve.Claim(disk) as other, reserve.Claim(disk) as claim:
        other.add(3_000_000)

        def asked_too_soon(folder: Path) -> object:
            usage = ask(folder)
            with other.writing(3_000_000):
                (disk / "other").write_bytes(bytes(3_000_000))
            return usage

        monkeypatch.setattr(shutil, "disk_usage", asked_too_soon)
        with pytest.raises(DiskFull):
            claim.add(4_000_000)


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_file_larger_than_results_are_says_nothing_of_the_disk(disk: Path, *, is_told: bool) -> None:
    """What is of the usual size may fit beside it, once it is gone."""
    bound = Bound(likely=2_000_000, most=10**9)
    told = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\nabc")
    async with told if is_told else serving(endless) as server, Client(base_url=server.url, key="k") as client:
        end = await fetched(client, server.url, disk / "a.mp4", [], bound=bound)
    assert isinstance(end, DamagedFile)
    assert "the disk is full" in str(end)
    assert sizes(disk) == []


async def test_downloads_side_by_side_count_together(disk: Path) -> None:
    """Each would fit alone; all have begun before any has written much."""
    size, begun = 2_500_000, asyncio.Event()
    waiting: list[Connection] = []

    async def slow(connection: Connection) -> None:
        await connection.head()
        connection.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nx" % size)
        await connection.writer.drain()
        waiting.append(connection)
        if len(waiting) == 4:
            begun.set()
        await begun.wait()
        connection.writer.write(bytes(size - 1))
        await connection.writer.drain()

    least: list[int] = []
    async with serving(slow) as server, Client(base_url=server.url, key="k") as client:
        ends = await asyncio.gather(*(fetched(client, server.url, disk / f"{n}.mp4", least) for n in range(4)))
    assert sum(each is None for each in ends) == 2, ends
    assert sum(isinstance(each, DiskFull) for each in ends) == 2
    assert min(least) >= LEFT
    assert sizes(disk) == [size, size]


def test_room_that_was_claimed_is_given_back(disk: Path) -> None:
    for _ in range(3):
        with reserve.Claim(disk) as claim:
            claim.add(5_000_000)
            with claim.writing(1_000_000), pytest.raises(DiskFull):
                reserve.Claim(disk).add(1_500_000)
    with reserve.Claim(disk) as claim:
        claim.add(5_900_000)


async def test_nothing_is_bought_that_could_not_be_recorded(disk: Path) -> None:
    """The answer to a paid request holds the only id of the project."""
    job = submitting(advance(opened(disk, Kind.IMAGE_TO_VIDEO, STILL), events.Uploaded(at=NOW, assets=())))
    said = chaos.answer(b'{"id":"cmtwmxasp02q7h401s1vslohu"}')
    async with answers(said) as server, Client(base_url=server.url, key="k") as client:

        def performer() -> Performer:
            return Performer(client=client, root=disk, now=lambda: NOW, jitter=lambda: 1.0, state_folder=disk)

        (disk / "another programs").write_bytes(bytes(free(disk) - LEFT + 4096))
        refused = await performer()(Action.SUBMIT, job)
        assert isinstance(refused, events.Refused)
        assert refused.failure.code == DISK_FULL
        assert server.requests == []
        (disk / "another programs").unlink()
        assert isinstance(await performer()(Action.SUBMIT, job), events.Accepted)
