"""Bytes between the disk and the network: what is on disk and what is at the storage, whatever happens between."""

# ruff: noqa: ASYNC240 - what a test does to a file while its loop waits is what it is about

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
import errno
from functools import partial
import hashlib
from io import FileIO
import os
from pathlib import Path
import threading
import tracemalloc

import pytest

from batchrunner import pieces, transfer, viewers
from batchrunner.core.space import Bound
from batchrunner.errors import AddressExpired, DamagedFile, InputProblem, TransferError
from batchrunner.partial import Partial
from batchrunner.pieces import PIECE, Writing
from batchrunner.provider.client import Client
from batchrunner.provider.connections import Timeouts
from batchrunner.transfer import Saved
from tests.support import chaos
from tests.support.chaos import Connection, Server, answers, serving
from tests.support.disks import mounted

PATIENT = Timeouts(connect_s=20, read_s=20, write_s=20, pool_s=20)
LARGE = 200 * 1024 * 1024
MOST_MEMORY = 40 * 1024 * 1024


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(base_url="http://127.0.0.1:1", key="k", timeouts=PATIENT) as made:
        yield made


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- upload ---


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.mp4"
    path.write_bytes(os.urandom(3 * PIECE + 7))
    return path


async def upload(client: Client, path: Path, url: str, *, content: bytes, meter: list[int] | None = None) -> None:
    await transfer.upload(
        path,
        url,
        sha256=sha(content),
        size=len(content),
        put=client.put,
        meter=(meter if meter is not None else []).append,
    )


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
async def test_an_upload_is_the_file(client: Client, source: Path, size: int) -> None:
    content = os.urandom(size)
    source.write_bytes(content)
    passed: list[int] = []
    async with answers(chaos.answer()) as server:
        await upload(client, source, server.url, content=content, meter=passed)
    [request] = server.requests
    assert request.body == content
    assert request.header("content-length") == str(size)
    assert sum(passed) == size


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def grow_much(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(5 * PIECE))


def change_first_byte(path: Path) -> None:
    with path.open("r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1]))


def change_last_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "harm", [shrink, empty, grow, grow_much, change_first_byte, change_last_byte, vanish, become_a_folder]
)
async def test_a_file_that_changed_before_the_upload(
    client: Client, source: Path, harm: Callable[[Path], None]
) -> None:
    content = source.read_bytes()
    harm(source)
    async with answers(chaos.answer()) as server:
        with pytest.raises(InputProblem, match=r"source\.mp4"):
            await upload(client, source, server.url, content=content)
    assert server.requests == [], "the whole of it never arrived"


@pytest.mark.parametrize("harm", [shrink, empty, grow, grow_much, change_last_byte])
async def test_a_file_that_changes_during_the_upload(
    client: Client, source: Path, harm: Callable[[Path], None]
) -> None:
    content = source.read_bytes() + bytes(40 * PIECE)  # more than a socket buffers, so that it is still being read
    source.write_bytes(content)
    taken = bytearray()

    async def handle(connection: Connection) -> None:
        await connection.head()
        taken.extend(await connection.reader.readexactly(PIECE))
        harm(source)
        while more := await connection.reader.read(65536):
            taken.extend(more)

    async with serving(handle) as server:
        with pytest.raises(InputProblem, match="changed"):
            await upload(client, source, server.url, content=content)
    assert len(taken) < len(content)


async def test_a_file_that_vanishes_during_the_upload_is_sent_to_its_end(client: Client, source: Path) -> None:
    content = os.urandom(3 * PIECE)
    source.write_bytes(content)

    def vanish(_: int) -> None:
        source.unlink(missing_ok=True)

    async with answers(chaos.answer()) as server:
        await transfer.upload(source, server.url, sha256=sha(content), size=len(content), put=client.put, meter=vanish)
    assert server.requests[0].body == content
    assert not source.exists()


async def test_a_storage_that_is_content_too_early(client: Client, source: Path) -> None:
    content = source.read_bytes() + bytes(200 * PIECE)
    source.write_bytes(content)

    async def handle(connection: Connection) -> None:
        await connection.head()
        await connection.send(chaos.answer())

    async with serving(handle) as server:
        with pytest.raises(TransferError):
            await upload(client, source, server.url, content=content)


async def test_a_storage_that_refuses_before_it_has_read_all(client: Client, source: Path) -> None:
    content = source.read_bytes() + bytes(200 * PIECE)
    source.write_bytes(content)

    async def handle(connection: Connection) -> None:
        await connection.head()
        await connection.send(chaos.answer(b"<Error><Code>AccessDenied</Code></Error>", status=403))
        await chaos.silence(connection)

    async with serving(handle) as server:
        with pytest.raises(AddressExpired):
            await upload(client, source, server.url, content=content)


async def test_the_trouble_of_the_network_is_not_blamed_on_the_file(client: Client, source: Path) -> None:
    async def handle(connection: Connection) -> None:
        await connection.head()
        connection.reset()

    async with serving(handle) as server:
        with pytest.raises(TransferError) as caught:
            await upload(client, source, server.url, content=source.read_bytes())
    assert type(caught.value) is TransferError


