"""How long a command takes to answer: `--version`, `status`, `plan`.

    python benchmarks/starting.py [--jobs N] [--rounds N] [--json FILE]

Each is a process of its own, the best of some rounds. `status` is of a batch whose jobs are all done.
"""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any

import measuring
from rendering import manifest

COMMANDS = (
    ["--version"],
    ["--help"],
    ["status", "night.yaml"],
    ["status", "night.yaml", "--json"],
    ["plan", "night.yaml"],
)


def best(arguments: list[str], *, rounds: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "batchrunner", *arguments]
    env = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    ended = [measuring.measured(command, env=env, folder=folder) for _ in range(rounds)]
    return {
        "command": " ".join(arguments),
        "wall ms": 1000 * min(each.wall_s for each in ended),
        "cpu ms": 1000 * min(each.cpu_s for each in ended),
        "peak MB": max(each.megabytes for each in ended),
        "load": ended[-1].loadavg,
        "exit": ended[-1].code,
    }


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    told = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        measuring.write_clips(folder / "clips", told.jobs)
        (folder / "night.yaml").write_text(manifest(told.jobs, 20))
        with measuring.sandbox(folder / "sandbox", seconds=0.1) as running:
            env = measuring.environment(running, folder)
            run = [sys.executable, "-m", "batchrunner", "run", "night.yaml", "--quiet"]
            done = measuring.measured(run, env=env, folder=folder)
        if done.code:
            raise subprocess.CalledProcessError(done.code, run)
        measuring.tell([best(each, rounds=told.rounds, folder=folder) for each in COMMANDS], to=told.json)


if __name__ == "__main__":
    main()
