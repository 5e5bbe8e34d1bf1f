"""Each content is sent once: for many jobs, over many runs, whatever is killed in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
import json
import os
from pathlib import Path
import shutil
import sqlite3
import time

import pytest

from batchrunner import store
from batchrunner.core import events
from batchrunner.core.assets import ASSET_LIFE_S, Key, Sent
from batchrunner.core.events import Event
from batchrunner.core.job import Action, Job, advance
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Again, GiveUp, Leave
from batchrunner.core.spec import Asset
from batchrunner.perform import Performer
from batchrunner.provider.client import Client
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from tests.support import chaos
from tests.support.chaos import Connection, Server, serving
from tests.support.program import Program, Provider
from tests.test_crash import crash_at
from tests.test_perform import NOW, STILL, opened, submitting

IMAGE = {"image_file_path": "a.png"}
BOTH = {"image_file_path": "a.png", "end_image_file_path": "b.png"}


@pytest.fixture
def root(tmp_path: Path, media: Path) -> Path:
    shutil.copytree(media, tmp_path / "batch")
    return tmp_path / "batch"


# --- a provider whose every answer is ours, byte by byte ---


@dataclass
class Shelf:
    """A provider's upload side: gives addresses, takes files, and holds both back as told."""

    puts: list[bytes] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    stored: list[str] = field(default_factory=list)
    given: int = 0

    async def serve(self, connection: Connection) -> None:
        while True:
            request = await connection.request()
            if request.line.startswith("POST"):
                await connection.send(chaos.answer(self._addresses(connection.server, request.body)))
                continue
            self.stored.append(request.line)
            self.arrived.set()
            await self.may_answer.wait()
            await connection.send(self.puts.pop(0) if self.puts else chaos.answer())

    def _addresses(self, server: Server, body: bytes) -> bytes:
        wanted = json.loads(body)["items"]
        self.asked.append(len(wanted))
        items = []
        for _ in wanted:
            self.given += 1
            path = f"api-assets/{self.given}.png"
            items.append({"upload_url": f"{server.url}/{path}", "expires_at": None, "file_path": path})
        return json.dumps({"items": items}).encode()


@asynccontextmanager
async def shelved(
    root: Path, *puts: bytes, waits: bool = False, log: store.Store | None = None
) -> AsyncIterator[tuple[Shelf, Performer]]:
    shelf = Shelf(puts=list(puts))
    if not waits:
        shelf.may_answer.set()
    async with serving(shelf.serve) as server, performing(server.url, root, log) as performer:
        yield shelf, performer


@asynccontextmanager
async def performing(base_url: str, root: Path, log: store.Store | None = None) -> AsyncIterator[Performer]:
    async with Client(base_url=base_url, key=API_KEY, read_wait_s=0) as client:
        held = log.uploads() if log is not None else None
        yield Performer(client=client, root=root, now=lambda: NOW, jitter=lambda: 1.0, held=held, upload_log=log)


def a_job(root: Path, local: dict[str, str] | None = None) -> Job:
    return opened(root, Kind.IMAGE_TO_VIDEO, STILL, IMAGE if local is None else local)


def paths(event: Event) -> list[str]:
    assert isinstance(event, events.Uploaded), event
    return [asset.file_path for asset in event.assets]


@pytest.fixture
def state(tmp_path: Path) -> Callable[[], store.Store]:
    return lambda: store.open_for_run(tmp_path / "night.state.db", run_id=os.urandom(4).hex(), now=NOW)


async def test_addresses_for_what_comes_next_are_asked_for_along(root: Path) -> None:
    (root / "c.png").write_bytes((root / "a.png").read_bytes() + b"another")
    jobs = [a_job(root, {"image_file_path": f"{name}.png"}) for name in "abc"]
    async with shelved(root, waits=True) as (shelf, performer):
        sent = []
        for number, job in enumerate(jobs[:2], start=1):
            sent.append(asyncio.create_task(performer(Action.UPLOAD, job)))
            async with asyncio.timeout(10):
                while len(shelf.stored) < number:
                    shelf.arrived.clear()
                    await shelf.arrived.wait()
        assert shelf.asked == [1, 2]
        shelf.may_answer.set()
        uploaded = [await each for each in sent] + [await performer(Action.UPLOAD, jobs[2])]
        assert shelf.asked == [1, 2]
        assert len({path for event in uploaded for path in paths(event)}) == 3


