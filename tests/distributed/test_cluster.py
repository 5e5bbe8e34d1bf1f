"""What becomes of single transfers: workers that cannot be used, do not get on, or are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
import os
from pathlib import Path
import shutil
import signal
import time
from typing import Any

import pytest

from batchrunner import crew, rollcall
from batchrunner.carrying import Brought, Fetching, Here, Sending
from batchrunner.core.result import Doubt
from batchrunner.core.space import Bound
from batchrunner.errors import AddressExpired, DamagedFile, InputProblem, TransferError, UsageError
from batchrunner.pictures import Wanted
from batchrunner.provider import courier as couriers
from batchrunner.provider.connections import BUFFER
from batchrunner.provider.guard import Guard
from batchrunner.provider.proxies import Proxies
from batchrunner.traffic import Traffic
from batchrunner.worker import Done, Sights, Trouble, flaw_of
from tests.support import chaos
from tests.support.chaos import Connection, answers, serving
from tests.support.cluster import Processes
from tests.support.program import wait_for

pytest.importorskip("distributed", reason="only who uses workers needs it")

from batchrunner.distributed import Cluster, Patience, joined

LOOPBACK = Guard(allows_local=True, needs_tls=False)
SIGNED = "sig=SIGNED-AND-SECRET"


@dataclass
class Counted:
    """Carries here, and notes what."""

    here: Here
    carried: list[Sending | Fetching] = field(default_factory=list)

    async def send(self, sending: Sending, traffic: Traffic) -> None:
        self.carried.append(sending)
        await self.here.send(sending, traffic)

    async def bring(self, fetching: Fetching, traffic: Traffic) -> Brought:
        self.carried.append(fetching)
        return await self.here.bring(fetching, traffic)


@dataclass
class Night:
    """A cluster that was joined, with what was said, and this process in its place."""

    cluster: Cluster
    here: Counted
    said: list[str]
    traffic: Traffic = field(default_factory=Traffic)

    async def bring(self, fetching: Fetching) -> Brought:
        return await self.cluster.carrier(self.here).bring(fetching, self.traffic)

    async def send(self, sending: Sending) -> None:
        await self.cluster.carrier(self.here).send(sending, self.traffic)


@asynccontextmanager
async def night(
    address: str, root: Path, patience: Patience | None = None, cache: Path | None = None
) -> AsyncIterator[Night]:
    said: list[str] = []
    courier = couriers.independent(LOOPBACK, Proxies())
    sights = Sights(root=root, marker=".batchrunner.test.marker", content="it is me")
    async with joined(
        address, sights=sights, guard=LOOPBACK, tell=said.append, patience=patience, cache=cache
    ) as cluster:
        try:
            yield Night(cluster=cluster, here=Counted(Here(put=courier.put, fetch=courier.fetch)), said=said)
        finally:
            await courier.aclose()


def fetching(root: Path, url: str, written: str = "out/r.mp4") -> Fetching:
    return Fetching(
        written=written,
        root=root,
        mark="0123456789ab",
        bound=Bound(likely=10**7, most=10**8),
        seconds=1.0,
        wants_sound=False,
        source=None,
        url=f"{url}/r.mp4?{SIGNED}",
    )


def sending(root: Path, url: str, content: bytes = b"picture", written: str = "a.png") -> Sending:
    (root / written).write_bytes(content)
    return Sending(
        written=written,
        root=root,
        sha256=sha256(content).hexdigest(),
        size=len(content),
        url=f"{url}/put?{SIGNED}",
    )


@pytest.fixture
def clip(media: Path) -> bytes:
    return (media / "a.mp4").read_bytes()


async def test_what_fails_fails_as_it_would_here_and_no_address_is_told(tmp_path, calm):
    cases = [
        (chaos.answer(status=403), AddressExpired),
        (chaos.answer(b"<html>no clip</html>"), DamagedFile),
        (chaos.answer(status=500), TransferError),
    ]
    async with night(calm.address, tmp_path) as made:
        for answer, kind in cases:
            async with answers(answer) as server:
                with pytest.raises(kind) as by_workers:
                    await made.bring(fetching(tmp_path, server.url))
                with pytest.raises(kind) as here:
                    await made.here.bring(fetching(tmp_path, server.url), Traffic())
            assert type(by_workers.value) is kind
            assert str(by_workers.value) == str(here.value)
            assert SIGNED not in str(by_workers.value)
        made.here.carried.clear()
        async with answers(chaos.answer()) as server:
            changed = sending(tmp_path, server.url)
            (tmp_path / "a.png").write_bytes(b"PICTURE")
            with pytest.raises(InputProblem, match="changed since"):
                await made.send(changed)
        assert made.here.carried == []
    assert list(tmp_path.rglob("*.part")) == []
    assert SIGNED not in calm.words()
    assert SIGNED not in repr(changed)


async def http(connection: Connection) -> None:
    await connection.send(chaos.answer(b"a page"))


@pytest.mark.parametrize("handle", [chaos.silence, http])
async def test_whatever_answers_in_place_of_a_scheduler_is_not_waited_for(handle, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "CONNECT_S", 0.1)
    async with serving(handle) as server:
        address = server.url.replace("http://", "tcp://")
        with pytest.raises(UsageError, match=f"no scheduler answers at {address}\n"):
            async with asyncio.timeout(30), night(address, tmp_path):
                pytest.fail("it was joined")


async def test_bytes_are_counted_once(tmp_path, calm, clip):
    async with night(calm.address, tmp_path) as made, answers(chaos.answer(clip)) as server:
        brought = await made.bring(fetching(tmp_path, server.url))
        assert (brought.bytes, brought.sha256) == (len(clip), sha256(clip).hexdigest())
        assert (made.traffic.up, made.traffic.down) == (0, len(clip))
        await made.send(sending(tmp_path, server.url))
        assert (made.traffic.up, made.traffic.down) == (7, len(clip))
        assert not made.traffic.moving()
        assert made.here.carried == []


async def test_a_break_is_gone_on_with_by_the_same_worker(tmp_path, calm, clip):
    padding = 8 * BUFFER  # larger than any buffer on the way, of which as much is lost with a connection that breaks
    clip += padding.to_bytes(4, "big") + b"free" + bytes(padding - 8)
    half = len(clip) // 2
    whole = chaos.answer(clip, headers='ETag: "one"\r\n')

    async def breaking(connection: Connection) -> None:
        request = await connection.request()
        asked = request.header("range")
        if asked is None:
            await connection.send(whole[: len(whole) - len(clip) + half])
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        said = f'ETag: "one"\r\nContent-Range: bytes {start}-{len(clip) - 1}/{len(clip)}\r\n'
        await connection.send(chaos.answer(clip[start:], status=206, headers=said))

    async with night(calm.address, tmp_path) as made, serving(breaking) as server:
        brought = await made.bring(fetching(tmp_path, server.url))
        assert brought.sha256 == sha256(clip).hexdigest()
        assert len(server.requests) == 2
        assert made.here.carried == []


async def test_a_worker_that_does_not_see_the_folder_is_refused_before_anything_is_sent(tmp_path, calm, monkeypatch):
    """A folder by way of a process's own working folder is another one in every process."""
    (tmp_path / "batch").mkdir()
    monkeypatch.chdir(tmp_path)
    root = Path("/proc/self/cwd/batch")
    with pytest.raises(UsageError, match=r"the worker worker-\d .* cannot see /proc/self/cwd/batch: No such file"):
        async with night(calm.address, root):
            pytest.fail("it was joined")
    assert list((tmp_path / "batch").iterdir()) == [], "the marker is gone"


