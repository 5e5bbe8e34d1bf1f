"""Each effect of a rule, seen by a client over a real connection, with books that add up whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
import json
from pathlib import Path
import time
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings

STILL = {"name": "s/1", "end_seconds": 3, "assets": {"image_file_path": "https://example.com/a.png"}}
PRICE = 144
CLIP = {
    "name": "c/1",
    "start_seconds": 0,
    "end_seconds": 2,
    "fps_resolution": "FULL",
    "style": {"art_style": "Pixel"},
    "assets": {"video_source": "youtube", "youtube_url": "https://www.youtube.com/watch?v=1"},
}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("faults"), scale=0.1, no_render=True, credits=1_000_000, latency_s=0.01
    )
    with launch.start(settings) as running:
        yield running.base_url


@pytest.fixture
def caller(process: str, shared: Any) -> Iterator[Any]:
    """A sandbox without renders; its books are checked after each test."""
    found = type(shared)(base_url=process, http=shared.http)
    yield found
    found.rules()
    found.books()


def still(caller: Any, **changes: Any) -> httpx.Response:
    answer: httpx.Response = caller.api("POST", "/v1/image-to-video", {**STILL, **changes})
    return answer


def creates(caller: Any) -> int:
    return len(caller.ledger()["creates"])


def later(condition: Any) -> Any:
    """What a condition gives once it holds; it must within seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


# --- answers