async def test_what_is_needed_at_the_same_time_is_asked_for_together_and_sent_once(root: Path) -> None:
    jobs = [a_job(root, BOTH), a_job(root), a_job(root, {"image_file_path": "b.png"})]
    async with shelved(root) as (shelf, performer):
        uploaded = await asyncio.gather(*(performer(Action.UPLOAD, job) for job in jobs))
        assert (shelf.asked, len(shelf.stored)) == ([2], 2)
        assert paths(uploaded[0]) == paths(uploaded[1]) + paths(uploaded[2])
        for _ in range(200):
            assert paths(await performer(Action.UPLOAD, jobs[0])) == paths(uploaded[0])
        assert (shelf.asked, len(shelf.stored)) == ([2], 2)
        assert performer._uploads._flights == {}


async def test_those_who_wait_for_an_upload_share_its_failure_and_try_again(root: Path) -> None:
    job = a_job(root)
    async with shelved(root, chaos.answer(status=500)) as (shelf, performer):
        failed = await asyncio.gather(*(performer(Action.UPLOAD, job) for _ in range(3)))
        assert len(shelf.stored) == 1
        assert all(isinstance(event, events.StepFailed) and isinstance(event.verdict, Again) for event in failed)
        assert paths(await performer(Action.UPLOAD, job)) == ["api-assets/2.png"]


async def test_one_who_waits_no_more_takes_nothing_from_the_others(root: Path) -> None:
    job = a_job(root)
    async with shelved(root, waits=True) as (shelf, performer):
        first, second = (asyncio.ensure_future(performer(Action.UPLOAD, job)) for _ in range(2))
        await shelf.arrived.wait()
        first.cancel()
        await asyncio.wait([first])
        shelf.may_answer.set()
        assert paths(await second) == ["api-assets/1.png"]
        assert len(shelf.stored) == 1


async def test_an_upload_that_nobody_waits_for_ends(root: Path) -> None:
    job = a_job(root)
    async with shelved(root, waits=True) as (shelf, performer):
        waiting = [asyncio.ensure_future(performer(Action.UPLOAD, job)) for _ in range(2)]
        await shelf.arrived.wait()
        others = asyncio.all_tasks() - {asyncio.current_task(), *waiting}
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        assert performer._uploads._flights == {}
        ended = [each for each in others if each.get_coro().__qualname__ == "Uploads._send"]  # type: ignore[union-attr]
        assert [each.cancelled() for each in ended] == [True]
        shelf.may_answer.set()
        assert paths(await performer(Action.UPLOAD, job)) == ["api-assets/2.png"]


async def test_an_address_that_expired_is_replaced_at_once(root: Path, state: Callable[[], store.Store]) -> None:
    with state() as log:
        async with shelved(root, chaos.answer(status=403), log=log) as (shelf, performer):
            assert paths(await performer(Action.UPLOAD, a_job(root))) == ["api-assets/2.png"]
            assert shelf.asked == [1, 1]
        await log.settle()
        assert [sent.file_path for sent in log.uploads().values()] == ["api-assets/2.png"]


async def test_the_second_address_in_a_row_that_expires_is_a_failure(root: Path) -> None:
    async with shelved(root, chaos.answer(status=403), chaos.answer(status=403)) as (shelf, performer):
        event = await performer(Action.UPLOAD, a_job(root))
        assert len(shelf.stored) == 2
    assert isinstance(event, events.StepFailed)
    assert event.failure.code == "address_expired"
    assert isinstance(event.verdict, Again)


async def test_a_file_that_changes_while_it_is_sent_is_not_remembered(
    root: Path, state: Callable[[], store.Store]
) -> None:
    """The pieces before the last are with the storage by then; what changed was behind them."""
    (root / "a.png").write_bytes(b"x" * 20_000_000)
    job = a_job(root)

    async def spoil(connection: Connection) -> None:
        while True:
            head = await connection.head()
            if head.startswith(b"POST"):
                target = {"upload_url": f"{connection.server.url}/a", "expires_at": None, "file_path": "api-assets/1"}
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await connection.reader.readexactly(length)
                await connection.send(chaos.answer(json.dumps({"items": [target]}).encode()))
                continue
            with (root / "a.png").open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"y")
            await connection.reader.read()

    with state() as log:
        async with serving(spoil) as server, performing(server.url, root, log) as performer:
            event = await performer(Action.UPLOAD, job)
        await log.settle()
        assert log.uploads() == {}
    assert isinstance(event, events.StepFailed)
    assert (event.failure.code, event.verdict) == ("input_changed", Leave())


