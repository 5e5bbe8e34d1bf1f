"""Renders that are only simulated: states, credits and files as they should be, at hardly any cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
import time
from typing import Any

from click.testing import CliRunner
import pytest

from batchrunner.cli.sandbox import sandbox
from batchrunner.sandbox import server
from batchrunner.sandbox.settings import Settings

CLIP = {
    "start_seconds": 1,
    "end_seconds": 2,
    "fps_resolution": "HALF",
    "style": {"art_style": "Ink"},
    "assets": {"video_source": "youtube", "youtube_url": "https://www.youtube.com/watch?v=1"},
}
STILL = {
    "end_seconds": 4,
    "model": "veo3.1",
    "audio": True,
    "assets": {"image_file_path": "https://example.com/a.png"},
}


def test_what_nobody_rendered_still_plays(start: Any, probe: Any, tmp_path: Path) -> None:
    _, caller = start(no_render=True)
    for path, body, seconds, fps, sound_s, credits in (
        ("/v1/video-to-video", CLIP, 1, 12, 0, 24),
        ("/v1/image-to-video", STILL, 4, 24, 4, 480),
    ):
        project = caller.render(path, body)
        target = tmp_path / "output.mp4"
        target.write_bytes(caller.http.get(project["downloads"][0]["url"]).content)
        found = probe(target)
        assert (found.seconds, found.fps, found.size) == (seconds, fps, (project["width"], project["height"]))
        assert found.sound_s == pytest.approx(sound_s, abs=0.1)
        assert project["credits_charged"] == credits
        assert target.stat().st_size < 100_000
    caller.books()


def test_a_clip_is_made_once_and_shared_by_all_that_want_it(start: Any, tmp_path: Path) -> None:
    _, caller = start(no_render=True)
    ids = [caller.api("POST", "/v1/video-to-video", CLIP).json()["id"] for _ in range(20)]
    files = set()
    for project_id in ids:
        assert caller.wait(project_id)["status"] == "complete"
        files.add((tmp_path / "data" / "outputs" / f"{project_id}.mp4").stat().st_ino)
    assert len(files) == 1
    assert caller.api("DELETE", f"/v1/video-projects/{ids[0]}").status_code == 204
    assert caller.http.get(caller.project(ids[1])["downloads"][0]["url"]).status_code == 200


def test_any_number_is_under_way_at_once_and_each_takes_its_own_time(start: Any) -> None:
    _, caller = start(no_render=True, latency_s=0.5, latency_spread=0.4, render_workers=1, credits=10**6)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: caller.api("POST", "/v1/video-to-video", CLIP), range(100)))
    ledger = caller.ledger()
    while any(job["status"] != "complete" for job in ledger["creates"]):
        assert time.monotonic() - began < 20
        ledger = caller.books()
    lasted = [
        (datetime.fromisoformat(job["settled_at"]) - datetime.fromisoformat(job["at"])).total_seconds()
        for job in ledger["creates"]
    ]
    assert min(lasted) >= 0.29
    assert max(lasted) - min(lasted) > 0.2


def test_cancelled_before_it_was_handed_out(start: Any) -> None:
    _, caller = start(no_render=True, latency_s=0.2)
    project_id = caller.api("POST", "/v1/video-to-video", CLIP).json()["id"]
    assert caller.http.post(f"{caller.base_url}/_sandbox/projects/{project_id}/cancel").status_code == 200
    time.sleep(0.3)
    assert caller.project(project_id)["status"] == "canceled"
    caller.books()


def test_the_command_passes_on_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Settings] = []
    monkeypatch.setattr(server, "run", lambda settings, **_: told.append(settings))
    faults = tmp_path / "faults.json"
    arguments = (
        f"--data {tmp_path} --latency 60 --latency-spread 0.3 --no-render --faults {faults} --chaos wild --seed 4"
    )
    CliRunner().invoke(sandbox, arguments.split(), standalone_mode=False, catch_exceptions=False)
    assert told == [
        Settings(
            data_dir=tmp_path,
            latency_s=60,
            latency_spread=0.3,
            no_render=True,
            faults=faults,
            chaos="wild",
            seed=4,
        )
    ]