async def test_a_file_that_workers_cannot_reach_is_carried_here(tmp_path, calm, clip, monkeypatch):
    (tmp_path / "batch").mkdir()
    monkeypatch.chdir(tmp_path)
    elsewhere = Path("/proc/self/cwd/batch")
    async with night(calm.address, tmp_path) as made, answers(chaos.answer(clip)) as server:
        what = fetching(elsewhere, server.url)
        brought = await made.bring(what)
        assert (elsewhere / brought.written).read_bytes() == clip
        assert made.here.carried == [what]
        why = f"there is no folder {elsewhere}"
        assert sorted(made.said) == [
            f"the worker worker-{number} ({address}) cannot reach out/r.mp4: {why}; others carry it"
            for number, address in enumerate(addresses(made))
        ]
        given = sending(elsewhere, server.url)
        await made.send(given)
        assert made.here.carried == [what, given]


def addresses(made: Night) -> list[str]:
    known = made.cluster._roll.workers
    return sorted(known, key=lambda each: known[each].name)


async def test_a_result_that_a_worker_put_somewhere_else_is_carried_here(tmp_path, calm, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = Path("/proc/self/cwd")
    async with night(calm.address, tmp_path) as made, answers(chaos.answer(clip)) as server:
        brought = await made.bring(fetching(elsewhere, server.url, written="lost/r.mp4"))
        assert (elsewhere / brought.written).read_bytes() == clip
        assert len(made.here.carried) == 1
        assert "put lost/r.mp4 where it cannot be seen from here" in made.said[0]
    shutil.rmtree(calm.folder / "lost")


LIAR = """
from pathlib import Path
from batchrunner import worker
from batchrunner.core.result import Doubt
from batchrunner.carrying import Brought
from batchrunner.worker import Done, Trouble

def carry(errand, say):
    return eval(Path("lie").read_text())

worker.carry = carry
"""
HASH = "0123456789abcdef" * 4


async def test_a_worker_that_says_what_cannot_be_is_not_believed(tmp_path, clip):
    """One that runs other code: it names a file that is there, and has the size that it names."""
    made_up = Processes(tmp_path / "cluster")
    (tmp_path / "cluster" / "liar.py").write_text(LIAR)
    (tmp_path / "foreign.mp4").write_bytes(clip)
    root = tmp_path / "batch"
    root.mkdir()
    try:
        made_up.start_scheduler()
        made_up.add_worker(env={"DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "cluster" / "liar.py")})
        await asyncio.to_thread(wait_for, lambda: made_up.count() == 1)
        async with night(made_up.address, root) as made, answers(chaos.answer(clip)) as server:
            foreign = f"Brought(written='../foreign.mp4', bytes={len(clip)}, sha256='{HASH}', doubt=None)"
            for written, lie in (
                ("out/a.mp4", f"Done(bytes=9, brought={foreign})"),
                ("out/b.mp4", "Trouble(kind='BatchrunnerError', words='no')"),
                ("out/c.mp4", "'as it was'"),
            ):
                (tmp_path / "cluster" / "lie").write_text(lie)
                what = fetching(root, server.url, written=written)
                brought = await made.bring(what)
                assert made.here.carried[-1] == what
                assert (brought.written, brought.sha256) == (written, sha256(clip).hexdigest())
                assert f"gave an answer on {written} that nobody can use: " in made.said[-1]
            (tmp_path / "cluster" / "lie").write_text("Done(bytes=6)")
            await made.send(given := sending(root, server.url))
            assert made.here.carried[-1] == given
            assert made.said[-1].endswith("that nobody can use: not 7 bytes were sent; others carry it")
            (tmp_path / "cluster" / "lie").write_text("Done(bytes=7)")
            await made.send(given)
            assert len(made.here.carried) == 4, "what can be true is believed"
    finally:
        made_up.stop()


ANY = fetching(Path("/batch"), "http://127.0.0.1:1")
BROUGHT = Brought(written="out/r.mp4", bytes=5, sha256=HASH, doubt=None)
DOUBT = Doubt(words="it is black", at_s=0.5)


@pytest.mark.parametrize(
    "brought",
    [
        BROUGHT,
        replace(BROUGHT, written="out/r.2.mp4", doubt=DOUBT),
    ],
)
def test_what_can_have_come(brought):
    assert flaw_of(ANY, Done(bytes=0, brought=brought)) is None
    beneath = replace(ANY, written="file:///batch/out/r.mp4")
    assert flaw_of(beneath, Done(bytes=9, brought=brought)) is None


@pytest.mark.parametrize(
    ("asked", "told", "is_it"),
    [
        ("s3://b/out/r.mp4", "s3://b/out/r.3.mp4", True),
        ("s3://b/out/r.mp4", "s3://c/out/r.mp4", False),
        ("file:///elsewhere/r.mp4", "/elsewhere/r.mp4", True),
        ("file:///elsewhere/r.mp4", "r.mp4", False),
        ("out/r.mp4", "out/r.x.mp4", False),
        ("out/r.mp4", "out/rx2.mp4", False),
        ("out/r.mp4", "out/r.2.mp4\n", False),
    ],
)
def test_names_that_a_result_can_have(asked, told, is_it):
    answer = Done(bytes=1, brought=replace(BROUGHT, written=told))
    assert (flaw_of(replace(ANY, written=asked), answer) is None) == is_it


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Done(bytes=1),
        Done(bytes=-1, brought=BROUGHT),
        Done(bytes=True, brought=BROUGHT),
        *(
            Done(bytes=1, brought=replace(BROUGHT, **wrong))
            for wrong in (
                {"written": "/batch/out/r.mp4"},
                {"written": "out/../r.mp4"},
                {"written": None},
                {"bytes": -1},
                {"bytes": 5.0},
                {"sha256": HASH[1:]},
                {"sha256": HASH.upper()},
                {"sha256": 5},
                {"doubt": "it is black"},
                {"doubt": Doubt(words=None, at_s=0.5)},  # type: ignore[arg-type]
                {"doubt": replace(DOUBT, at_s=float("nan"))},
            )
        ),
        Done.__new__(Done),
        Trouble(kind="UsageError", words="no"),
        Trouble(kind="__name__", words="no"),
        Trouble(kind="TransferError", words=5),  # type: ignore[arg-type]
        Trouble(kind="TransferError", words="no", retry_after_s=float("inf")),
    ],
)
def test_what_cannot_have_come(answer):
    assert flaw_of(ANY, answer) is not None


def lying(folder: Path) -> dict[str, str]:
    """The environment of a worker whose version is another one."""
    told = folder / "batchrunner-9.9.9.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: batchrunner\nVersion: 9.9.9\n")
    return {"PYTHONPATH": str(folder)}


