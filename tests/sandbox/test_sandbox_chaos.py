"""Random trouble: the same for the same seed, and never a credit lost or found."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
import contextlib
from functools import partial
import random
import time
from typing import Any

import httpx
import pytest

from batchrunner.sandbox import chaos


def body(number: int) -> dict[str, Any]:
    return {
        "name": f"night/{number:03}",
        "end_seconds": 1,
        "model": "ltx-2.5",
        "assets": {"image_file_path": "https://example.com/a.png"},
    }


def clip(number: int) -> dict[str, Any]:
    return {
        "name": f"night/{number:03}",
        "start_seconds": 0,
        "end_seconds": 1,
        "fps_resolution": "FULL",
        "style": {"art_style": "Ink"},
        "assets": {"video_source": "youtube", "youtube_url": "https://www.youtube.com/watch?v=1"},
    }


def submit(caller: Any, number: int) -> str:
    """What a client learns of one create."""
    try:
        if number % 2:
            answer = caller.api("POST", "/v1/video-to-video", clip(number))
        else:
            answer = caller.api("POST", "/v1/image-to-video", body(number))
    except httpx.TransportError as error:
        return type(error).__name__
    if answer.status_code != 200:
        return str(answer.status_code)
    try:
        return "accepted" if "id" in answer.json() else "no answer"
    except ValueError:
        return "garbage"


def is_quiet(ledger: dict[str, Any]) -> bool:
    return all(job["deleted"] or job["settled_at"] for job in ledger["creates"])


def test_two_hundred_creates_in_wild_chaos(start: Any) -> None:
    _, caller = start(no_render=True, chaos="wild", seed=7, latency_s=0.2, latency_spread=0.5)
    with ThreadPoolExecutor(24) as threads:
        learned = [threads.submit(submit, caller, number) for number in range(200)]
        while not all(future.done() for future in learned):
            caller.books()
    told = Counter(future.result() for future in learned)
    assert told["accepted"] < len(caller.books()["creates"]) < 200
    assert {"accepted", "502", "429", "ReadError", "RemoteProtocolError", "garbage"} <= set(told)
    caller.rules()
    deadline = time.monotonic() + 30
    while not is_quiet(ledger := caller.books()):
        assert time.monotonic() < deadline
    assert {job["status"] for job in ledger["creates"]} == {"complete", "error", "canceled"}
    for job in ledger["creates"]:
        paid = {"complete": 48, "error": 0, "canceled": 0}[job["status"]]
        assert job["charged"] == paid


@pytest.mark.parametrize("mix", ["mild", "wild"])
def test_the_same_seed_does_the_same_to_each_job(start: Any, tmp_path: Any, mix: str) -> None:
    found = []
    for run, seed in enumerate((5, 5, 6)):
        _, caller = start(no_render=True, chaos=mix, seed=seed, data_dir=tmp_path / f"{run}")
        # In another order each time: chance belongs to the job, not to its turn.
        numbers = random.Random(run).sample(range(60), 60)
        with ThreadPoolExecutor(12) as threads:
            told = dict(zip(numbers, threads.map(partial(submit, caller), numbers), strict=True))
        # A reset that overtakes the farewell looks like either to the client.
        found.append({number: what if what.isdigit() else what[:4] for number, what in told.items()})
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_downloads_in_wild_chaos_come_whole_in_the_end(start: Any) -> None:
    _, caller = start(no_render=True, seed=3)
    done = [caller.render("/v1/image-to-video", body(number)) for number in range(8)]
    whole = [caller.http.get(project["downloads"][0]["url"]).content for project in done]
    caller.rules(*chaos.RULES["wild"])
    for project, content in zip(done, whole, strict=True):
        assert fetched(caller, project["id"]) == content
    assert sum(caller.http.get(caller.base_url + "/_sandbox/faults").json()["applied"]) > 0


def fetched(caller: Any, project_id: str) -> bytes:
    for _ in range(100):
        with contextlib.suppress(httpx.HTTPError, ValueError, IndexError, KeyError, TypeError):
            answer = caller.http.get(caller.project(project_id)["downloads"][0]["url"])
            return bytes(answer.raise_for_status().content)
    raise AssertionError("never whole")
