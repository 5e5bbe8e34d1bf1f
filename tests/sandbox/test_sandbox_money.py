"""Credits: held, settled, refunded; never more spent than there is, and every one of them accounted for."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
import time
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from batchrunner.sandbox.books import Books
from batchrunner.sandbox.journal import Journal
from batchrunner.sandbox.orders import ClipOrder, Source, StillOrder
from batchrunner.sandbox.problems import ApiError
from batchrunner.sandbox.renderer import Rendered, RenderError

STILL = {"end_seconds": 3, "name": "s/1", "assets": {"image_file_path": "https://example.com/a.png"}}
CLIP = {
    "name": "c/1",
    "start_seconds": 0,
    "end_seconds": 1,
    "fps_resolution": "FULL",
    "style": {"art_style": "Pixel"},
    "assets": {"video_source": "youtube", "youtube_url": "https://www.youtube.com/watch?v=1"},
}


def assert_adds_up(ledger: dict[str, Any]) -> None:
    assert ledger["credits"] == ledger["initial_credits"] - sum(job["charged"] for job in ledger["creates"])
    balance = ledger["initial_credits"]
    moved: Counter[str] = Counter()
    for entry in ledger["entries"]:
        balance += entry["credits"]
        moved[entry["project"]] -= entry["credits"]
        assert entry["balance"] == balance >= 0
    assert balance == ledger["credits"]
    for job in ledger["creates"]:
        assert 0 <= job["charged"] <= job["held"]
        assert moved[job["id"]] == job["charged"]


def test_a_clip_is_held_at_thirty_frames_and_settled_to_what_was_rendered(start: Any) -> None:
    _, caller = start(latency_s=0.3)
    created = caller.api("POST", "/v1/video-to-video", CLIP).json()
    assert created["credits_charged"] == created["estimated_frame_cost"] == 60
    assert caller.ledger()["credits"] == 100_000 - 60
    early = caller.project(created["id"])
    assert early["status"] in ("queued", "rendering")
    assert (early["credits_charged"], early["fps"], early["width"], early["downloads"]) == (60, 30, -1, [])
    done = caller.wait(created["id"])
    assert (done["status"], done["credits_charged"], done["total_frame_cost"], done["fps"]) == ("complete", 48, 48, 24)
    ledger = caller.ledger()
    assert [(entry["kind"], entry["credits"]) for entry in ledger["entries"]] == [("hold", -60), ("settle", 12)]
    assert_adds_up(ledger)


def test_a_still_costs_what_was_said_at_once(start: Any) -> None:
    _, caller = start()
    project = caller.render("/v1/image-to-video", STILL)
    assert project["credits_charged"] == 144
    assert [entry["kind"] for entry in caller.ledger()["entries"]] == ["hold"]


@pytest.mark.parametrize(
    ("medium", "extension", "code"),
    [("video", "mp4", "invalid_video_file"), ("image", "png", "invalid_image_file")],
)
def test_a_failed_render_is_refunded(start: Any, tmp_path: Path, medium: str, extension: str, code: str) -> None:
    _, caller = start()
    damaged = tmp_path / f"damaged.{extension}"
    damaged.write_bytes(b"nothing that can be decoded")
    file_path = caller.upload(damaged, medium)
    if medium == "video":
        body = {**CLIP, "assets": {"video_source": "file", "video_file_path": file_path}}
        project = caller.render("/v1/video-to-video", body)
    else:
        project = caller.render("/v1/image-to-video", {**STILL, "assets": {"image_file_path": file_path}})
    assert (project["status"], project["error"]["code"]) == ("error", code)
    assert project["error"]["message"]
    assert (project["credits_charged"], project["width"], project["height"]) == (0, -1, -1)
    assert (project["downloads"], project["download"]) == ([], None)
    ledger = caller.ledger()
    assert ledger["credits"] == 100_000
    assert_adds_up(ledger)


def test_too_few_credits(start: Any) -> None:
    _, caller = start(credits=200)
    assert caller.api("POST", "/v1/image-to-video", STILL).status_code == 200
    refused = caller.api("POST", "/v1/image-to-video", STILL)
    assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_credits")
    assert caller.api("GET", "/v1/account").json()["credits"] == 200 - 144
    assert len(caller.ledger()["creates"]) == 1


def test_many_at_once_cannot_overdraw(start: Any) -> None:
    _, caller = start(credits=10 * 48 + 47, latency_s=60)
    body = {**STILL, "model": "ltx-2.5", "end_seconds": 1}
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: caller.api("POST", "/v1/image-to-video", body), range(40)))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 402: 30}
    ledger = caller.ledger()
    assert ledger["credits"] == 47
    assert len({job["id"] for job in ledger["creates"]}) == 10
    assert_adds_up(ledger)


def test_a_cancelled_project_is_refunded(start: Any) -> None:
    _, caller = start(latency_s=60, render_workers=1)
    ids = [caller.api("POST", "/v1/image-to-video", STILL).json()["id"] for _ in range(2)]
    caller.wait(ids[0], until=("rendering",))
    assert caller.project(ids[1])["status"] == "queued"
    for project_id in reversed(ids):
        answer = caller.http.post(f"{caller.base_url}/_sandbox/projects/{project_id}/cancel")
        assert (answer.json()["status"], answer.json()["credits_charged"]) == ("canceled", 0)
        again = caller.http.post(f"{caller.base_url}/_sandbox/projects/{project_id}/cancel")
        assert again.status_code == 422
    assert caller.ledger()["credits"] == 100_000
    assert caller.project(ids[0])["status"] == "canceled"
    assert_adds_up(caller.ledger())


def test_a_cancelled_render_makes_room_for_the_next(start: Any) -> None:
    _, caller = start(latency_s=0.2, render_workers=1)
    first, second = (caller.api("POST", "/v1/image-to-video", STILL).json()["id"] for _ in range(2))
    caller.wait(first, until=("rendering",))
    caller.http.post(f"{caller.base_url}/_sandbox/projects/{first}/cancel")
    assert caller.wait(second)["status"] == "complete"


def test_a_project_deleted_while_it_renders_stays_paid(start: Any) -> None:
    _, caller = start(latency_s=60)
    project_id = caller.api("POST", "/v1/image-to-video", STILL).json()["id"]
    caller.wait(project_id, until=("rendering",))
    assert caller.api("DELETE", f"/v1/video-projects/{project_id}").status_code == 204
    assert caller.api("GET", f"/v1/video-projects/{project_id}").status_code == 404
    ledger = caller.ledger()
    assert ledger["credits"] == 100_000 - 144
    assert ledger["creates"][0]["deleted"]


def test_the_ledger_tells_what_was_accepted_and_how_often_it_was_asked(start: Any) -> None:
    _, caller = start()
    caller.render("/v1/image-to-video", STILL)
    caller.render("/v1/video-to-video", CLIP)
    caller.api("POST", "/v1/image-to-video", {})
    ledger = caller.ledger()
    assert [(job["name"], job["kind"], job["status"]) for job in ledger["creates"]] == [
        ("s/1", "image-to-video", "complete"),
        ("c/1", "video-to-video", "complete"),
    ]
    assert [job["body"] for job in ledger["creates"]] == [STILL, CLIP]
    assert ledger["requests"]["POST /v1/image-to-video"] == 2
    assert ledger["requests"]["GET /v1/video-projects/{id}"] >= 2
    assert_adds_up(ledger)


def test_a_name_is_given_where_there_is_none(start: Any) -> None:
    _, caller = start()
    body = {key: value for key, value in STILL.items() if key != "name"}
    project = caller.render("/v1/image-to-video", body)
    assert project["name"].startswith("Image To Video - ")


def test_a_result_can_be_the_next_input(start: Any) -> None:
    _, caller = start()
    first = caller.render("/v1/image-to-video", STILL)
    for address in (first["downloads"][0]["url"], f"https://magichour.ai/my-library?videoId={first['id']}"):
        body = {**CLIP, "assets": {"video_source": "file", "video_file_path": address}}
        second = caller.render("/v1/video-to-video", body)
        assert (second["status"], second["credits_charged"]) == ("complete", 48)


def test_the_same_public_address_gives_the_same_result(start: Any) -> None:
    _, caller = start()
    sizes = []
    for address in ("https://example.com/a.mp4", "https://example.com/a.mp4", "https://example.com/b.mp4?x=1"):
        body = {**CLIP, "assets": {"video_source": "file", "video_file_path": address}}
        project = caller.render("/v1/video-to-video", body)
        sizes.append(caller.http.get(project["downloads"][0]["url"]).content)
    assert sizes[0] == sizes[1] != sizes[2]


def test_many_renders_of_the_same_public_address_at_once(start: Any) -> None:
    _, caller = start(render_workers=8)
    ids = [caller.api("POST", "/v1/image-to-video", STILL).json()["id"] for _ in range(8)]
    assert {caller.wait(project_id)["status"] for project_id in ids} == {"complete"}


def test_the_api_answers_while_it_renders(start: Any) -> None:
    _, caller = start(scale=0.5)
    for _ in range(4):
        caller.api("POST", "/v1/image-to-video", {**STILL, "resolution": "1080p"})
    waits: list[float] = []
    deadline = time.monotonic() + 60
    while caller.ledger()["creates"][-1]["status"] != "complete" and time.monotonic() < deadline:
        began = time.monotonic()
        caller.api("GET", "/v1/account")
        waits.append(time.monotonic() - began)
    assert len(waits) > 10
    assert sorted(waits)[len(waits) // 2] < 0.2


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["clip", "still", "complete", "fail", "cancel", "delete", "dear", "late", "unpaid", "correct", "credit"]
        ),
        st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, opening=st.integers(0, 2000))
def test_the_books_always_add_up_and_replay_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]], opening: int
) -> None:
    folder = tmp_path_factory.mktemp("books")
    books = Books(Journal(folder), credits=opening)
    for action, number in actions:
        _act(books, action, number)
        charged = sum(project.charged for project in books.projects.values())
        assert books.balance == opening + books.topped_up - charged >= 0
        assert books.balance == opening + sum(entry.credits for entry in books.entries)
    books.close()
    again = Books(Journal(folder), credits=7)
    assert (again.projects, again.entries, again.balance) == (books.projects, books.entries, books.balance)
    assert (again.account, again.secret) == (books.account, books.secret)
    again.close()


def _act(books: Books, action: str, number: int) -> None:
    source = Source(origin="elsewhere", ref="https://example.com/a.mp4")
    waiting = list(books.open_projects())
    if action in ("clip", "still"):
        order: ClipOrder | StillOrder = (
            ClipOrder(source=source, start_s=0, end_s=1, fps_resolution="HALF", art_style="Ink")
            if action == "clip"
            else StillOrder(image=source, end_image=source, end_s=1, resolution="720p", fps=24, audio=False, prompt="")
        )
        held = number * 50
        with pytest.raises(ApiError) if held > books.balance else nullcontext():
            books.accept(order, name=f"{number}", body={}, held=held, fps=30)
    elif action == "credit":
        with suppress(ApiError):
            books.credit((number - 5) * 100)
    elif action == "correct":
        for project_id, _ in books.due():
            books.correct(project_id)
    elif waiting:
        _end(books, action, number, waiting[number % len(waiting)])


def _end(books: Books, action: str, number: int, project_id: str) -> None:
    rendered = Rendered(frames=number * 20, fps=12, width=2, height=2)
    match action:
        case "complete":
            books.complete(project_id, rendered)
        case "dear":
            books.complete(project_id, rendered, correct=lambda right: right * 3 + 10, settle_after_s=number // 5)
        case "late" | "unpaid":
            books.fail(project_id, RenderError("nsfw", "no"), refund_after_s=1 if action == "late" else None)
        case "fail":
            books.fail(project_id, RenderError("nsfw", "no"))
        case "cancel":
            books.cancel(project_id)
        case "delete":
            books.delete(project_id)