async def test_versions_that_do_not_fit(tmp_path, own_cluster):
    (tmp_path / "batch").mkdir()
    ours = rollcall.versions_here()["packages"]["batchrunner"]
    async with night(own_cluster.address, tmp_path / "batch") as made:
        own_cluster.add_worker(env=lying(tmp_path / "lies"))
        words = await said(made, "9.9.9")
        assert words.startswith("the worker worker-2 (")
        assert f"has batchrunner 9.9.9, and this run has {ours}; it is not used" in words
        assert len(made.cluster._roll.fit()) == 2
    with pytest.raises(UsageError, match=f"has batchrunner 9.9.9, and this run has {ours}"):
        async with night(own_cluster.address, tmp_path / "batch"):
            pytest.fail("it was joined")


def test_what_does_not_fit_is_named():
    def report(python: str, batchrunner: str | None, library: str) -> dict[str, Any]:
        return {"host": {"python": python}, "packages": {"batchrunner": batchrunner, "distributed": library}}

    ours = report("3.11.4.final.0", "1.0", "2026.8.0")
    assert list(rollcall.differences(ours, report("3.11.9.final.0", "1.0", "2026.8.0"))) == []
    assert list(rollcall.differences(ours, report("3.12.0.final.0", None, "2026.9.0"))) == [
        ("Python", "3.11", "3.12"),
        ("batchrunner", "1.0", None),
        ("distributed", "2026.8.0", "2026.9.0"),
    ]


