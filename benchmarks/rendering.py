"""What a whole batch costs, by batchrunner, by the official SDK and by a bare loop, against the same sandbox.

    python benchmarks/rendering.py [JOBS] [--at-once N] [--seconds S] [--by CLIENT] [--rounds N] [--json FILE]

The sandbox is a process of its own and hands out canned clips, so that it is not what is measured. Each job has a clip
of its own to upload. Every client is a process of its own, measured from its start to its end, the best of some rounds:

- `wall/ideal` is from its start to its end, and `busy/ideal` from the first input that arrives to the last file on
  disk; ideal is the time of a render times the number of rounds in which that many at once come through.
- `cpu ms/job` is user and system together, start-up included; `server` is the sandbox's own. Where that comes near the
  wall, the sandbox was the limit.
- requests are counted by the sandbox, per job.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
import math
import os
from pathlib import Path
import sys
from tempfile import TemporaryDirectory
from typing import Any

import measuring

CLIENTS = ("batchrunner", "sdk-threads", "sdk-async", "httpx")

KINDS = {
    "POST /v1/files/upload-urls": "addresses",
    "PUT /storage/{file_path:path}": "uploads",
    "POST /v1/video-to-video": "creates",
    "GET /v1/video-projects/{id}": "looks",
    "GET /outputs/{id}/output.mp4": "downloads",
}


def manifest(jobs: int, at_once: int) -> str:
    return f"""\
version: 1
output: renders/{{id}}.mp4
limits: {{in_flight: {at_once}, uploads: 16, downloads: 16}}
defaults:
  video-to-video: {{start_seconds: 0, end_seconds: 1, fps_resolution: HALF, style: {{art_style: Ink, version: v2}}}}
jobs:
""" + "".join(f"  - {{id: job-{number}, kind: video-to-video, input: clips/{number}.mp4}}\n" for number in range(jobs))


def command(client: str, jobs: int, at_once: int) -> list[str]:
    if client == "batchrunner":
        return [sys.executable, "-m", "batchrunner", "run", "night.yaml", "--yes", "--quiet"]
    return [sys.executable, str(Path(__file__).with_name("rivals.py")), client, str(jobs), str(at_once)]


def measure(client: str, told: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One batch by one client in a folder of its own, with a sandbox of its own."""
    measuring.write_clips(folder / "clips", told.jobs)
    (folder / "night.yaml").write_text(manifest(told.jobs, told.at_once))
    with measuring.sandbox(folder / "sandbox", seconds=told.seconds, spread=told.spread) as running:
        server_s = measuring.cpu_of(running.pid)
        ended = measuring.measured(
            command(client, told.jobs, told.at_once), env=measuring.environment(running, folder), folder=folder
        )
        server_s = measuring.cpu_of(running.pid) - server_s
        requests = measuring.ledger(running)["requests"]
    files = [each.stat().st_mtime for each in folder.glob("renders/**/*.mp4")]
    busy_s = max(files, default=0.0) - min(each.stat().st_mtime for each in folder.glob("sandbox/uploads/**/*.mp4"))
    ideal_s = told.seconds * math.ceil(told.jobs / told.at_once)
    return {
        "client": client,
        "files": len(files),
        "wall s": ended.wall_s,
        "wall/ideal": ended.wall_s / ideal_s,
        "busy/ideal": busy_s / ideal_s,
        "cpu ms/job": 1000 * ended.cpu_s / told.jobs,
        "user": 1000 * ended.user_s / told.jobs,
        "server": 1000 * server_s / told.jobs,
        "peak MB": ended.megabytes,
        **counted(requests, told.jobs),
        "load": ended.loadavg,
        "exit": ended.code,
    }


def counted(requests: Mapping[str, int], jobs: int) -> dict[str, float]:
    """Requests a job, by what they are for; what has no name of its own is `others`."""
    by_kind = dict.fromkeys([*KINDS.values(), "others"], 0)
    for what, count in requests.items():
        by_kind[KINDS.get(what, "others")] += count
    return {kind: count / jobs for kind, count in by_kind.items()}


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("jobs", nargs="?", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=50, help="renders in flight")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a render takes")
    parser.add_argument("--spread", type=float, default=0.0, help="share by which that differs, 0 to 1")
    parser.add_argument("--by", choices=CLIENTS, action="append", help="only this client; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="of which the one with the least wall time is shown")
    parser.add_argument("--keep", type=Path, help="leave what the last client left in this folder")
    told = parser.parse_args()
    print(f"{told.jobs:,} jobs, {told.at_once:,} at once, {told.seconds:g} s each; load {os.getloadavg()[0]:.2f}")
    figures = []
    for client in told.by or CLIENTS:
        rounds = []
        for _ in range(told.rounds):
            with TemporaryDirectory(ignore_cleanup_errors=True) as name:
                rounds.append(measure(client, told, Path(name)))
                if told.keep is not None:
                    Path(name).rename(told.keep)
                    Path(name).mkdir()
            print(json.dumps(rounds[-1]), file=sys.stderr)
        figures.append(min(rounds, key=lambda row: (row["exit"], row["wall s"])))
    measuring.tell(figures, to=told.json)


if __name__ == "__main__":
    main()
