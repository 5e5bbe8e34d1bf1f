"""Bytes between buckets and the network: what is in the bucket, whatever happens between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
import hashlib
import os
from pathlib import Path
import re
import sys

import pytest

from batchrunner import inspect, media as reading, storage, viewers
from batchrunner.core.address import Address
from batchrunner.core.facts import Media
from batchrunner.core.footage import Wanted
from batchrunner.core.outputs import mark_of
from batchrunner.core.problem import Place
from batchrunner.core.space import Bound
from batchrunner.errors import DamagedFile, InputProblem, ManifestError, TransferError
from batchrunner.provider.client import Client
from batchrunner.provider.connections import Timeouts
from batchrunner.storage import Landed, Readable, buckets as stores
from tests.support import chaos
from tests.support.bucket import Bucket, Refuses, refusing
from tests.support.chaos import Connection, answers, serving
from tests.support.program import Program

PATIENT = Timeouts(connect_s=20, read_s=20, write_s=20, pool_s=20)
ANY_SIZE = Bound(likely=10**15, most=10**15)
CONTENT = os.urandom(stores.PART * 2 + 12_345)
ROOT = Path("/nowhere")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(base_url="http://127.0.0.1:1", key="k", timeouts=PATIENT) as made:
        yield made


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def anything_goes(_render: Readable) -> None:
    pass


async def download(
    client: Client,
    url: str,
    written: str,
    *,
    check: Callable[[Readable], None] = anything_goes,
    bound: Bound = ANY_SIZE,
) -> Landed[None]:
    incoming = storage.Incoming(
        url=url,
        mark="0123456789ab",
        bound=bound,
        fetch=client.fetch,
        check=partial(viewers.see, check),
        meter=lambda _: None,
    )
    return await storage.download(written, incoming, root=ROOT)


async def upload(client: Client, url: str, written: str, *, sha256: str, size: int) -> None:
    await storage.upload(written, url, root=ROOT, sha256=sha256, size=size, put=client.put, meter=lambda _: None)


def whole(content: bytes, *, cut: int | None = None) -> bytes:
    return f'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: {len(content)}\r\n\r\n'.encode() + content[:cut]


# --- to a bucket ---


async def test_what_comes_is_published_whole_and_read_back_for_its_check(client: Client, bucket: Bucket):
    seen: list[tuple[str, list[str], str]] = []

    def check(render: Readable) -> None:
        with render.open("rb") as file:
            seen.append((render.name, bucket.keys(), sha(file.read())))

    async with answers(whole(CONTENT)) as server:
        landed = await download(client, server.url, bucket.url("out/a.mp4"), check=check)
    assert seen == [(".a.mp4.0123456789ab.part", ["out/.a.mp4.0123456789ab.part"], sha(CONTENT))]
    assert (landed.written, landed.bytes, landed.sha256) == (bucket.url("out/a.mp4"), len(CONTENT), sha(CONTENT))
    assert bucket.keys() == ["out/a.mp4"]
    assert bucket.get("out/a.mp4") == CONTENT


async def test_another_object_keeps_its_name_and_the_same_content_is_kept_as_it_is(client: Client, bucket: Bucket):
    bucket.put("a.mp4", b"of somebody else")
    async with answers(whole(CONTENT)) as server:
        first = await download(client, server.url, bucket.url("a.mp4"))
        second = await download(client, server.url, bucket.url("a.mp4"))
    assert first.written == second.written == bucket.url("a.2.mp4")
    assert bucket.keys() == ["a.2.mp4", "a.mp4"]
    assert bucket.get("a.mp4") == b"of somebody else"


async def test_a_name_that_is_taken_in_the_last_moment_is_left_alone(client: Client, bucket: Bucket, monkeypatch):
    looked = stores.head

    def head(address: Address) -> stores.Meta | None:
        found = looked(address)
        if address.key == "a.mp4" and found is None:
            bucket.put("a.mp4", b"just now")
        return found

    monkeypatch.setattr(stores, "head", head)
    async with answers(whole(CONTENT)) as server:
        landed = await download(client, server.url, bucket.url("a.mp4"))
    assert landed.written == bucket.url("a.2.mp4")
    assert bucket.get("a.mp4") == b"just now"


def damaged(_render: Readable) -> None:
    raise DamagedFile("it cannot be played")


async def test_of_what_fails_nothing_stays(client: Client, bucket: Bucket):
    async with answers(whole(CONTENT)) as server:
        with pytest.raises(DamagedFile, match="cannot be played"):
            await download(client, server.url, bucket.url("a.mp4"), check=damaged)
        with pytest.raises(DamagedFile, match="are no result of this job"):
            await download(client, server.url, bucket.url("a.mp4"), bound=Bound(likely=1, most=len(CONTENT) - 1))
    async with answers(whole(CONTENT, cut=stores.PART + 77)) as server:
        with pytest.raises(TransferError):
            await download(client, server.url, bucket.url("a.mp4"))
    assert bucket.keys() == []
    assert bucket.unfinished() == []


async def test_one_that_is_broken_off_in_the_middle_leaves_nothing(client: Client, bucket: Bucket):
    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(whole(CONTENT, cut=2 * stores.PART + 5))
        await asyncio.Event().wait()

    async with serving(handle) as server:
        task = asyncio.create_task(download(client, server.url, bucket.url("a.mp4")))
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(bucket.unfinished):  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert bucket.keys() == []
    assert bucket.unfinished() == []


async def test_a_connection_that_breaks_is_gone_on_with_from_there(client: Client, bucket: Bucket):
    async def handle(connection: Connection) -> None:
        request = await connection.request()
        asked = request.header("range")
        if asked is None:
            await connection.send(whole(CONTENT, cut=stores.PART + 77))
            return
        assert request.header("if-range") == '"v1"'
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        told = f"Content-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}\r\n"
        head = f'HTTP/1.1 206 Partial\r\nETag: "v1"\r\n{told}Content-Length: {len(CONTENT) - start}\r\n\r\n'
        await connection.send(head.encode() + CONTENT[start:])

    async with serving(handle) as server:
        await download(client, server.url, bucket.url("a.mp4"))
        assert server.accepted == 2
    assert bucket.get("a.mp4") == CONTENT


async def test_a_bucket_that_is_not_there_or_not_reached_is_named(client: Client, bucket: Bucket, monkeypatch):
    async with answers(whole(CONTENT)) as server:
        with pytest.raises(TransferError, match="there is no bucket s3://no-such-bucket-here"):
            await download(client, server.url, "s3://no-such-bucket-here/a.mp4")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{chaos.closed_port()}")
        stores.forget()
        with pytest.raises(TransferError, match="cannot be reached: ") as told:
            await download(client, server.url, bucket.url("a.mp4"))
    assert "127.0.0.1" not in str(told.value)
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    stores.forget()
    assert storage.at(ROOT, bucket.url("a.mp4")).fact().why == (
        f"the endpoint for the bucket s3://{bucket.name} has no TLS, or is no address"
        " (AWS_ALLOW_HTTP=true allows it, which is meant for loopback)"
    )


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("written", ["localhost:9000", "http://", "http://me:sesame@host:x", "", "ftp://host"])
def test_an_endpoint_that_is_no_address_is_named_and_not_shown(bucket: Bucket, monkeypatch, name, written):
    monkeypatch.setenv(name, written)
    stores.forget()
    why = storage.at(ROOT, bucket.url("a.mp4")).fact().why
    assert why == f"{name} is no http(s) address (such as https://s3.example.com:9000)"


def test_a_panic_of_the_library_is_told_as_any_other_failure(bucket: Bucket, monkeypatch):
    monkeypatch.setattr(stores, "_check_endpoints", lambda scheme: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    stores.forget()
    with pytest.raises(TransferError, match="the library that speaks to it gave up"):
        storage.at(ROOT, bucket.url("a.mp4")).seen()


@pytest.mark.parametrize(
    ("key", "named"), [("clips/a//b.mp4", '"clips/a//b.mp4"'), ("clips/a/../b.mp4", '"clips/a/../b.mp4"')]
)
def test_a_key_that_cannot_be_used_is_named(bucket: Bucket, key, named):
    bucket.put(key, b"x")
    with pytest.raises(TransferError, match=f"whose key cannot be used: {re.escape(named)} has an empty part"):
        storage.listed(bucket.url("clips"), is_deep=True)


def test_what_only_stands_for_a_folder_is_no_file(bucket: Bucket):
    for key, content in (("clips/", b""), ("clips/deep/", b""), ("clips/a.mp4", b"x"), ("clips/empty.mp4", b"")):
        bucket.put(key, content)
    for is_deep in (False, True):
        there = storage.listed(bucket.url("clips"), is_deep=is_deep)
        assert sorted(each.path for each in there) == [bucket.url("clips/a.mp4"), bucket.url("clips/empty.mp4")]


def test_a_sweep_looks_into_the_folder_alone(bucket: Bucket):
    bucket.put("out/deep//r.mp4", b"a key that cannot be listed")
    mark = mark_of("a", "project")
    for key in (f"out/.r.mp4.{mark}.part", f"out/deep/.r.mp4.{mark}.part"):
        bucket.put(key, b"left by a kill")
    storage.sweep(ROOT, [(bucket.url("out/r.mp4"), "a", "project")])
    assert bucket.keys() == [f"out/deep/.r.mp4.{mark}.part", "out/deep//r.mp4"]


def test_a_key_with_a_control_character_is_told_as_that(bucket: Bucket):
    bucket.put("clips/a.mp4", b"x")
    bucket.put("clips/b\x01c.mp4", b"x")
    with pytest.raises(TransferError, match=r"whose key cannot be used: .* or a control character"):
        storage.listed(bucket.url("clips"), is_deep=True)
    with pytest.raises(TransferError, match="a control character"):
        storage.at(ROOT, bucket.url("clips/b\x01c.mp4")).seen()


async def test_access_that_is_refused_is_told_with_what_helps(client: Client, bucket: Bucket, monkeypatch):
    refusing = chaos.answer(b"<Error><Code>AccessDenied</Code></Error>", status=403, headers="")
    async with answers(refusing) as store, answers(whole(b"x")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        stores.forget()
        with pytest.raises(TransferError, match="refuses access") as told:
            await download(client, server.url, bucket.url("a.mp4"))
    assert "AWS_ACCESS_KEY_ID" in (told.value.hint or "")


REFUSALS: dict[str, Refuses] = {
    "asking for a name that is free": lambda method, _, status, __: (method, status) == ("HEAD", 404),
    "writing": lambda method, _, __, is_copy: method == "PUT" and not is_copy,
    "reading what was written": lambda method, target, _, __: method == "GET" and ".part" in target,
    "copying it to a free name": lambda _, __, ___, is_copy: is_copy,
    "listing the folder": lambda method, target, _, __: method == "GET" and "list-type" in target,
    "deleting": lambda method, target, _, __: method == "DELETE" or "?delete" in target,
}


@pytest.mark.parametrize("step", REFUSALS)
def test_each_right_that_a_result_needs_is_tried_before(bucket: Bucket, monkeypatch, step):
    with refusing(bucket.env["AWS_ENDPOINT_URL"], REFUSALS[step]) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        stores.forget()
        ((folder, why),) = storage.tried([bucket.url("out/a.mp4"), bucket.url("out/b.mp4")]).items()
    assert folder == bucket.url("out/")
    assert f"the bucket s3://{bucket.name} refuses access" in str(why)
    assert f"({step} was tried)" in str(why)
    assert why is not None
    assert "AWS_ACCESS_KEY_ID" in (why.hint or "")
    assert bucket.keys() == [] or step == "deleting"
    assert not bucket.unfinished()


def test_where_all_of_it_is_allowed_nothing_is_left(bucket: Bucket):
    bucket.put("out/a.mp4", b"x")
    folders = [bucket.url(), bucket.url("out/"), bucket.url("out/deep/")]
    assert storage.tried(f"{each}a.mp4" for each in folders) == dict.fromkeys(folders)
    assert bucket.keys() == ["out/a.mp4"]
    assert not bucket.unfinished()


# --- from a bucket ---


def version(bucket: Bucket, key: str) -> tuple[str, int]:
    seen = storage.at(ROOT, bucket.url(key)).seen()
    assert seen.version is not None
    return seen.version, seen.size


async def test_an_object_is_sent_as_it_was_looked_at_and_not_as_it_is_since(client: Client, bucket: Bucket):
    bucket.put("a.mp4", CONTENT)
    sha256, size = version(bucket, "a.mp4")
    async with answers(chaos.answer()) as server:
        await upload(client, server.url, bucket.url("a.mp4"), sha256=sha256, size=size)
        await upload(client, server.url, bucket.url("a.mp4"), sha256=sha(CONTENT), size=size)
        assert [request.body for request in server.requests] == [CONTENT, CONTENT]
        bucket.put("a.mp4", CONTENT[::-1])
        with pytest.raises(InputProblem, match=r"a\.mp4 changed since"):
            await upload(client, server.url, bucket.url("a.mp4"), sha256=sha256, size=size)
        bucket.put("a.mp4", CONTENT[:-1])
        with pytest.raises(InputProblem, match=r"a\.mp4 changed since"):
            await upload(client, server.url, bucket.url("a.mp4"), sha256=sha256, size=size)
        bucket.s3.delete_object(Bucket=bucket.name, Key="a.mp4")
        with pytest.raises(InputProblem, match="there is no object"):
            await upload(client, server.url, bucket.url("a.mp4"), sha256=sha256, size=size)


async def test_an_object_that_changes_while_it_is_sent_is_never_sent_as_a_whole(client: Client, bucket: Bucket):
    bucket.put("a.mp4", CONTENT)
    sha256, size = version(bucket, "a.mp4")

    async def handle(connection: Connection) -> None:
        await connection.head()
        await asyncio.to_thread(bucket.put, "a.mp4", CONTENT[::-1])
        while await connection.reader.read(65536):
            pass

    async with serving(handle) as server:
        with pytest.raises(InputProblem, match=r"a\.mp4 changed since"):
            await upload(client, server.url, bucket.url("a.mp4"), sha256=sha256, size=size)


def test_the_same_content_written_again_is_the_same_version(bucket: Bucket):
    bucket.put("a.mp4", b"content")
    bucket.put("elsewhere/b.mp4", b"content")
    first = version(bucket, "a.mp4")
    bucket.put("a.mp4", b"content")
    assert version(bucket, "a.mp4") == first == version(bucket, "elsewhere/b.mp4")
    bucket.put("a.mp4", b"Content")
    assert version(bucket, "a.mp4") != first


# --- looking into objects ---


def wanted(name: str, media: Media) -> Wanted:
    return Wanted(name=name, media=media, place=Place(source="m.yaml", line=1, column=1), path="jobs[0].input")


def test_an_object_holds_what_a_file_of_the_same_content_holds(bucket: Bucket, media: Path):
    kinds: dict[str, Media] = {"a.mp4": "video", "b.mp4": "video", "a.png": "image"}
    for name in kinds:
        bucket.put(name, (media / name).read_bytes())
    near = inspect.look(media, [wanted(name, kind) for name, kind in kinds.items()], {})
    far = inspect.look(media, [wanted(bucket.url(name), kind) for name, kind in kinds.items()], {})
    for name in kinds:
        assert far[bucket.url(name)].facts == near[name].facts
        assert far[bucket.url(name)].size == near[name].size


def test_of_a_large_clip_only_what_is_needed_is_fetched_and_of_a_known_one_nothing(
    bucket: Bucket, media: Path, monkeypatch
):
    clip = (media / "a.mp4").read_bytes()
    filling = 30 * 1024 * 1024
    index = clip.index(b"moov") - 4  # behind the pictures; what is put between is a box that nobody reads
    large = clip[:index] + filling.to_bytes(4, "big") + b"free" + bytes(filling - 8) + clip[index:]
    bucket.put("large.mp4", large)
    fetched: list[int] = []
    read = stores.read

    def reading_(meta: stores.Meta, begin: int, end: int) -> bytes:
        fetched.append(end - begin)
        return read(meta, begin, end)

    monkeypatch.setattr(stores, "read", reading_)
    asked = [wanted(bucket.url("large.mp4"), "video")]
    found = inspect.look(media, asked, {})
    assert found[asked[0].name].facts == reading.probe(media / "a.mp4", "video")
    assert 0 < sum(fetched) < 5 * 1024 * 1024
    fetched.clear()
    assert inspect.look(media, asked, found) == found
    assert not fetched


def test_a_clip_that_is_cut_short_is_told_though_it_is_not_read(bucket: Bucket, media: Path):
    clip = (media / "a.mp4").read_bytes()
    bucket.put("cut.mp4", clip[: len(clip) * 2 // 3])
    bucket.put("no.mp4", b"this is no video at all" * 1000)
    with pytest.raises(ManifestError, match=r"no\.mp4 cannot be played") as told:
        inspect.look(media, [wanted(bucket.url(name), "video") for name in ("cut.mp4", "no.mp4")], {})
    assert "cut.mp4 " in str(told.value)


# --- memory ---

CHILD = """
import asyncio, sys
from functools import partial
from pathlib import Path
from batchrunner import storage, viewers
from batchrunner.core.space import Bound
from batchrunner.provider.client import Client

