"""Each action against the real sandbox, and every failure of the wire as the event it must become."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
import json
from pathlib import Path
import shutil
import threading
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest

from batchrunner import carrying, pieces, storage, witness
from batchrunner.core import events, job as machine, retry
from batchrunner.core.assets import ASSET_LIFE_S
from batchrunner.core.events import Event
from batchrunner.core.job import Action, Job, State, advance, next_action
from batchrunner.core.kind import Kind
from batchrunner.core.result import Doubt
from batchrunner.core.retry import Again, GiveUp, Leave
from batchrunner.core.spec import Asset, Input, Spec
from batchrunner.errors import ProviderError
from batchrunner.perform import Performer
from batchrunner.provider.client import Client
from batchrunner.provider.connections import BUFFER, Timeouts
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from tests.support import chaos
from tests.support.chaos import Connection, Server, answers, serving
from tests.support.program import Provider

NOW = 1_800_000_000.0
HASTY = Timeouts(connect_s=1, read_s=0.3, write_s=0.3, pool_s=1, whole_s=1)
PROJECT = "cmtwmxasp02q7h401s1vslohu"
CLIP = {
    "start_seconds": 0,
    "end_seconds": 0.5,
    "style": {"art_style": "Ink", "version": "default"},
    "assets": {"video_source": "file", "video_file_path": "a.mp4"},
}
STILL = {"end_seconds": 5, "style": {"prompt": "slow"}, "assets": {"image_file_path": "a.png"}}


@pytest.fixture
def root(tmp_path: Path, media: Path) -> Path:
    shutil.copytree(media, tmp_path / "batch")
    return tmp_path / "batch"


@asynccontextmanager
async def performing(base_url: str, root: Path, timeouts: Timeouts | None = None) -> AsyncIterator[Performer]:
    async with Client(base_url=base_url, key=API_KEY, timeouts=timeouts, read_wait_s=0) as client:
        yield Performer(client=client, root=root, now=lambda: NOW, jitter=lambda: 1.0)


def opened(
    root: Path, kind: Kind, request: dict[str, Any], local: dict[str, str] | None = None, output: str = "out/r.mp4"
) -> Job:
    """A job whose inputs are these local files, given as field and name."""
    inputs = []
    for name, path in (local or {}).items():
        sha256, size = pieces.sha256_of(root / path)
        inputs.append(
            Input(field=name, media=name.partition("_")[0].replace("end", "image"), path=path, sha256=sha256, size=size)
        )
    spec = Spec(
        kind=kind, request=json.dumps(request), inputs=tuple(inputs), output=output, seconds=0.5, fingerprint="f"
    )
    return advance(None, events.Opened(at=NOW, id="j", attempt=1, spec=spec))


def submitting(job: Job) -> Job:
    return advance(job, events.SubmitStarted(at=NOW, name=f"perform {uuid4()}"))


def rendering(root: Path, project_id: str = PROJECT) -> Job:
    job = submitting(advance(opened(root, Kind.IMAGE_TO_VIDEO, STILL), events.Uploaded(at=NOW, assets=())))
    return advance(job, events.Accepted(at=NOW, project_id=project_id, credits=1))


def rendered(root: Path, project_id: str = PROJECT) -> Job:
    return advance(rendering(root, project_id), events.Rendered(at=NOW, status="complete", credits=1))


async def carried_out(performer: Performer, job: Job, *, until: frozenset[State]) -> tuple[Job, list[Event]]:
    """The job after doing what is next until it is in one of these states, and the events on the way."""
    happened: list[Event] = []
    deadline = time.monotonic() + 60
    while job.state not in until:
        assert time.monotonic() < deadline, happened
        action = next_action(job)
        assert action is not None, job
        if action is Action.SUBMIT:
            job = submitting(job)
        event = await performer(action, job)
        if not isinstance(event, events.Looked):
            happened.append(event)
        job = advance(job, event)
    return job, happened


def created(provider: Provider, job: Job) -> dict[str, Any]:
    [found] = [each for each in provider.ledger()["creates"] if each["name"] == job.name]
    answer: dict[str, Any] = found
    return answer


# --- from the first action to the last ---


@pytest.mark.parametrize(
    ("kind", "request_body", "local"),
    [
        (Kind.VIDEO_TO_VIDEO, CLIP, {"video_file_path": "a.mp4"}),
        (Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.png"}),
        (
            Kind.IMAGE_TO_VIDEO,
            STILL | {"model": "kling-3.0", "assets": {"image_file_path": "a.png", "end_image_file_path": "b.png"}},
            {"image_file_path": "a.png", "end_image_file_path": "b.png"},
        ),
    ],
)
async def test_a_job_from_its_files_to_its_result(
    provider: Provider, root: Path, kind: Kind, request_body: dict[str, Any], local: dict[str, str]
) -> None:
    job = opened(root, kind, request_body, local)
    async with performing(provider.base_url, root) as performer:
        job, happened = await carried_out(performer, job, until=machine.FINAL)
    assert [type(event) for event in happened] == [
        events.Uploaded,
        events.Accepted,
        events.Rendered,
        events.Downloaded,
    ]
    assert [asset.field for asset in job.assets] == list(local)
    assert {asset.expires_at for asset in job.assets} == {NOW + ASSET_LIFE_S}
    order = created(provider, job)
    assert order["id"] == job.project_id
    assert order["charged"] == job.charged
    sent = request_body["assets"] | {asset.field: asset.file_path for asset in job.assets}
    assert order["body"] == request_body | {"name": job.name, "assets": sent}
    [output] = job.outputs
    assert output.path == "out/r.mp4"
    assert pieces.sha256_of(root / output.path) == (output.sha256, output.bytes)
    assert performer.traffic.up == sum((root / path).stat().st_size for path in local.values())
    assert performer.traffic.down == output.bytes


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/a%2Fb/still.png?sig=a%2Bb",
        "https://magichour.ai/my-library?imageId={done}",
        "{uploaded}",
    ],
)
async def test_what_is_not_a_local_file_is_sent_as_it_stands(provider: Provider, root: Path, address: str) -> None:
    async with performing(provider.base_url, root) as performer:
        first = opened(root, Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.png"})
        first, _ = await carried_out(performer, first, until=frozenset({State.RENDERED}))
        address = address.format(done=first.project_id, uploaded=first.assets[0].file_path)
        up = performer.traffic.up
        job = opened(root, Kind.IMAGE_TO_VIDEO, STILL | {"assets": {"image_file_path": address}})
        job, _ = await carried_out(performer, job, until=frozenset({State.RENDERED}))
    assert job.assets == ()
    assert performer.traffic.up == up
    assert created(provider, job)["body"]["assets"] == {"image_file_path": address}


async def test_a_result_is_fetched_again_by_another_run(provider: Provider, root: Path) -> None:
    job = opened(root, Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.png"})
    async with performing(provider.base_url, root) as performer:
        job, _ = await carried_out(performer, job, until=machine.FINAL)
    (root / job.outputs[0].path).unlink()
    async with performing(provider.base_url, root) as performer:
        event = await performer(Action.DOWNLOAD, job)
    assert isinstance(event, events.Downloaded)
    assert event.outputs == job.outputs
    assert advance(job, event).state is State.DONE


async def test_a_render_that_was_canceled_or_deleted(root: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "slow", scale=0.1, latency_s=600)  # none of them ends by itself
    with launch.start(settings) as slow:
        await _cancel_and_delete(slow.base_url, root)


async def _cancel_and_delete(base_url: str, root: Path) -> None:
    bearer = {"Authorization": f"Bearer {API_KEY}"}
    async with (
        httpx.AsyncClient(base_url=base_url, headers=bearer, trust_env=False) as http,
        performing(base_url, root) as performer,
    ):
        jobs = [opened(root, Kind.VIDEO_TO_VIDEO, CLIP, {"video_file_path": "a.mp4"}) for _ in range(2)]
        canceled, deleted = [(await carried_out(performer, job, until=frozenset({State.RENDERING})))[0] for job in jobs]
        (await http.post(f"/_sandbox/projects/{canceled.project_id}/cancel")).raise_for_status()
        (await http.delete(f"/v1/video-projects/{deleted.project_id}")).raise_for_status()
        assert await performer(Action.POLL, canceled) == events.Canceled(at=NOW, credits=0)
        for _ in range(retry.LOST_AFTER - 1):
            event = await performer(Action.POLL, deleted)
            assert isinstance(event, events.StepFailed)
            assert event.failure.status == 404
            assert isinstance(event.verdict, Again)
            deleted = advance(deleted, event)
        event = await performer(Action.POLL, deleted)
        assert isinstance(event, events.RenderFailed)
        assert event.failure.code == "project_gone"
        assert event.verdict == GiveUp()


async def test_the_evidence_is_what_the_provider_says(provider: Provider, root: Path) -> None:
    job = opened(root, Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.png"})
    async with performing(provider.base_url, root) as performer:
        job, _ = await carried_out(performer, job, until=frozenset({State.RENDERED}))
    assert job.project_id is not None
    async with Client(base_url=provider.base_url, key=API_KEY, read_wait_s=0) as client:
        reading = await witness.read(client, [job.project_id, PROJECT], now=lambda: NOW)
        assert reading.charges == {job.project_id: job.charged}, "one that the provider does not know has no charge"
        assert reading.credits == (await client.account()).credits
    async with Client(base_url=f"http://127.0.0.1:{chaos.closed_port()}", key=API_KEY, read_wait_s=0) as client:
        with pytest.raises(ProviderError):
            await witness.read(client, [], now=lambda: NOW)


# --- upload ---


async def test_a_file_that_changed_is_left_to_a_run_that_reads_it_anew(provider: Provider, root: Path) -> None:
    job = opened(root, Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.png"})
    shutil.copy(root / "b.png", root / "a.png")
    async with performing(provider.base_url, root) as performer:
        event = await performer(Action.UPLOAD, job)
    assert isinstance(event, events.StepFailed)
    assert (event.failure.code, event.verdict) == ("input_changed", Leave())
    left = advance(job, event)
    assert (left.state, left.is_left) == (State.READY, True)


async def test_an_extension_the_provider_does_not_take_ends_the_attempt(provider: Provider, root: Path) -> None:
    (root / "a.png").rename(root / "a.xyz")
    job = opened(root, Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.xyz"})
    async with performing(provider.base_url, root) as performer:
        event = await performer(Action.UPLOAD, job)
    assert isinstance(event, events.StepFailed)
    assert (event.failure.status, event.verdict) == (422, GiveUp())


@pytest.mark.parametrize(
    ("answer", "code"),
    [(chaos.answer(status=403), "address_expired"), (chaos.answer(status=500), "transfer"), (b"", "transfer")],
)
async def test_an_upload_that_fails_is_done_again(root: Path, answer: bytes, code: str) -> None:
    job = opened(root, Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.png"})
    async with answers(answer) as storage:
        target = {"upload_url": f"{storage.url}/x?sig=SIGNED", "expires_at": None, "file_path": "api-assets/x.png"}
        async with (
            answers(chaos.answer(json.dumps({"items": [target]}).encode())) as api,
            performing(api.url, root) as performer,
        ):
            event = await performer(Action.UPLOAD, job)
    assert isinstance(event, events.StepFailed)
    assert event.failure.code == code
    assert "SIGNED" not in repr(event)
    assert isinstance(event.verdict, Again)


# --- submit ---


async def submitted(root: Path, base_url: str) -> Event:
    assets = (Asset(field="image_file_path", file_path="api-assets/x.png", expires_at=NOW + ASSET_LIFE_S),)
    job = opened(root, Kind.IMAGE_TO_VIDEO, STILL, {"image_file_path": "a.png"})
    job = submitting(advance(job, events.Uploaded(at=NOW, assets=assets)))
    async with performing(base_url, root, HASTY) as performer:
        event = await performer(Action.SUBMIT, job)
    advance(job, event)
    return event


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(400, GiveUp), (401, Leave), (402, Leave), (403, GiveUp), (404, GiveUp), (422, GiveUp), (429, Again)],
)
async def test_a_refusal_that_proves_itself(root: Path, status: int, verdict: type) -> None:
    async with answers(
        chaos.answer(b'{"code":"c","message":"m"}', status=status, headers="Retry-After: 77\r\n")
    ) as api:
        event = await submitted(root, api.url)
    assert isinstance(event, events.Refused)
    assert (event.failure.status, event.failure.code, event.failure.retry_after_s) == (status, "c", 77)
    assert isinstance(event.verdict, verdict)
    if isinstance(event.verdict, Again):
        assert event.verdict.at == NOW + 77


async def test_a_plan_that_does_not_include_it_ends_the_attempt(root: Path) -> None:
    async with answers(chaos.answer(b'{"code":"plan_upgrade_required"}', status=402)) as api:
        event = await submitted(root, api.url)
    assert isinstance(event, events.Refused)
    assert event.verdict == GiveUp()


async def test_what_never_left_may_be_sent_again(root: Path) -> None:
    event = await submitted(root, f"http://127.0.0.1:{chaos.closed_port()}")
    assert isinstance(event, events.Refused)
    assert event.failure.code == "unreachable"
    assert event.failure.is_unreachable
    assert isinstance(event.verdict, Again)


@pytest.mark.parametrize("status", [302, 307, 405, 408, 409, 418, 500, 502, 503, 504])
async def test_a_status_that_proves_nothing(root: Path, status: int) -> None:
    async with answers(chaos.answer(status=status)) as api:
        event = await submitted(root, api.url)
    assert isinstance(event, events.AnswerLost)
    assert event.failure.status == status


async def _silent(connection: Connection) -> None:
    await connection.request()
    await chaos.silence(connection)


async def _gone(connection: Connection) -> None:
    await connection.request()


@pytest.mark.parametrize("handle", [_silent, _gone])
async def test_an_answer_that_does_not_come(root: Path, handle: chaos.Handler) -> None:
    async with serving(handle) as api:
        event = await submitted(root, api.url)
        assert len(api.requests) == 1
    assert isinstance(event, events.AnswerLost)
    assert event.failure.code == "no_answer"


async def test_an_id_in_a_broken_answer_is_accepted(root: Path) -> None:
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"id":"%s","credits_ch' % PROJECT.encode()
    async with answers(cut) as api:
        event = await submitted(root, api.url)
    assert event == events.Accepted(at=NOW, project_id=PROJECT, credits=None)


# --- poll ---


def state_of_project(**fields: Any) -> bytes:
    return chaos.answer(json.dumps({"id": PROJECT, "credits_charged": 3} | fields).encode())


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ({"status": "queued"}, events.Looked(at=NOW, status="queued", credits=3)),
        ({"status": "unheard_of"}, events.Looked(at=NOW, status="unheard_of", credits=3)),
        ({"status": "complete", "credits_charged": None}, events.Rendered(at=NOW, status="complete", credits=None)),
        ({"status": "canceled", "credits_charged": 0}, events.Canceled(at=NOW, credits=0)),
    ],
)
async def test_a_look(root: Path, fields: dict[str, Any], event: Event) -> None:
    async with answers(state_of_project(**fields)) as api, performing(api.url, root) as performer:
        assert await performer(Action.POLL, rendering(root)) == event


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "nsfw", "message": "No"}, "nsfw"),
        (None, "unknown_error"),
        ("odd", "unknown_error"),
        ({}, "unknown_error"),
    ],
)
async def test_a_render_that_failed(root: Path, error: object, code: str) -> None:
    answer = state_of_project(status="error", error=error, credits_charged=0)
    async with answers(answer) as api, performing(api.url, root) as performer:
        event = await performer(Action.POLL, rendering(root))
    assert isinstance(event, events.RenderFailed)
    assert (event.failure.code, event.credits, event.verdict) == (code, 0, Again(at=NOW + 2.0))


@pytest.mark.parametrize("credits", [3, None])
async def test_a_failed_render_starts_over_only_after_its_refund(root: Path, credits: int | None) -> None:
    failed = state_of_project(status="error", error={"code": "nsfw", "message": "No"}, credits_charged=credits)
    refunded = state_of_project(status="error", error={"code": "nsfw", "message": "No"}, credits_charged=0)
    async with answers(failed, failed, refunded) as api, performing(api.url, root) as performer:
        job = rendering(root)
        for _ in range(2):
            event = await performer(Action.POLL, job)
            assert isinstance(event, events.RefundAwaited)
            job = advance(job, event)
        over = advance(job, await performer(Action.POLL, job))
    assert (over.state, over.retried, over.project_id) == (State.READY, ("nsfw",), None)


async def test_an_answer_that_asks_for_patience_is_not_asked_again_before(root: Path) -> None:
    busy = chaos.answer(status=503, headers="Retry-After: 90\r\n")
    async with answers(busy) as api, performing(api.url, root) as performer:
        event = await performer(Action.POLL, rendering(root))
    assert isinstance(event, events.StepFailed)
    assert event.verdict == Again(at=NOW + 90.0, of=16)
    assert len(api.requests) == 1


async def test_a_deleted_project_is_gone_at_once(root: Path) -> None:
    answer = state_of_project(status="complete", enabled=False)
    for action, job in ((Action.POLL, rendering(root)), (Action.DOWNLOAD, rendered(root))):
        async with answers(answer) as api, performing(api.url, root) as performer:
            event = await performer(action, job)
        assert isinstance(event, events.RenderFailed)
        assert (event.failure.code, event.credits) == ("project_gone", 3)
        advance(job, event)


@pytest.mark.parametrize("make", [rendering, rendered])
async def test_only_looks_that_say_404_make_a_project_gone(root: Path, make: Callable[[Path], Job]) -> None:
    job = make(root)
    action = next_action(job)
    assert action is not None
    busy, unknown, there = chaos.answer(status=429), chaos.answer(status=404), state_of_project(status="complete")
    # Failures of another kind count for nothing, and those around a look that succeeds are not in a row.
    few = retry.LOST_AFTER - 1
    said = [busy] * 4 + [unknown] * few + [busy] + [there] + [unknown] * few
    async with answers(*said, unknown) as api, performing(api.url, root) as performer:
        for _ in said:
            event = await performer(action, job)
            assert isinstance(event, events.StepFailed | events.Rendered), event
        event = await performer(action, job)
    assert isinstance(event, events.RenderFailed)
    assert event.failure.code == "project_gone"


async def test_a_look_that_fails_is_repeated_and_never_given_up(root: Path) -> None:
    job = rendering(root)
    async with performing(f"http://127.0.0.1:{chaos.closed_port()}", root) as performer:
        for _ in range(retry.PATIENCE[retry.Step.POLL].tries):
            event = await performer(Action.POLL, job)
            assert isinstance(event, events.StepFailed)
            assert not job.is_left
            assert not isinstance(event.verdict, GiveUp)
            job = advance(job, event)
    assert job.is_left
    assert job.state is State.RENDERING


# --- download ---


@asynccontextmanager
async def storing(answer: bytes) -> AsyncIterator[tuple[Server, Server]]:
    """An API with a complete project, and the storage of its result that answers so."""
    async with answers(answer) as storage:
        downloads = [{"url": f"{storage.url}/output.mp4?sig=SIGNED", "expires_at": None}]
        async with answers(state_of_project(status="complete", downloads=downloads)) as api:
            yield api, storage


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_an_expired_address_is_asked_for_anew(root: Path, status: int) -> None:
    job = rendering(root)
    async with storing(chaos.answer(status=status)) as (api, storage), performing(api.url, root) as performer:
        job = advance(job, await performer(Action.POLL, job))
        event = await performer(Action.DOWNLOAD, job)
        assert isinstance(event, events.AddressExpired)
        assert isinstance(event.verdict, Again)
        assert len(api.requests) == 1, "the address of the look was used"
        await performer(Action.DOWNLOAD, advance(job, event))
        assert len(api.requests) == 2
        assert len(storage.requests) == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (chaos.answer(b"<html>no video</html>"), "damaged_file"),
        (chaos.answer(b""), "damaged_file"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\nabc", "damaged_file"),
        (chaos.answer(status=503), "transfer"),
        (b"", "transfer"),
    ],
)
async def test_a_result_that_does_not_arrive_whole(root: Path, answer: bytes, code: str) -> None:
    job = rendered(root)
    async with storing(answer) as (api, _), performing(api.url, root) as performer:
        event = await performer(Action.DOWNLOAD, job)
    assert isinstance(event, events.StepFailed)
    assert event.failure.code == code
    assert "SIGNED" not in repr(event)
    assert isinstance(event.verdict, Again)
    assert list((root / "out").iterdir()) == []
    assert advance(job, event).state is State.RENDERED


async def test_a_complete_project_without_an_address(root: Path) -> None:
    async with (
        answers(state_of_project(status="complete", downloads=[])) as api,
        performing(api.url, root) as performer,
    ):
        event = await performer(Action.DOWNLOAD, rendered(root))
    assert isinstance(event, events.StepFailed)
    assert "no address" in event.failure.message


async def test_what_is_left_of_a_download_goes_with_its_project(root: Path) -> None:
    job = rendered(root)
    clip = (root / "a.mp4").read_bytes()
    content = clip * (4 * BUFFER // len(clip))  # what has come and was not read is lost with a connection that breaks
    head = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: %d\r\n\r\n' % (len(content) + 1)
    async with storing(head + content) as (api, _), performing(api.url, root) as performer:
        assert isinstance(await performer(Action.DOWNLOAD, job), events.StepFailed)
    assert sorted(path.suffix for path in (root / "out").iterdir()) == [".etag", ".part"]
    gone = state_of_project(status="complete", enabled=False)
    async with answers(gone) as api, performing(api.url, root) as performer:
        assert isinstance(await performer(Action.DOWNLOAD, job), events.RenderFailed)
    assert list((root / "out").iterdir()) == []


async def test_a_done_job_stays_done_when_the_provider_has_lost_it(root: Path) -> None:
    job = rendered(root)
    job = advance(job, events.Downloaded(at=NOW, outputs=()))
    for answer in (chaos.answer(status=404), state_of_project(status="complete", enabled=False)):
        async with answers(answer) as api, performing(api.url, root) as performer:
            for _ in range(6):
                event = await performer(Action.DOWNLOAD, job)
                assert advance(job, event).state is State.DONE
                assert isinstance(event, events.StepFailed)
                assert isinstance(event.verdict, Again)
                assert event.verdict.of == retry.PATIENCE[retry.Step.DOWNLOAD].tries, "not as if it were to be given up"


async def test_several_results_each_get_a_name(root: Path) -> None:
    contents = [(root / name).read_bytes() for name in ("a.mp4", "b.mp4")]
    async with answers(*map(chaos.answer, contents)) as storage:
        downloads = [{"url": f"{storage.url}/{number}/output.mp4"} for number in range(2)]
        async with (
            answers(state_of_project(status="complete", downloads=downloads)) as api,
            performing(api.url, root) as performer,
        ):
            event = await performer(Action.DOWNLOAD, rendered(root))
    assert isinstance(event, events.Downloaded)
    assert [output.path for output in event.outputs] == ["out/r.mp4", "out/r.2.mp4"]
    assert [(root / output.path).read_bytes() for output in event.outputs] == contents


async def test_an_output_outside_the_folder_is_recorded_whole(root: Path, tmp_path: Path) -> None:
    spec_output = str(tmp_path / "elsewhere" / "r.mp4")
    job = opened(root, Kind.IMAGE_TO_VIDEO, STILL, output=spec_output)
    job = submitting(advance(job, events.Uploaded(at=NOW, assets=())))
    job = advance(job, events.Accepted(at=NOW, project_id=PROJECT, credits=1))
    job = advance(job, events.Rendered(at=NOW, status="complete", credits=1))
    content = (root / "a.mp4").read_bytes()
    async with storing(chaos.answer(content)) as (api, _), performing(api.url, root) as performer:
        event = await performer(Action.DOWNLOAD, job)
    assert isinstance(event, events.Downloaded)
    assert event.outputs[0].path == spec_output


async def test_the_check_of_a_result_does_not_stop_the_loop(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    check = carrying.check

    def noted(fetching: carrying.Fetching, render: storage.Readable) -> Doubt | None:
        threads.append(threading.get_ident())
        return check(fetching, render)

    monkeypatch.setattr(carrying, "check", noted)
    content = (root / "a.mp4").read_bytes()
    async with storing(chaos.answer(content)) as (api, _), performing(api.url, root) as performer:
        await performer(Action.DOWNLOAD, rendered(root))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_evidence_is_not_an_action(root: Path) -> None:
    async with performing("http://127.0.0.1:1", root) as performer:
        with pytest.raises(AssertionError):
            await performer(Action.RECONCILE, rendering(root))