async def said(made: Night, words: str) -> str:
    """What was told with these words in it, as soon as it is."""
    await until(lambda: any(words in each for each in made.said))
    return next(each for each in made.said if words in each)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


async def test_a_worker_that_stands_still_is_given_up_on_and_used_again_when_it_is_back(tmp_path, own_cluster, clip):
    (tmp_path / "batch").mkdir()
    hurried = Patience(stalled_s=8.0)
    stopped: list[int] = []
    loop = asyncio.get_running_loop()

    async def trickle(connection: Connection) -> None:
        """Stops the worker that asks first, whoever it is."""
        await connection.request()
        if not stopped:
            flight = next(iter(made.cluster._flights.under_way.values()))
            await until(lambda: flight.at is not None)
            assert flight.at is not None
            name = made.cluster._roll.workers[flight.at].name
            pid = own_cluster.workers[int(name.removeprefix("worker-"))].pid
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        await connection.send(chaos.answer(clip))

    began = loop.time()
    async with night(own_cluster.address, tmp_path / "batch", hurried) as made, serving(trickle) as server:
        brought = await made.bring(fetching(tmp_path / "batch", server.url))
        assert loop.time() - began > hurried.stalled_s
        assert made.here.carried == [], "the other worker carried it"
        assert (tmp_path / "batch" / brought.written).read_bytes() == clip
        assert "for 8 s; others carry it" in made.said[0]
        os.kill(stopped[0], signal.SIGCONT)
        await until(lambda: len(made.cluster._roll.fit()) == 2)
    wait_for(lambda: not list((tmp_path / "batch").rglob("*.part")))