def peak():
    # Not ru_maxrss, which a process has from the one that started it.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

def check(render):
    with render.open("rb") as file:
        file.read(1 << 20)
        file.seek(-(1 << 20), 2)
        file.read()

async def go(source, sink, target):
    root, any_size = Path("/nowhere"), Bound(likely=10**15, most=10**15)
    async with Client(base_url="http://127.0.0.1:1", key="k") as client:
        async def there_and_back(size):
            incoming = storage.Incoming(url=f"{source}/{size}", mark="0123456789ab", bound=any_size,
                fetch=client.fetch, check=partial(viewers.see, check), meter=lambda _: None)
            landed = await storage.download(target + str(size), incoming, root=root)
            await storage.upload(landed.written, sink, root=root, sha256=landed.sha256, size=landed.bytes,
                put=client.put, meter=lambda _: None)
        await there_and_back(1 << 20)
        before = peak()
        await there_and_back(%d)
        print(peak() - before)

asyncio.run(go(*sys.argv[1:]))
"""
LARGE = 100 * 1024 * 1024
MOST_MIB = 60
"""Three parts of 8 MiB on their way to the bucket, one from it, what the libraries buffer; and slack for allocators."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to read the peak from")
async def test_a_large_object_is_never_held_in_memory(bucket: Bucket, far: Program):
    arrived = 0

    async def source(connection: Connection) -> None:
        request = await connection.request()
        size = int(request.line.split()[1].strip("/"))
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await connection.send(bytes(65536))

    async def sink(connection: Connection) -> None:
        nonlocal arrived
        head = await connection.head()
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while left:
            piece = await connection.reader.read(65536)
            left -= len(piece)
            arrived += len(piece)
        await connection.send(chaos.answer())

    async with serving(source) as there, serving(sink) as back:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD % LARGE,
            there.url,
            back.url,
            bucket.url("large"),
            env=far.environ(),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert arrived == LARGE + (1 << 20)
    assert int(out) < MOST_MIB
