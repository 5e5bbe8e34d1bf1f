"""What a sandbox posts when renders move, received by a server that knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
import hashlib
import hmac
import json
from queue import Empty, SimpleQueue
import time
from typing import Any, Self

import pytest

from batchrunner.errors import BatchrunnerError, UsageError
from batchrunner.sandbox import webhooks
from tests.support.posts import taking

SECRET = "whsec_sandbox"
STILL = {"name": "a/1", "end_seconds": 3, "assets": {"image_file_path": "https://example.com/a.png"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.body)
        return answer

    @property
    def is_signed(self) -> bool:
        """As the documentation has it."""
        message = self.headers["magic-hour-event-timestamp"].encode() + b"." + self.body
        right = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
        return self.headers["magic-hour-event-signature"] == right

    @property
    def age_s(self) -> float:
        return time.time() - int(self.headers["magic-hour-event-timestamp"])


@dataclass
class Hook:
    """A server that keeps what is posted to it; answers with `statuses`, then with 200."""

    statuses: list[int] = field(default_factory=list)
    _came: SimpleQueue[Delivered] = field(default_factory=SimpleQueue)

    def __enter__(self) -> Self:
        self._serving = ExitStack()
        self._port = self._serving.enter_context(taking(self._took))
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.close()

    def _took(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        status = self.statuses.pop(0) if self.statuses else 200
        self._came.put(Delivered(path=path, headers=headers, body=body))
        return status

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook?of=mine"

    def next(self) -> Delivered:
        return self._came.get(timeout=30)

    def is_empty(self) -> bool:
        try:
            self._came.get_nowait()
        except Empty:
            return True
        return False


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


def told(caller: Any, hook: Hook) -> None:
    answer = caller.http.put(caller.base_url + "/_sandbox/webhook", json={"url": hook.url, "secret": SECRET})
    assert answer.status_code == 204, answer.text


def deliveries(caller: Any) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = caller.http.get(caller.base_url + "/_sandbox/webhook").json()["deliveries"]
    return answer


def deliveries_until(caller: Any, *, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while len(found := deliveries(caller)) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_a_render_is_announced_when_it_begins_and_when_it_ends(start: Any, hook: Hook) -> None:
    _, caller = start(no_render=True)
    told(caller, hook)
    project = caller.render("/v1/image-to-video", STILL)
    came = {each.said["type"]: each for each in (hook.next(), hook.next())}
    assert set(came) == {"video.started", "video.completed"}
    for each in came.values():
        assert each.path == "/hook?of=mine"
        assert each.is_signed
        assert each.age_s < 60
        assert each.headers["content-type"] == "application/json"
    assert came["video.started"].said["payload"]["status"] == "rendering"
    payload = came["video.completed"].said["payload"]
    [download] = payload["downloads"]
    assert caller.http.get(download["url"]).status_code == 200
    changing = {"download", "downloads"}
    assert {k: v for k, v in payload.items() if k not in changing} == {
        k: v for k, v in project.items() if k not in changing
    }
    assert [each["status"] for each in deliveries_until(caller, count=2)] == [200, 200]


def test_a_render_that_fails_is_announced_and_a_canceled_one_is_not(start: Any, hook: Hook) -> None:
    _, caller = start(no_render=True)
    told(caller, hook)
    caller.rules(
        {"step": "render", "job": "bad", "render_error": {"code": "nsfw", "message": "no"}},
        {"step": "render", "job": "gone", "cancel": True, "slow_queue": 0.2},
    )
    assert caller.render("/v1/image-to-video", STILL | {"name": "gone"})["status"] == "canceled"
    assert caller.render("/v1/image-to-video", STILL | {"name": "bad"})["status"] == "error"
    came = [hook.next().said for _ in range(2)]
    assert {each["type"] for each in came} == {"video.started", "video.errored"}
    assert {each["payload"]["name"] for each in came} == {"bad"}
    assert next(each["payload"]["error"]["code"] for each in came if each["type"] == "video.errored") == "nsfw"


def test_what_is_not_answered_with_success_is_posted_again_as_it_was(start: Any, hook: Hook) -> None:
    _, caller = start(no_render=True)
    caller.rules({"step": "webhook", "event": "video.started", "lose": True})
    hook.statuses = [503]
    told(caller, hook)
    caller.render("/v1/image-to-video", STILL)
    first, second = hook.next(), hook.next()
    assert second == first
    assert [each["status"] for each in deliveries_until(caller, count=3)] == [None, 503, 200]


def test_notices_can_be_lost_repeated_late_stale_and_forged(start: Any, hook: Hook) -> None:
    _, caller = start(no_render=True)
    told(caller, hook)
    caller.rules(
        {"event": "video.started", "lose": True},
        {"step": "webhook", "job": "lost", "lose": True},
        {"step": "webhook", "job": "twice", "copies": 2, "late": 0.05},
        {"step": "webhook", "job": "stale", "stale": 600},
        {"step": "webhook", "job": "forged", "forge": True},
    )
    for name in ("lost", "stale", "forged", "twice"):
        caller.render("/v1/image-to-video", STILL | {"name": name})
    came = [hook.next() for _ in range(4)]
    named = {each.said["payload"]["name"]: each for each in came}
    assert sorted(each.said["payload"]["name"] for each in came) == ["forged", "stale", "twice", "twice"]
    assert not named["forged"].is_signed
    assert named["stale"].is_signed
    assert named["stale"].age_s >= 600
    assert named["twice"].is_signed


def test_a_removed_webhook_is_told_nothing(start: Any, hook: Hook) -> None:
    _, caller = start(no_render=True)
    told(caller, hook)
    assert caller.http.delete(caller.base_url + "/_sandbox/webhook").status_code == 204
    caller.render("/v1/image-to-video", STILL)
    assert deliveries(caller) == []
    assert hook.is_empty()


def test_it_is_registered_by_option_with_a_secret_from_the_environment(
    start: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webhooks.SECRET, SECRET)
    running, caller = start(no_render=True, webhook_url=hook.url)
    assert SECRET not in str(running.process.args)
    caller.render("/v1/image-to-video", STILL)
    assert hook.next().is_signed
    shown = caller.http.get(caller.base_url + "/_sandbox/webhook")
    assert shown.json()["url"] == hook.url
    assert SECRET not in shown.text


def test_a_sandbox_does_not_start_without_a_secret(start: Any, hook: Hook) -> None:
    with pytest.raises(BatchrunnerError, match="there is no secret to sign webhooks with"):
        start(webhook_url=hook.url)


WRONG = [
    ("https://127.0.0.1/hook", "begins with http://"),
    ("127.0.0.1:80", "begins with http://"),
    ("http://127.0.0.1/a b", "begins with http://"),
    ("http://me@127.0.0.1/", "begins with http://"),
    ("http://example.com/hook", "only to this machine"),
    ("http://10.0.0.1/", "only to this machine"),
    ("http://0.0.0.0/", "only to this machine"),
    ("http://127.0.0.1.example.com/", "only to this machine"),
    ("http:///hook", "only to this machine"),
    ("http://[::1/", "Invalid IPv6"),
    ("http://127.0.0.1:99999/", "Port out of range"),
]


@pytest.mark.parametrize(("url", "message"), WRONG)
def test_only_this_machine_is_posted_to(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        webhooks.registered(url, {webhooks.SECRET: SECRET})


@pytest.mark.parametrize("body", [None, [], {}, {"url": "http://127.0.0.1/"}, {"url": 1, "secret": "x"}])
def test_a_wrong_registration_is_refused(shared: Any, body: Any) -> None:
    assert shared.http.put(shared.base_url + "/_sandbox/webhook", json=body).status_code == 400


def test_the_secret_shows_in_no_text() -> None:
    target = webhooks.registered("http://[::1]:8000", {webhooks.SECRET: SECRET})
    assert target is not None
    assert (target.host, target.port, target.path) == ("::1", 8000, "/")
    assert SECRET not in repr(target)