async def test_while_nobody_is_there_this_process_carries(tmp_path, own_cluster, clip):
    (tmp_path / "batch").mkdir()
    root = tmp_path / "batch"
    async with (
        night(own_cluster.address, root, Patience(lost_s=1.0)) as made,
        answers(chaos.answer(clip)) as server,
    ):
        own_cluster.kill_scheduler()
        await made.bring(fetching(root, server.url, written="out/one.mp4"))
        await made.bring(fetching(root, server.url, written="out/two.mp4"))
        assert len(made.here.carried) == 2
        assert made.said == ["no worker can be reached: this machine carries the files itself until one is there"], (
            "it is said once"
        )
        own_cluster.start_scheduler()
        own_cluster.add_worker()
        await said(made, "workers are there again")
        await made.bring(fetching(root, server.url, written="out/three.mp4"))
        assert len(made.here.carried) == 2


async def test_two_at_once_leave_one_whole_file(tmp_path, calm, clip):
    """The same transfer twice at the same time, as after a worker that was only thought to be dead."""
    async with night(calm.address, tmp_path) as made, answers(chaos.answer(clip)) as server:
        both = await asyncio.gather(*(made.bring(fetching(tmp_path, server.url)) for _ in range(6)))
        assert {each.sha256 for each in both} == {sha256(clip).hexdigest()}
        assert {each.written for each in both} == {"out/r.mp4"}
        assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["r.mp4"]


async def test_small_pictures_are_made_where_the_cache_is_shared(tmp_path, calm, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache, unseen, root = tmp_path / "pictures", Path("/proc/self/cwd/unseen"), tmp_path / "batch"
    root.mkdir()
    async with answers(chaos.answer(clip)) as server:
        async with night(calm.address, root, cache=unseen) as made:
            await made.bring(fetching(root, server.url, written="unseen.mp4"))
        async with night(calm.address, root, cache=cache) as made:
            brought = await made.bring(fetching(root, server.url))
            await until(lambda: len(list(cache.glob("*/*.webp"))) == 2)
    file = Wanted(path=root / brought.written, sha256=brought.sha256, size=brought.bytes, known_at=time.time())
    keys = {file.key, replace(file, at_s=0.4).key}
    assert {each.stem for each in cache.glob("*/*.webp")} == keys, "just those that a page will ask for"
    assert names_in(unseen) == []
    assert len(names_in(cache)) == len({key[:2] for key in keys}), "nothing else is left there"


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())