async def test_a_file_that_changed_does_not_spoil_another_of_the_same_content(provider: Provider, root: Path) -> None:
    shutil.copy(root / "a.png", root / "c.png")
    changed, same = a_job(root), a_job(root, {"image_file_path": "c.png"})
    shutil.copy(root / "b.png", root / "a.png")
    async with performing(provider.base_url, root) as performer:
        first, second = await asyncio.gather(performer(Action.UPLOAD, changed), performer(Action.UPLOAD, same))
    assert isinstance(first, events.StepFailed)
    assert first.failure.code == "input_changed"
    assert len(paths(second)) == 1


async def test_a_file_that_is_not_taken_does_not_spoil_what_is_asked_for_with_it(
    provider: Provider, root: Path
) -> None:
    shutil.copy(root / "a.png", root / "a.xyz")
    async with performing(provider.base_url, root) as performer:
        bad, good = await asyncio.gather(
            performer(Action.UPLOAD, a_job(root, {"image_file_path": "a.xyz"})),
            performer(Action.UPLOAD, a_job(root, {"image_file_path": "b.png"})),
        )
    assert isinstance(bad, events.StepFailed)
    assert (bad.failure.status, bad.verdict) == (422, GiveUp())
    assert len(paths(good)) == 1


async def test_an_upload_is_on_disk_before_its_job_hears_of_it(root: Path, state: Callable[[], store.Store]) -> None:
    job = a_job(root, BOTH)
    with state() as log:
        async with shelved(root, log=log) as (_, performer):
            first = await performer(Action.UPLOAD, job)
    with state() as log:
        async with shelved(root, log=log) as (shelf, performer):
            second = await performer(Action.UPLOAD, job)
        assert shelf.asked == []
    assert paths(second) == paths(first)
    assert isinstance(second, events.Uploaded)
    assert {(asset.expires_at, asset.is_reused) for asset in second.assets} == {(NOW + ASSET_LIFE_S, True)}


async def test_what_a_refusal_forgets_is_only_what_was_refused(root: Path, state: Callable[[], store.Store]) -> None:
    key = Key(sha256="ab", media="image", extension="png")
    with state() as log:
        log.note_upload(key, Sent(file_path="api-assets/new.png", sent_at=NOW))
        await log.forget_upload(key, Sent(file_path="api-assets/old.png", sent_at=NOW))
        assert log.uploads() == {key: Sent(file_path="api-assets/new.png", sent_at=NOW)}
        await log.forget_upload(key, Sent(file_path="api-assets/new.png", sent_at=NOW))
        assert log.uploads() == {}


async def test_a_refusal_is_put_down_to_an_earlier_upload_only_once(root: Path) -> None:
    gone = Asset(field="image_file_path", file_path="api-assets/1.png", expires_at=NOW + ASSET_LIFE_S, is_reused=True)
    job = submitting(advance(a_job(root), events.Uploaded(at=NOW, assets=(gone,))))
    refusal = chaos.answer(b'{"code":"unprocessable_entity","message":"The file does not exist"}', status=422)
    async with chaos.answers(refusal) as api, performing(api.url, root) as performer:
        first = await performer(Action.SUBMIT, job)
        second = await performer(Action.SUBMIT, replace(job, is_renewed=True))
    assert isinstance(first, events.Refused)
    assert isinstance(second, events.Refused)
    assert (first.verdict, first.blames_inputs) == (Again(at=NOW), True)
    assert (second.verdict, second.blames_inputs) == (GiveUp(), False)


# --- the program ---

PUT = "PUT /storage/{file_path:path}"
ASK = "POST /v1/files/upload-urls"
CREATE = "POST /v1/video-to-video"


