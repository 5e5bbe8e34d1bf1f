"""Downloads that broke: what is kept, what is asked for next, and that no file is ever made of two versions."""

# ruff: noqa: ASYNC240 - what a test does to a file while its loop waits is what it is about

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
import functools
import hashlib
import os
from pathlib import Path

import pytest

from batchrunner import partial, storage, transfer, viewers
from batchrunner.core.outputs import mark_of
from batchrunner.errors import AddressExpired, DamagedFile, TransferError
from batchrunner.partial import Partial
from batchrunner.pieces import PIECE
from batchrunner.provider.client import Client
from batchrunner.provider.connections import BUFFER, Timeouts
from batchrunner.transfer import Saved
from tests.support.chaos import Connection, Request, Server, serving
from tests.test_transfer import ANY_SIZE

PATIENT = Timeouts(connect_s=20, read_s=20, write_s=20, pool_s=20)
FIRST = os.urandom(16 * PIECE + 5)
SECOND = os.urandom(len(FIRST))
CUT = 8 * PIECE + 11
LOST = 2 * BUFFER + PIECE
"""Bytes that a connection may have read ahead when it breaks."""


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(base_url="http://127.0.0.1:1", key="k", timeouts=PATIENT) as made:
        yield made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "renders" / "a.mp4"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def whole(content: bytes, *, etag: str | None = '"v1"', cut: int | None = None) -> bytes:
    tag = f"ETag: {etag}\r\n" if etag else ""
    return f"HTTP/1.1 200 OK\r\n{tag}Content-Length: {len(content)}\r\n\r\n".encode() + content[:cut]


def rest(content: bytes, *, start: int, etag: str | None = '"v1"', told: str | None = None) -> bytes:
    tag = f"ETag: {etag}\r\n" if etag else ""
    told = told if told is not None else f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n"
    body = content[start:]
    return f"HTTP/1.1 206 Partial\r\n{tag}{told}Content-Length: {len(body)}\r\n\r\n".encode() + body


NOT_THERE = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */7\r\nContent-Length: 0\r\n\r\n"


def asked_from(request: Request) -> int:
    """Where a request asks to go on: somewhat before the cut, as what the connection had read ahead is lost with it."""
    start = int((request.header("range") or "").removeprefix("bytes=").removesuffix("-"))
    assert 0 < start < len(FIRST)
    return start


def go_on(content: bytes, *, etag: str | None = '"v1"', more: int | None = None) -> Callable[[Request], bytes]:
    """The rest from where it is asked for, or only so many bytes `more` of it."""

    def answer(request: Request) -> bytes:
        start = asked_from(request)
        sent = rest(content, start=start, etag=etag)
        return sent if more is None else sent[: len(sent) - len(content) + start + more]

    return answer


class Storage:
    """Answers each request by the next of these."""

    def __init__(self, *answers: bytes | Callable[[Request], bytes]) -> None:
        self._left = list(answers)
        self.asked: list[tuple[str | None, str | None]] = []

    async def __call__(self, connection: Connection) -> None:
        request = await connection.request()
        self.asked.append((request.header("range"), request.header("if-range")))
        answer = self._left.pop(0)
        await connection.send(answer if isinstance(answer, bytes) else answer(request))


async def download(
    client: Client, server: Server, target: Path, *, check: Callable[[Path], None] = lambda _: None
) -> tuple[Saved[None], int]:
    """What was saved, and the bytes that came over the wire for it. Each try has a new address, as they expire."""
    passed: list[int] = []
    url = f"{server.url}/output.mp4?try={len(server.requests)}"
    saved = await transfer.download(
        url,
        target=target,
        mark="m1",
        bound=ANY_SIZE,
        fetch=client.fetch,
        check=functools.partial(viewers.see, check),
        meter=passed.append,
    )
    return saved, sum(passed)


async def broken(client: Client, server: Server, target: Path) -> None:
    with pytest.raises(TransferError):
        await download(client, server, target)


