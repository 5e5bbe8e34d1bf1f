"""The plan's figures hold: over random batches, held at most the hold, settled between low and hold."""

from __future__ import annotations

from pathlib import Path
import random
import shutil

import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.program import Program, Provider

MODELS = {
    "kling-3.0": ([3, 5, 8, 15], ["720p", "1080p", "4k"], True),
    "seedance-1.5": ([4, 9, 12], ["480p", "720p", "1080p"], True),
    "wan-2.2": ([3, 7, 15], ["480p", "720p", "1080p"], False),
    "veo3.1": ([4, 8, 16], ["720p", "1080p"], True),
    "kling-2.6": ([5, 10], ["720p", "1080p"], False),
    "sora-2": ([4, 12], ["720p"], False),
}


def a_batch(chance: random.Random, jobs: int) -> str:
    lines = ["version: 1", "limits: {in_flight: 40}", "jobs:"]
    for number in range(jobs):
        if chance.random() < 0.5:
            end = round(chance.uniform(0.1, 1.0), 2)
            start = round(chance.uniform(0, end - 0.1), 2) if end > 0.2 else 0
            rate, clip = chance.choice(["FULL", "HALF"]), chance.choice("ab")
            lines.append(
                f"  - {{id: j{number}, kind: video-to-video, input: {clip}.mp4, start_seconds: {start},"
                f" end_seconds: {end}, fps_resolution: {rate}, style: {{art_style: Ink}}}}"
            )
        else:
            model = chance.choice(sorted(MODELS))
            seconds, resolutions, has_audio = MODELS[model]
            audio = "true" if has_audio and chance.random() < 0.5 else "false"
            lines.append(
                f"  - {{id: j{number}, kind: image-to-video, input: a.png, model: {model}, audio: {audio},"
                f" end_seconds: {chance.choice(seconds)}, resolution: {chance.choice(resolutions)}}}"
            )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_held_above_its_hold_or_settled_outside_the_estimate(tmp_path: Path, media: Path, seed: int) -> None:
    """Real renders for the clips, whose frames decide what they settle at."""
    settings = Settings(data_dir=tmp_path / "sandbox", scale=0.02, credits=10_000_000, tier="pro")
    with launch.start(settings) as running:
        program = Program(folder=tmp_path, provider=Provider(base_url=running.base_url))
        for file in media.iterdir():
            shutil.copy(file, tmp_path)
        manifest = tmp_path / "random.yaml"
        manifest.write_text(a_batch(random.Random(seed), 25))
        planned = {job["id"]: job["credits"] for job in program.here("plan", manifest.name, "--json").json()["jobs"]}
        ended = program.run("run", manifest.name)
        assert ended.code == 0, ended.err
        for create in program.provider.creates("random"):
            price = planned[create["name"].removeprefix("random/").partition(" [")[0]]
            assert create["held"] <= price["hold"], create
            assert price["low"] <= create["charged"] <= price["hold"], create