async def test_a_large_upload_is_not_held_in_memory(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(LARGE)
    sha256, size = pieces.sha256_of(path)
    arrived = 0

    async def sink(connection: Connection) -> None:
        nonlocal arrived
        await connection.head()
        while arrived < LARGE:
            arrived += len(await connection.reader.read(65536))
        await connection.send(chaos.answer())

    tracemalloc.start()
    try:
        async with serving(sink) as server:
            await transfer.upload(path, server.url, sha256=sha256, size=size, put=client.put, meter=lambda _: None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert arrived == LARGE
    assert peak < MOST_MEMORY


# --- download ---

CONTENT = os.urandom(2 * PIECE + 3)
ANY_SIZE = Bound(likely=10**15, most=10**15)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "renders" / "deep"


def anything_goes(_path: Path) -> None:
    pass


async def download(
    client: Client,
    url: str,
    target: Path,
    *,
    mark: str = "m1",
    check: Callable[[Path], None] = anything_goes,
    bound: Bound = ANY_SIZE,
) -> Saved[None]:
    return await transfer.download(
        url,
        target=target,
        mark=mark,
        bound=bound,
        fetch=client.fetch,
        check=partial(viewers.see, check),
        meter=lambda _: None,
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def test_a_download_is_the_file(client: Client, folder: Path) -> None:
    async with answers(chaos.answer(CONTENT)) as server:
        saved = await download(client, server.url, folder / "a.mp4")
    assert saved == Saved(path=folder / "a.mp4", bytes=len(CONTENT), sha256=sha(CONTENT), found=None)
    assert saved.path.read_bytes() == CONTENT
    assert files(folder) == ["a.mp4"]


async def test_the_check_sees_the_whole_file_before_it_has_its_name(client: Client, folder: Path) -> None:
    seen: list[tuple[bytes, bool]] = []
    async with answers(chaos.answer(CONTENT)) as server:
        await download(
            client,
            server.url,
            folder / "a.mp4",
            check=lambda path: seen.append((path.read_bytes(), (folder / "a.mp4").exists())),
        )
    assert seen == [(CONTENT, False)]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + CONTENT[:-1],
        HEAD + CONTENT[:PIECE],
        HEAD,
        HEAD[:20],
        b"",
        chaos.answer(b""),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-2/9\r\nContent-Length: 3\r\n\r\nabc",
        chaos.answer(b"gone", status=404),
        chaos.answer(b"busy", status=503),
        chaos.GARBAGE,
    ],
    # Not the bytes themselves: they are another half megabyte in every process of the suite.
    ids=[
        "one byte short",
        "one piece",
        "head",
        "half a head",
        "nothing",
        "empty",
        "half a chunk",
        "no length",
        "a range",
        "gone",
        "busy",
        "garbage",
    ],
)
async def test_what_does_not_arrive_whole_leaves_no_file(client: Client, folder: Path, answer: bytes) -> None:
    async with answers(answer) as server:
        with pytest.raises(TransferError):
            await download(client, server.url, folder / "a.mp4")
    assert files(folder) == []


async def endless(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.send(b"10000\r\n", bytes(0x10000), b"\r\n")


async def test_a_length_that_no_result_has_is_damage_before_a_byte_is_written(client: Client, folder: Path) -> None:
    async with answers(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 9999999999999\r\n\r\nabc') as server:
        with pytest.raises(DamagedFile, match="9,999,999,999,999 bytes or more are no result of this job"):
            await download(client, server.url, folder / "a.mp4", bound=Bound(likely=10**6, most=10**9))
    assert files(folder) == []


async def test_a_file_without_end_is_damage_and_leaves_nothing(client: Client, folder: Path) -> None:
    async with serving(endless) as server:
        with pytest.raises(DamagedFile, match="has 3,000,000 at the very most"):
            await download(client, server.url, folder / "a.mp4", bound=Bound(likely=1, most=3_000_000))
    assert files(folder) == []


@pytest.mark.parametrize("error", [DamagedFile("no picture"), OSError(errno.EIO, "disk")])
async def test_what_fails_the_check_leaves_no_file(client: Client, folder: Path, error: Exception) -> None:
    def refuse(_path: Path) -> None:
        raise error

    async with answers(chaos.answer(CONTENT)) as server:
        with pytest.raises(TransferError):
            await download(client, server.url, folder / "a.mp4", check=refuse)
    assert files(folder) == []


async def test_another_file_of_that_name_is_not_touched(client: Client, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"somebody's")
    (folder / "a.2.mp4").mkdir()
    (folder / "a.3.mp4").symlink_to(folder / "nowhere")
    async with answers(chaos.answer(CONTENT)) as server:
        saved = await download(client, server.url, folder / "a.mp4")
        again = await download(client, server.url, folder / "a.mp4")
    assert saved.path == again.path == folder / "a.4.mp4"
    assert (folder / "a.mp4").read_bytes() == b"somebody's"
    assert files(folder) == ["a.2.mp4", "a.3.mp4", "a.4.mp4", "a.mp4"]


async def test_a_file_published_before_a_crash_is_taken_as_it_is(client: Client, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(CONTENT)
    (folder / ".a.mp4.m1.part").write_bytes(b"left behind by the crash, and longer than nothing")
    before = (folder / "a.mp4").stat().st_ino
    async with answers(chaos.answer(CONTENT)) as server:
        saved = await download(client, server.url, folder / "a.mp4")
    assert saved.path == folder / "a.mp4"
    assert saved.path.stat().st_ino == before
    assert files(folder) == ["a.mp4"]


async def test_two_downloads_to_one_name_both_arrive(client: Client, folder: Path) -> None:
    contents = [bytes([number]) * (PIECE + number) for number in range(8)]
    folder.mkdir(parents=True)
    started = asyncio.Barrier(len(contents))

    async def handle(connection: Connection) -> None:
        request = await connection.request()
        content = contents[int(request.line.split()[1].lstrip("/"))]
        await started.wait()
        await connection.send(chaos.answer(content))

    async with serving(handle) as server:
        saved = await asyncio.gather(
            *(download(client, f"{server.url}/{n}", folder / "a.mp4", mark=f"m{n}") for n in range(len(contents)))
        )
    assert [each.path.read_bytes() for each in saved] == contents
    assert len(files(folder)) == len(contents)


@pytest.fixture
def _no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")  # what FAT and some network shares say

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("_no_links")
async def test_a_file_system_without_links(client: Client, folder: Path) -> None:
    await test_another_file_of_that_name_is_not_touched(client, folder)


@pytest.mark.usefixtures("_no_links")
async def test_two_downloads_where_there_are_no_links(client: Client, folder: Path) -> None:
    await test_two_downloads_to_one_name_both_arrive(client, folder)


@pytest.mark.parametrize("name", ["ж" * 120 + ".mp4", "漢" * 83 + ".mp4", "😀" * 62 + ".mp4", "a" * 251 + ".mp4"])
async def test_a_name_as_long_as_the_system_allows(client: Client, folder: Path, name: str) -> None:
    async with answers(chaos.answer(CONTENT)) as server:
        await download(client, server.url, folder / name, mark="0123456789ab")
    assert files(folder) == [name]


async def test_a_folder_that_cannot_be_made(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with answers(chaos.answer(CONTENT)) as server:
        with pytest.raises(TransferError, match=r"cannot write .*a\.mp4: (File exists|Not a directory)"):
            await download(client, server.url, tmp_path / "file" / "a.mp4")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_may_not_be_written(client: Client, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    async with answers(chaos.answer(CONTENT)) as server:
        with pytest.raises(TransferError, match="Permission denied"):
            await download(client, server.url, folder / "a.mp4")
    folder.chmod(0o700)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    with mounted(tmp_path / "disk", kilobytes=256) as disk:
        yield disk


async def test_a_disk_that_is_full(client: Client, tiny_disk: Path) -> None:
    async with answers(chaos.answer(CONTENT)) as server:
        with pytest.raises(TransferError, match="the disk is full"):
            await download(client, server.url, tiny_disk / "a.mp4")
    assert files(tiny_disk) == []


async def test_a_cancelled_download_leaves_no_file_under_the_name(client: Client, folder: Path) -> None:
    started = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + CONTENT[:-1])
        started.set()
        await chaos.silence(connection)

    async with serving(handle) as server:
        task = asyncio.create_task(download(client, server.url, folder / "a.mp4"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "a.mp4" not in files(folder)
    async with answers(chaos.answer(CONTENT)) as server:
        await download(client, server.url, folder / "a.mp4")
    assert files(folder) == ["a.mp4"], "what was left behind is used up by the next try"


class Slow(Partial):
    """Opens its file when it may."""

    def __init__(self, target: Path) -> None:
        super().__init__(target, "m1")
        self.is_asked, self.may_go = threading.Event(), threading.Event()
        self.opened: list[FileIO] = []

    def begin(self, *, etag: str | None, total: int | None) -> FileIO:
        self.is_asked.set()
        self.may_go.wait()
        self.opened.append(super().begin(etag=etag, total=total))
        return self.opened[-1]


async def test_what_is_broken_off_as_it_is_written_waits_for_the_thread_and_closes_the_file(folder: Path) -> None:
    folder.mkdir(parents=True)
    slow = Slow(folder / "a.mp4")

    async def write() -> None:
        async with Writing(slow, None, etag=None, total=len(CONTENT)) as writer:
            await writer.add(CONTENT)
            await writer.end()

    task = asyncio.create_task(write())
    try:
        await asyncio.to_thread(slow.is_asked.wait)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done(), "two tries in one partial file"
    finally:
        slow.may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [file.closed for file in slow.opened] == [True]


async def test_a_large_download_is_not_held_in_memory(client: Client, folder: Path) -> None:
    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // 65536):
            await connection.send(bytes(65536))

    server: Server
    tracemalloc.start()
    try:
        async with serving(handle) as server:
            saved = await download(client, server.url, folder / "a.mp4")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert saved.bytes == LARGE
    assert peak < MOST_MEMORY


def test_a_file_that_cannot_be_read_has_no_fingerprint(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputProblem, match="cannot read"):
            pieces.sha256_of(path)