def test_a_status_is_answered_and_nothing_is_done(caller: Any) -> None:
    caller.rules({"step": "create", "job": "s/*", "count": 2, "status": 503, "retry_after": 7})
    before = creates(caller)
    answers = [still(caller) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[0].headers["content-type"].startswith("text/html")
    assert creates(caller) == before + 1


def test_an_input_is_matched_as_the_request_names_it(caller: Any) -> None:
    caller.rules({"step": "create", "input": "https://magichour.ai/my-library*", "status": 422, "message": "not here"})
    project = still(caller).json()["id"]
    later(lambda: caller.project(project)["status"] == "complete")
    assets = {"video_source": "file", "video_file_path": f"https://magichour.ai/my-library?videoId={project}"}
    refused = caller.api("POST", "/v1/video-to-video", {**CLIP, "assets": assets})
    assert (refused.status_code, refused.json()["message"]) == (422, "not here")
    assert caller.api("POST", "/v1/video-to-video", CLIP).status_code == 200
    caller.rules()
    assert caller.api("POST", "/v1/video-to-video", {**CLIP, "assets": assets}).status_code == 200


def test_a_library_address_leads_to_finished_renders_of_the_account_alone(caller: Any) -> None:
    caller.rules({"step": "render", "slow_queue": 600})
    for project in (still(caller).json()["id"], "somebody-elses"):
        assets = {"video_source": "file", "video_file_path": f"https://magichour.ai/my-library?videoId={project}"}
        refused = caller.api("POST", "/v1/video-to-video", {**CLIP, "assets": assets})
        assert refused.status_code == 422
        assert project in refused.json()["message"]


def test_a_status_in_the_words_of_the_api(caller: Any) -> None:
    for code in ("insufficient_credits", "subscription_required", "plan_upgrade_required"):
        caller.rules({"step": "create", "status": 402, "code": code, "message": "no"})
        answer = still(caller)
        assert (answer.status_code, answer.json()) == (402, {"code": code, "message": "no"})
    caller.rules({"status": 500})
    assert caller.api("GET", "/v1/account").json()["code"] == "internal_server_error"


def test_retry_after_as_a_date(caller: Any) -> None:
    caller.rules({"step": "account", "status": 429, "retry_after_date": 90, "headers": {"X-Trace": "1"}})
    answer = caller.api("GET", "/v1/account")
    wait = parsedate_to_datetime(answer.headers["retry-after"]) - datetime.now(UTC)
    assert timedelta(seconds=80) < wait <= timedelta(seconds=90)
    assert (answer.headers["x-trace"], answer.json()["code"]) == ("1", "too_many_requests")


def test_a_body_of_its_own(caller: Any) -> None:
    caller.rules({"step": "account", "status": 502, "body": "bad gateway", "headers": {"Content-Type": "text/x"}})
    answer = caller.api("GET", "/v1/account")
    assert (answer.text, answer.headers["content-type"]) == ("bad gateway", "text/x")
    caller.rules({"step": "account", "status": 204})
    assert caller.api("GET", "/v1/account").content == b""


def test_a_gateway_that_fails_after_the_request_was_handled(caller: Any) -> None:
    caller.rules({"step": "create", "count": 1, "status": 502, "processed": True})
    before = creates(caller)
    assert still(caller, name="lost").status_code == 502
    assert creates(caller) == before + 1
    assert caller.ledger()["creates"][-1]["name"] == "lost"


@pytest.mark.parametrize(("when", "accepted"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize(("drop_by", "error"), [("reset", httpx.ReadError), ("close", httpx.RemoteProtocolError)])
def test_a_dropped_create(caller: Any, when: str, accepted: int, drop_by: str, error: type[Exception]) -> None:
    before = creates(caller)
    caller.rules({"step": "create", "drop": when, "drop_by": drop_by})
    with pytest.raises(error):
        still(caller)
    caller.rules()
    assert creates(caller) == before + accepted


def test_a_dropped_upload_leaves_nothing_or_everything(caller: Any) -> None:
    for when, status in (("before", 422), ("after", 200)):
        caller.rules({"step": "upload", "drop": when})
        item = caller.upload_address("image", "png")
        with pytest.raises(httpx.TransportError):
            caller.http.put(item["upload_url"], content=b"x" * 300_000)
        assert still(caller, assets={"image_file_path": item["file_path"]}).status_code == status


@pytest.mark.parametrize("key", ["hang", "hang_after"])
def test_a_hang(caller: Any, key: str) -> None:
    caller.rules({"step": "create", key: 0.3})
    began = time.monotonic()
    assert still(caller).status_code == 200
    assert time.monotonic() - began >= 0.3


def test_a_hang_ends_before_or_after_the_charge(caller: Any) -> None:
    before = creates(caller)
    for key, accepted in (("hang_after", 1), ("hang", 0)):
        caller.rules({"step": "create", key: 1.5})
        with pytest.raises(httpx.ReadTimeout):
            caller.http.post(
                f"{caller.base_url}/v1/image-to-video",
                json=STILL,
                headers={"Authorization": "Bearer mhk_sandbox"},
                timeout=0.3,
            )
        assert creates(caller) == before + accepted
        before += accepted
    # What hung before it was handled is accepted although nobody waits for it any more.
    later(lambda: creates(caller) == before + 1)


def test_a_hang_and_then_a_drop(caller: Any) -> None:
    before = creates(caller)
    for when, accepted in (("before", 0), ("after", 1)):
        caller.rules({"step": "create", "hang": 0.1, "drop": when})
        began = time.monotonic()
        with pytest.raises(httpx.TransportError):
            still(caller)
        assert time.monotonic() - began >= 0.1
        assert creates(caller) == before + accepted


def test_a_server_that_hangs_can_be_stopped(start: Any) -> None:
    running, caller = start(no_render=True)
    caller.rules({"step": "account", "hang": 600})
    with pytest.raises(httpx.ReadTimeout):
        caller.http.get(f"{caller.base_url}/v1/account", headers={"Authorization": "Bearer mhk_sandbox"}, timeout=0.1)
    began = time.monotonic()
    running.stop()
    assert (running.process.returncode, time.monotonic() - began < 8) == (0, True)


def test_garbage_that_still_holds_the_id(caller: Any) -> None:
    caller.rules({"step": "create", "garbage": "truncated"})
    answer = still(caller)
    project_id = caller.ledger()["creates"][-1]["id"]
    assert answer.status_code == 200
    assert f'"id":"{project_id}"' in answer.text
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(
    ("how", "start"), [("html", b"<html>"), ("empty", b""), ("array", b"[]"), ("nonsense", b"\xff")]
)
def test_garbage(caller: Any, how: str, start: bytes) -> None:
    caller.rules({"step": "account", "garbage": how})
    answer = caller.api("GET", "/v1/account")
    assert answer.status_code == 200
    assert answer.content.startswith(start)


def test_keys_left_out_nulled_and_added(caller: Any) -> None:
    caller.rules(
        {"step": "create", "omit": ["estimated_frame_cost"], "null": ["credits_charged"], "extra": {"frames": [1]}}
    )
    answer = still(caller).json()
    assert set(answer) == {"id", "credits_charged", "frames"}
    assert (answer["credits_charged"], answer["frames"]) == (None, [1])


def finished(caller: Any, body: Any = STILL) -> dict[str, Any]:
    path = "/v1/image-to-video" if "image_file_path" in body["assets"] else "/v1/video-to-video"
    project: dict[str, Any] = caller.render(path, body)
    return project


@pytest.mark.parametrize(("limit", "share"), [(100, None), (0.5, 0.5), (10**9, None), (0, 0)])
def test_a_truncated_download(caller: Any, limit: float, share: float | None) -> None:
    address = finished(caller)["downloads"][0]["url"]
    whole = caller.http.get(address).content
    expected = min(int(limit) if share is None else int(share * len(whole)), len(whole) - 1)
    caller.rules({"step": "download", "truncate": limit})
    received = b""
    with caller.http.stream("GET", address) as answer, contextlib.suppress(httpx.RemoteProtocolError):
        for chunk in answer.iter_raw():
            received += chunk
    assert int(answer.headers["content-length"]) == len(whole)
    assert received == whole[:expected]
    caller.rules()
    rest = caller.http.get(address, headers={"Range": f"bytes={expected}-"})
    assert (rest.status_code, received + rest.content) == (206, whole)


def test_a_truncated_range(caller: Any) -> None:
    address = finished(caller)["downloads"][0]["url"]
    caller.rules({"step": "download", "truncate": 0.5})
    with pytest.raises(httpx.RemoteProtocolError):
        caller.http.get(address, headers={"Range": "bytes=10-109"})


@pytest.mark.parametrize(("etag", "status"), [(None, 206), ("new", 200), ("weak", 200), ("none", 200)])
def test_the_tag_of_a_result(caller: Any, etag: str | None, status: int) -> None:
    address = finished(caller)["downloads"][0]["url"]
    if etag is not None:
        caller.rules({"step": "download", "etag": etag})
    whole = caller.http.get(address)
    tag = whole.headers.get("etag")
    assert (tag is None, (tag or "").startswith("W/")) == (etag == "none", etag == "weak")
    asked = {"Range": "bytes=10-", "If-Range": tag or '"some"'}
    answer = caller.http.get(address, headers=asked)
    assert answer.status_code == status
    assert answer.content == (whole.content[10:] if status == 206 else whole.content)
    first, second = caller.ledger()["downloads"][-2:]
    assert (first["range"], first["if_range"], first["status"], first["sent"]) == (None, None, 200, len(whole.content))
    assert (second["range"], second["if_range"]) == (asked["Range"], asked["If-Range"])
    assert (second["status"], second["sent"]) == (status, len(answer.content))


def test_a_result_that_is_packed_unasked(caller: Any) -> None:
    address = finished(caller)["downloads"][0]["url"]
    plain = caller.http.get(address)
    caller.rules({"step": "download", "packed": True})
    packed = caller.http.get(address, headers={"Range": "bytes=10-"})
    assert (packed.status_code, packed.headers["content-encoding"]) == (200, "gzip")
    assert packed.content == plain.content
    assert packed.headers["etag"] != plain.headers["etag"]


def test_a_picture_before_the_clip(caller: Any) -> None:
    caller.rules({"step": "project", "preview": True})
    first, second = (each["url"] for each in finished(caller)["downloads"])
    assert first.partition("?")[0].endswith(".jpg")
    assert caller.http.get(first).status_code in {403, 404}
    assert caller.http.get(second).status_code == 200


def test_a_trickle(caller: Any) -> None:
    address = finished(caller)["downloads"][0]["url"]
    size = len(caller.http.get(address).content)
    caller.rules({"trickle": size * 4})
    began = time.monotonic()
    assert len(caller.http.get(address).content) == size
    assert 0.2 < time.monotonic() - began < 5
    caller.rules({"trickle": 10, "truncate": 4})
    with pytest.raises(httpx.RemoteProtocolError):
        caller.api("GET", "/v1/account")


def test_a_trickle_that_nobody_waits_for(caller: Any) -> None:
    address = finished(caller)["downloads"][0]["url"]
    caller.rules({"step": "download", "trickle": 20})
    with caller.http.stream("GET", address) as answer:
        next(answer.iter_raw())
    assert caller.api("GET", "/v1/account").status_code == 200


def test_expired_addresses(caller: Any) -> None:
    project_id = finished(caller)["id"]
    caller.rules({"step": "project", "count": 1, "expire_addresses": True})
    for expected in (403, 200):
        assert caller.http.get(caller.project(project_id)["downloads"][0]["url"]).status_code == expected
    address = caller.project(project_id)["downloads"][0]["url"]
    caller.rules({"step": "download", "expire_addresses": True})
    answer = caller.http.get(address)
    assert (answer.status_code, ET.fromstring(answer.text).findtext("Message")) == (403, "Request has expired")
    caller.rules({"step": "upload-urls", "expire_addresses": 0.001})
    item = caller.upload_address("image", "png")
    time.sleep(0.01)
    assert caller.http.put(item["upload_url"], content=b"x").status_code == 403


# --- money


def test_a_wrong_charge_is_really_taken(caller: Any) -> None:
    for charge, taken in (({"factor": 2.0}, 2 * PRICE), ({"credits": 999}, 999), ({"factor": 0.5}, PRICE // 2)):
        caller.rules({"step": "create", "charge": charge})
        before = caller.ledger()["credits"]
        created = still(caller).json()
        assert created["credits_charged"] == taken
        assert caller.wait(created["id"])["credits_charged"] == taken
        assert caller.books()["credits"] == before - taken


def test_a_frozen_balance(caller: Any) -> None:
    balance = caller.ledger()["credits"]
    caller.rules({"freeze_balance": True})
    assert caller.api("GET", "/v1/account").json()["credits"] == balance
    still(caller)
    assert caller.api("GET", "/v1/account").json()["credits"] == balance
    assert caller.ledger()["credits"] == balance - PRICE
    caller.rules({"step": "account", "freeze_balance": 0})
    assert caller.api("GET", "/v1/account").json()["credits"] == 0


def test_another_settlement(caller: Any) -> None:
    for settle, taken in (({"factor": 0.5}, PRICE // 2), ({"credits": 300}, 300)):
        caller.rules({"settle": settle})
        assert finished(caller)["credits_charged"] == taken
        assert caller.books()["creates"][-1]["settled_at"] is not None


def test_a_late_settlement(caller: Any) -> None:
    caller.rules({"late_settle": 0.3})
    project = finished(caller, CLIP)
    assert project["credits_charged"] == 120
    assert caller.books()["creates"][-1]["settled_at"] is None
    later(lambda: caller.ledger()["creates"][-1]["settled_at"])
    assert caller.project(project["id"])["credits_charged"] == 96
    assert [entry["kind"] for entry in caller.books()["entries"][-2:]] == ["hold", "settle"]


@pytest.mark.parametrize("refund", ["at once", "late", "never"])
def test_a_render_that_fails(caller: Any, refund: str) -> None:
    failure = {"code": "nsfw", "message": "No.", "delay": 0.1, "refund": refund, "refund_after": 0.3}
    caller.rules({"step": "render", "job": "s/1", "render_error": failure})
    project = finished(caller)
    assert (project["status"], project["error"]) == ("error", {"code": "nsfw", "message": "No."})
    job = caller.books()["creates"][-1]
    if refund == "at once":
        assert (job["charged"], job["refunded"]) == (0, PRICE)
        assert job["settled_at"] is not None
        return
    assert (project["credits_charged"], job["refunded"], job["settled_at"]) == (PRICE, 0, None)
    if refund == "late":
        job = later(lambda: [found for found in caller.books()["creates"][-1:] if found["settled_at"]])[0]
        assert (job["charged"], job["refunded"]) == (0, PRICE)


# --- fates


def test_a_project_is_cancelled(caller: Any) -> None:
    caller.rules({"cancel": True, "slow_queue": 60})
    assert finished(caller)["status"] == "canceled"
    assert caller.books()["creates"][-1]["refunded"] == PRICE


def test_a_project_vanishes(caller: Any) -> None:
    caller.rules({"delete": {"delay": 0.2}})
    project = finished(caller)
    path = f"/v1/video-projects/{project['id']}"
    later(lambda: caller.api("GET", path).status_code == 404)
    assert caller.http.get(project["downloads"][0]["url"]).status_code == 404
    assert caller.books()["creates"][-1]["charged"] == PRICE


def test_a_project_is_disabled(caller: Any) -> None:
    caller.rules({"disable": {"delay": 0}, "slow_queue": 60})
    project_id = still(caller).json()["id"]
    later(lambda: not caller.project(project_id)["enabled"])
    assert caller.project(project_id)["status"] == "queued"
    caller.rules()
    project_id = finished(caller)["id"]
    answer = caller.http.post(f"{caller.base_url}/_sandbox/projects/{project_id}/disable")
    assert (answer.json()["enabled"], answer.json()["status"]) == (False, "complete")
    assert caller.ledger()["creates"][-1]["disabled"]


def test_a_slow_queue(caller: Any) -> None:
    caller.rules({"slow_queue": 1})
    began = time.monotonic()
    project_id = still(caller).json()["id"]
    assert caller.project(project_id)["status"] == "queued"
    assert caller.wait(project_id)["status"] == "complete"
    assert time.monotonic() - began >= 1


def test_an_unknown_status(caller: Any) -> None:
    caller.rules({"step": "project", "count": 3, "status_word": "thinking"})
    project_id = still(caller).json()["id"]
    looks = [caller.project(project_id) for _ in range(3)]
    assert [(look["status"], look["downloads"]) for look in looks] == [("thinking", [])] * 3
    assert caller.wait(project_id)["status"] == "complete"


@pytest.mark.parametrize("no_render", [True, False])
def test_wrong_and_black_output(start: Any, probe: Any, tmp_path: Path, *, no_render: bool) -> None:
    _, caller = start(no_render=no_render)
    caller.rules({"job": "s/*", "wrong_output": {"seconds": 1}}, {"job": "c/*", "black": True})
    for body, seconds, is_black in ((STILL, 1, False), (CLIP, 2, True)):
        project = finished(caller, body)
        assert project["end_seconds"] == body["end_seconds"]
        path = tmp_path / "output.mp4"
        path.write_bytes(caller.http.get(project["downloads"][0]["url"]).content)
        found = probe(path)
        assert (found.seconds, found.size) == (seconds, (project["width"], project["height"]))
        assert (max(channel[1] for channel in found.last.getextrema()) < 8) is is_black
    assert caller.books()["creates"][-1]["charged"] == 96


# --- controls


def test_rules_are_read_and_replaced_while_it_runs(caller: Any) -> None:
    address = caller.base_url + "/_sandbox/faults"
    caller.rules({"step": "account", "count": 1, "status": 500}, {"job": "good/*"})
    for _ in range(2):
        caller.api("GET", "/v1/account")
    told = caller.http.get(address).json()
    assert told == {
        "seed": 0,
        "rules": [{"step": "account", "count": 1, "status": 500}, {"job": "good/*"}],
        "seen": [2, 0],
        "applied": [1, 0],
    }
    assert caller.http.put(address, json=told).json()["applied"] == [0, 0]
    refused = caller.http.put(address, json=[{"status": 1}])
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert refused.json()["message"].startswith("rule 1: status: expected")
    assert caller.http.put(address, content=b"[").status_code == 400
    assert caller.http.get(address).json()["rules"] == told["rules"]


def test_credits_that_come_and_go_elsewhere(caller: Any) -> None:
    address = caller.base_url + "/_sandbox/credits"
    before = caller.books()
    assert caller.http.post(address, json={"credits": 500}).json() == {"credits": before["credits"] + 500}
    assert caller.http.post(address, json={"credits": -200}).json() == {"credits": before["credits"] + 300}
    after = caller.books()
    assert after["topped_up"] == before["topped_up"] + 300
    assert [(entry["project"], entry["kind"]) for entry in after["entries"][-2:]] == [(None, "top-up"), (None, "spend")]
    assert caller.http.post(address, json={"credits": -(10**9)}).status_code == 422
    assert caller.http.post(address, json={"credits": "1"}).status_code == 400
    assert caller.books()["credits"] == after["credits"]


def test_a_fault_file_and_a_wrong_one(start: Any, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([{"step": "account", "status": 503}]))
    _, caller = start(faults=path)
    assert caller.api("GET", "/v1/account").status_code == 503
    path.write_text(json.dumps([{"steps": "account"}]))
    with pytest.raises(Exception, match=r"did not start: .*faults\.json: rule 1: unknown key 'steps'"):
        launch.start(Settings(data_dir=tmp_path / "other", faults=path))