def manifest_of(count: int) -> str:
    lines = ["version: 1", "output: out/{id}.mp4", "jobs:"]
    lines += [
        f"  - {{id: job-{number}, kind: video-to-video, input: {'ab'[number % 2]}.mp4, end_seconds: 0.5,"
        " style: {art_style: Ink}}"
        for number in range(count)
    ]
    return "\n".join(lines) + "\n"


@dataclass
class Night:
    """A program with a provider of its own, and a manifest."""

    program: Program
    data: Path
    manifest: Path

    def run(self, jobs: int, *flags: str) -> None:
        self.manifest.write_text(manifest_of(jobs))
        ended = self.program.run("run", self.manifest.name, *flags)
        assert ended.code == 0, ended.err
        assert self.program.provider.creates_by_job("night") == {f"job-{number}": 1 for number in range(jobs)}

    def uploads(self) -> int:
        return self.program.provider.requests().get(PUT, 0)

    def remembered(self) -> int:
        """Uploads on record."""
        with store.open_to_read(self.program.folder / "night.state.db") as view:
            return 0 if view is None else len(view.uploads())

    def age_at_provider(self) -> None:
        """Let what was uploaded be older than the provider keeps it."""
        for path in self.data.joinpath("uploads").rglob("*.mp4"):
            os.utime(path, (time.time() - 8 * 86_400,) * 2)

    def age_on_record(self, days: float) -> None:
        with closing(sqlite3.connect(self.program.folder / "night.state.db")) as db, db:
            db.execute("UPDATE upload SET sent_at = sent_at - ?", (days * 86_400,))
        db.close()


@pytest.fixture
def night(tmp_path: Path, media: Path) -> Iterator[Night]:
    data = tmp_path / "provider"
    with launch.start(Settings(data_dir=data, scale=0.1, no_render=True)) as running:
        folder = tmp_path / "batch"
        shutil.copytree(media, folder)
        program = Program(folder=folder, provider=Provider(base_url=running.base_url))
        yield Night(program=program, data=data, manifest=folder / "night.yaml")


def test_twenty_jobs_on_two_clips_send_two_files_and_later_runs_none(night):
    night.run(20)
    requests = night.program.provider.requests()
    assert (requests[PUT], requests[CREATE]) == (2, 20)
    assert requests[ASK] <= 2
    night.run(24)
    shutil.rmtree(night.manifest.parent / "out")
    night.manifest.write_text(manifest_of(24).replace("Ink", "Oil Painting"))
    ended = night.program.run("run", "night.yaml", "--rerender")
    assert ended.code == 0, ended.err
    assert set(night.program.provider.creates_by_job("night").values()) == {2}
    assert night.uploads() == 2


def test_uploads_of_earlier_runs_can_be_left_aside(night):
    night.run(4)
    night.run(8, "--no-upload-cache")
    assert night.uploads() == 4
    night.run(10)
    assert night.uploads() == 4


def test_a_run_that_is_killed_between_two_uploads_of_a_job_sends_only_the_other_again(night):
    night.manifest.write_text(
        "version: 1\noutput: out/{id}.mp4\njobs:\n"
        "  - id: job-0\n    kind: image-to-video\n    end_seconds: 5\n    model: kling-3.0\n    style: {prompt: slow}\n"
        "    assets: {image_file_path: a.png, end_image_file_path: b.png}\n"
    )
    killed = crash_at(night.program, night.manifest, "after settle")
    assert killed.code == -9, killed.err
    remembered = night.remembered()
    assert remembered in {1, 2}, "the other may have come at the same time"
    ended = night.program.run("run", "night.yaml")
    assert ended.code == 0, ended.err
    assert night.uploads() <= 2 + (2 - remembered)
    assert night.remembered() == 2


def test_uploads_are_renewed_before_the_provider_deletes_them(night):
    night.run(4)
    night.age_on_record(days=5.9)
    night.run(8)
    assert night.uploads() == 2
    night.age_on_record(days=0.2)
    night.run(12)
    assert night.uploads() == 4


def test_uploads_that_the_provider_lost_are_sent_again_once(night):
    night.run(4)
    night.age_at_provider()
    night.run(12)
    assert night.uploads() == 4
    assert night.program.provider.requests()[CREATE] <= 12 + 8
    night.run(14)
    assert night.uploads() == 4
