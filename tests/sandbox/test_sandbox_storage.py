"""Presigned addresses: uploads that are whole or not there, downloads by range, and nothing without a signature."""

from __future__ import annotations

import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

BEARER = {"Authorization": "Bearer mhk_sandbox"}
STILL = {"end_seconds": 1, "model": "ltx-2.5", "assets": {"image_file_path": "https://example.com/a.png"}}


@pytest.fixture(scope="module")
def result(shared: Any) -> Any:
    project = shared.render("/v1/image-to-video", STILL)
    assert project["status"] == "complete"
    return project


def raw(address: str, head: str, body: bytes) -> bytes:
    """What comes back for a request written by hand, of which no more is sent."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as connection:
        path = f"{parts.path}?{parts.query}"
        connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}\r\n\r\n".encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def uses(caller: Any, file_path: str) -> int:
    body = {**STILL, "assets": {"image_file_path": file_path}}
    status: int = caller.api("POST", "/v1/image-to-video", body).status_code
    return status


def test_addresses_come_in_the_order_of_the_request(shared: Any) -> None:
    wanted = [("video", "mp4"), ("image", "png"), ("audio", "mp3"), ("video", "webm")]
    body = {"items": [{"type": kind, "extension": extension} for kind, extension in wanted]}
    items = shared.api("POST", "/v1/files/upload-urls", body).json()["items"]
    assert [item["file_path"].rsplit(".")[-1] for item in items] == [extension for _, extension in wanted]
    assert all(item["file_path"].startswith("api-assets/") for item in items)
    assert all(item["expires_at"].endswith("Z") for item in items)


def test_an_upload_can_be_used(shared: Any, still: Any) -> None:
    assert uses(shared, shared.upload(still, "image")) == 200


def test_an_upload_of_the_wrong_medium(shared: Any, clip: Any) -> None:
    assert uses(shared, shared.upload(clip, "video")) == 422


def test_a_large_upload_arrives_as_it_was(start: Any, tmp_path: Any) -> None:
    _, caller = start()
    content = bytes(range(256)) * 40_000  # 10 MB
    item = caller.upload_address("video", "mp4")
    assert caller.http.put(item["upload_url"], content=content).status_code == 200
    assert (tmp_path / "data" / "uploads" / item["file_path"]).read_bytes() == content


def test_an_address_without_its_upload(shared: Any) -> None:
    assert uses(shared, shared.upload_address("image", "png")["file_path"]) == 422


def test_an_upload_that_breaks_off_leaves_nothing(start: Any, tmp_path: Any) -> None:
    _, caller = start()
    item = caller.upload_address("image", "png")
    raw(item["upload_url"], "Content-Length: 1000", b"only this")
    assert uses(caller, item["file_path"]) == 422
    deadline = time.monotonic() + 10
    while left := [path for path in (tmp_path / "data" / "uploads").rglob("*") if path.is_file()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_a_bearer_never_belongs_to_storage(shared: Any, result: Any, still: Any) -> None:
    item = shared.upload_address("image", "png")
    answer = shared.http.put(item["upload_url"], content=still.read_bytes(), headers=BEARER)
    assert (answer.status_code, "Only one auth mechanism allowed" in answer.text) == (400, True)
    assert uses(shared, item["file_path"]) == 422
    assert shared.http.get(result["downloads"][0]["url"], headers=BEARER).status_code == 400


@pytest.mark.parametrize("change", [lambda url: url + "0", lambda url: url + "&x=1", lambda url: url.split("?")[0]])
def test_a_changed_address(shared: Any, result: Any, change: Any) -> None:
    answer = shared.http.get(change(result["downloads"][0]["url"]))
    assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)
    address = change(shared.upload_address("image", "png")["upload_url"])
    assert shared.http.put(address, content=b"x").status_code == 403


def test_the_expiry_cannot_be_moved(shared: Any, result: Any) -> None:
    address = result["downloads"][0]["url"].replace("expires=1", "expires=2")
    assert shared.http.get(address).status_code == 403


def test_a_large_refused_upload_still_gets_its_answer(shared: Any) -> None:
    address = shared.upload_address("image", "png")["upload_url"] + "x"
    assert shared.http.put(address, content=bytes(8_000_000)).status_code == 403


def test_expired_addresses(start: Any) -> None:
    _, caller = start(upload_ttl_s=0, download_ttl_s=0)
    answer = caller.http.put(caller.upload_address("image", "png")["upload_url"], content=b"x")
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)
    project = caller.render("/v1/image-to-video", STILL)
    assert caller.http.get(project["downloads"][0]["url"]).status_code == 403


def test_uploads_are_gone_after_their_time(start: Any, still: Any) -> None:
    _, caller = start(asset_ttl_s=0)
    assert uses(caller, caller.upload(still, "image")) == 422


def test_the_upload_limit_of_the_plan(start: Any) -> None:
    _, caller = start(tier="free")
    address = caller.upload_address("video", "mp4")["upload_url"]
    answer = raw(address, "Content-Length: 200000001", b"")
    assert b"400" in answer.split(b"\r\n")[0]
    assert b"EntityTooLarge" in answer


def test_an_upload_of_unknown_length(shared: Any) -> None:
    address = shared.upload_address("video", "mp4")["upload_url"]
    assert shared.http.put(address, content=iter([b"a", b"b"])).status_code == 411


def test_each_poll_signs_anew_and_the_name_is_always_the_same(shared: Any, result: Any) -> None:
    address = result["downloads"][0]["url"]
    assert urlsplit(address).path.endswith(f"/{result['id']}/output.mp4")
    assert result["download"] == result["downloads"][0]
    assert shared.http.get(shared.project(result["id"])["downloads"][0]["url"]).status_code == 200


def test_the_whole_file(shared: Any, result: Any) -> None:
    answer = shared.http.get(result["downloads"][0]["url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.headers["accept-ranges"] == "bytes"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["etag"]


def test_a_part_of_the_file(shared: Any, result: Any) -> None:
    address = result["downloads"][0]["url"]
    whole = shared.http.get(address)
    total = len(whole.content)
    part = shared.http.get(address, headers={"Range": "bytes=100-", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[100:])
    assert part.headers["content-range"] == f"bytes 100-{total - 1}/{total}"
    assert part.headers["etag"] == whole.headers["etag"]


def test_another_file_is_sent_whole(shared: Any, result: Any) -> None:
    headers = {"Range": "bytes=100-", "If-Range": '"another"'}
    assert shared.http.get(result["downloads"][0]["url"], headers=headers).status_code == 200


def test_a_range_past_the_end(shared: Any, result: Any) -> None:
    answer = shared.http.get(result["downloads"][0]["url"], headers={"Range": "bytes=99999999-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"].startswith("bytes */")


def test_the_output_of_a_deleted_project(shared: Any) -> None:
    project = shared.render("/v1/image-to-video", STILL)
    assert shared.api("DELETE", f"/v1/video-projects/{project['id']}").status_code == 204
    assert shared.http.get(project["downloads"][0]["url"]).status_code == 404
    assert shared.api("DELETE", f"/v1/video-projects/{project['id']}").status_code == 404