def files(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


async def test_the_next_try_asks_for_the_rest(client: Client, target: Path) -> None:
    storage = Storage(whole(FIRST, cut=CUT), go_on(FIRST))
    async with serving(storage) as server:
        await broken(client, server, target)
        assert files(target) == [".a.mp4.m1.etag", ".a.mp4.m1.part"]
        kept = (target.parent / ".a.mp4.m1.part").read_bytes()
        assert CUT - LOST < len(kept) <= CUT
        assert kept == FIRST[: len(kept)]
        saved, came = await download(client, server, target)
    assert storage.asked == [(None, None), (f"bytes={len(kept)}-", '"v1"')]
    assert came == len(FIRST) - len(kept)
    assert saved == Saved(path=target, bytes=len(FIRST), sha256=sha(FIRST), found=None)
    assert target.read_bytes() == FIRST
    assert files(target) == ["a.mp4"]


async def test_it_can_break_again_and_again(client: Client, target: Path) -> None:
    storage = Storage(whole(FIRST, cut=CUT), go_on(FIRST, more=9), go_on(FIRST, more=LOST + PIECE), go_on(FIRST))
    async with serving(storage) as server:
        for _ in range(3):
            await broken(client, server, target)
        saved, _ = await download(client, server, target)
    starts = [int((asked or "bytes=0-")[6:-1]) for asked, _ in storage.asked]
    assert starts[0] == 0 < starts[1] <= starts[2] < starts[3]
    assert saved.sha256 == sha(FIRST)
    assert target.read_bytes() == FIRST


async def test_another_version_starts_over(client: Client, target: Path) -> None:
    """The tag decides; the storage sends all of the new one."""
    storage = Storage(whole(FIRST, cut=CUT), whole(SECOND, etag='"v2"'))
    async with serving(storage) as server:
        await broken(client, server, target)
        saved, came = await download(client, server, target)
    assert saved.sha256 == sha(SECOND)
    assert came == len(SECOND)
    assert target.read_bytes() == SECOND
    assert files(target) == ["a.mp4"]


async def test_a_new_version_that_breaks_is_gone_on_with_by_its_own_tag(client: Client, target: Path) -> None:
    storage = Storage(whole(FIRST, cut=CUT), whole(SECOND, etag='"v2"', cut=CUT), go_on(SECOND, etag='"v2"'))
    async with serving(storage) as server:
        await broken(client, server, target)
        await broken(client, server, target)
        saved, _ = await download(client, server, target)
    assert [tag for _, tag in storage.asked] == [None, '"v1"', '"v2"']
    assert saved.sha256 == sha(SECOND)
    assert target.read_bytes() == SECOND


async def test_a_new_version_of_which_nothing_comes_costs_nothing_that_came(client: Client, target: Path) -> None:
    storage = Storage(whole(FIRST, cut=CUT), whole(SECOND, etag='"v2"', cut=0), go_on(FIRST))
    async with serving(storage) as server:
        await broken(client, server, target)
        kept = (target.parent / ".a.mp4.m1.part").read_bytes()
        await broken(client, server, target)
        saved, came = await download(client, server, target)
    assert [tag for _, tag in storage.asked] == [None, '"v1"', '"v1"']
    assert (saved.sha256, came) == (sha(FIRST), len(FIRST) - len(kept))


END = len(FIRST) - 1


def ranged(told: str) -> Callable[[Request], bytes]:
    """The right bytes under words that are not right; `{start}` is where the request begins."""

    def answer(request: Request) -> bytes:
        start = asked_from(request)
        return rest(FIRST, start=start, told=told.format(start=start, before=start - 1) + "\r\n")

    return answer


ODD: dict[str, bytes | Callable[[Request], bytes]] = {
    "a range of another version": go_on(SECOND, etag='"v2"'),
    "a range of no version": go_on(SECOND, etag=None),
    "a range of a version that promises nothing": go_on(SECOND, etag='W/"v1"'),
    "another range": ranged(f"Content-Range: bytes {{before}}-{END}/{END + 1}"),
    "a range that ends early": ranged(f"Content-Range: bytes {{start}}-{END - 1}/{END + 1}"),
    "a range of a longer file": ranged(f"Content-Range: bytes {{start}}-{END}/{END + 2}"),
    "a range of an unknown whole": ranged(f"Content-Range: bytes {{start}}-{END}/*"),
    "a range that is none": ranged("Content-Range: something"),
    "several ranges": ranged("Content-Type: multipart/byteranges; boundary=x"),
    "no such range": NOT_THERE,
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_whatever_cannot_be_the_rest_starts_over(
    client: Client, target: Path, answer: bytes | Callable[[Request], bytes]
) -> None:
    storage = Storage(whole(FIRST, cut=CUT), answer, whole(SECOND, etag='"v2"'))
    async with serving(storage) as server:
        await broken(client, server, target)
        saved, _ = await download(client, server, target)
    assert storage.asked[-1] == (None, None)
    assert saved.sha256 == sha(SECOND)
    assert target.read_bytes() == SECOND
    assert files(target) == ["a.mp4"]


async def test_a_rest_that_is_too_long_is_thrown_away(client: Client, target: Path) -> None:
    def too_long(request: Request) -> bytes:
        head, _, tail = rest(FIRST, start=asked_from(request)).partition(b"\r\n\r\n")
        return head.partition(b"Content-Length")[0] + b"\r\n" + tail + b"more"

    storage = Storage(whole(FIRST, cut=CUT), too_long, whole(FIRST))
    async with serving(storage) as server:
        await broken(client, server, target)
        with pytest.raises(DamagedFile, match="were announced"):
            await download(client, server, target)
        assert files(target) == []
        saved, _ = await download(client, server, target)
    assert storage.asked[-1] == (None, None)
    assert saved.sha256 == sha(FIRST)


@pytest.mark.parametrize("etag", [None, 'W/"v1"', "v1", '""', '"a b"', '"' + "x" * 300 + '"'])
async def test_without_a_tag_to_go_by_nothing_is_kept(client: Client, target: Path, etag: str | None) -> None:
    storage = Storage(whole(FIRST, etag=etag, cut=CUT), whole(FIRST, etag=etag))
    async with serving(storage) as server:
        await broken(client, server, target)
        assert files(target) == []
        await download(client, server, target)
    assert storage.asked == [(None, None)] * 2


async def test_without_a_length_nothing_is_kept(client: Client, target: Path) -> None:
    endless = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n7\r\nab'
    async with serving(Storage(endless)) as server:
        await broken(client, server, target)
    assert files(target) == []


async def test_an_expired_address_costs_nothing_that_came(client: Client, target: Path) -> None:
    expired = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    storage = Storage(whole(FIRST, cut=CUT), expired, go_on(FIRST))
    async with serving(storage) as server:
        await broken(client, server, target)
        with pytest.raises(AddressExpired):
            await download(client, server, target)
        _, came = await download(client, server, target)
    assert came < len(FIRST) - CUT + LOST
    assert target.read_bytes() == FIRST


async def test_all_of_it_came_before_the_crash(client: Client, target: Path) -> None:
    target.parent.mkdir()
    with Partial(target, "m1").begin(etag='"v1"', total=len(FIRST)) as file:
        file.write(FIRST)
    async with serving(Storage()) as server:
        saved, came = await download(client, server, target)
        assert server.accepted == 0
    assert (saved.sha256, came) == (sha(FIRST), 0)
    assert files(target) == ["a.mp4"]


async def test_what_fails_the_check_is_not_gone_on_with(client: Client, target: Path) -> None:
    def refuse(_path: Path) -> None:
        raise DamagedFile("no picture")

    storage = Storage(whole(FIRST, cut=CUT), go_on(FIRST), whole(FIRST))
    async with serving(storage) as server:
        await broken(client, server, target)
        with pytest.raises(DamagedFile):
            await download(client, server, target, check=refuse)
        assert files(target) == []
        await download(client, server, target)
    assert storage.asked[-1] == (None, None)


# --- the partial file itself ---


def begun(target: Path, content: bytes, *, etag: str = '"v1"', total: int = 100) -> Partial:
    target.parent.mkdir(exist_ok=True)
    made = Partial(target, "m1")
    with made.begin(etag=etag, total=total) as file:
        file.write(content)
    return made


@pytest.mark.parametrize(
    "note",
    [
        None,
        "",
        "{",
        "[]",
        "7",
        '{"etag": "\\"v1\\""}',
        '{"etag": 7, "total": 100}',
        '{"etag": "v1", "total": 100}',
        '{"etag": "\\"v1\\"", "total": "100"}',
        '{"etag": "\\"v1\\"", "total": 2}',
        '{"etag": "\\"v1\\r\\nX: y\\"", "total": 100}',
        "\x00" * 5000,
    ],
)
def test_a_note_that_says_nothing_usable(target: Path, note: str | None) -> None:
    made = begun(target, b"abc")
    path = target.parent / ".a.mp4.m1.etag"
    path.unlink()
    if note is not None:
        path.write_text(note)
    assert made.kept() is None


def test_nothing_that_is_there_is_nothing_to_go_on_with(target: Path) -> None:
    assert begun(target, b"").kept() is None
    (target.parent / ".a.mp4.m1.part").unlink()
    assert Partial(target, "m1").kept() is None


def test_starting_over_forgets_the_old_version_before_the_new_one_comes(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut at any point between leaves bytes without a note, never bytes under another's note."""
    seen: list[tuple[bool, bool]] = []
    made = begun(target, b"old")
    note, part = target.parent / ".a.mp4.m1.etag", target.parent / ".a.mp4.m1.part"
    unlink, keep = Path.unlink, partial.keep_names

    def watched(path: Path) -> None:
        seen.append((note.exists(), part.exists()))
        unlink(path)

    def kept(folder: Path) -> None:
        seen.append((note.exists(), part.exists()))
        keep(folder)

    monkeypatch.setattr(Path, "unlink", watched)
    monkeypatch.setattr(partial, "keep_names", kept)
    made.begin(etag='"v2"', total=7).close()
    assert seen == [(True, True), (False, True), (False, False)]


def test_only_what_ended_is_swept(tmp_path: Path) -> None:
    mark = mark_of("intro", "project-1")
    names = [
        f".a.mp4.{mark}.part",
        f".a.mp4.{mark}.etag",
        f".a.mp4.{mark}-1.part",
        ".a.mp4.ffffffffffff.part",
        f".b.mp4.{mark}.part",
        f".a.mp4.{mark}.txt",
        f"a.mp4.{mark}.part",
        "a.mp4",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    targets = ("none/a.mp4", "no\0folder/a.mp4", "a.mp4", "a.mp4")
    storage.sweep(tmp_path, [(target, "intro", "project-1") for target in targets])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[3:])
