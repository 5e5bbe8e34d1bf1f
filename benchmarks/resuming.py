"""How long a run of a large batch takes to go on where it was, and how much memory.

    python benchmarks/resuming.py [JOBS] [--rounds N] [--json FILE]

All jobs but a few are done, and the rest are rendering. Measured is a `run`, as a process, from its start to the first
look that reaches the provider; and, within one process, the parts of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from multiprocessing import get_context
import os
from pathlib import Path
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory
import time
from typing import Any

import measuring
from reading import from_a_matrix

from batchrunner import batch, planning, store
from batchrunner.core import events, job as machine
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.plan import Wishes
from batchrunner.core.spec import Asset, Output, Spec

RENDERING = 50
AT_ONCE = 5000
"""Jobs that are put on record in one transaction."""


def life_of(job_id: str, spec: Spec, *, is_done: bool, at: float) -> Iterable[Event]:
    yield events.Opened(at=at, id=job_id, attempt=1, spec=spec)
    asset = Asset(field="video_file_path", file_path="api-assets/a/b.mp4", expires_at=at + 6 * 86400)
    yield events.Uploaded(at=at, assets=(asset,))
    yield events.SubmitStarted(at=at, name=f"night/{job_id} [1-0000]")
    yield events.Accepted(at=at, project_id=f"project-{job_id}", credits=spec.hold)
    if is_done:
        yield events.Rendered(at=at + 60, status="complete", credits=spec.hold)
        output = Output(path=spec.output, bytes=0, sha256="0" * 64)
        yield events.Downloaded(at=at + 61, outputs=(output,))


def write_night(root: Path, jobs: int) -> Path:
    """A manifest of so many jobs and the state file of a run that broke off near its end."""
    measuring.write_clips(root / "clips", 1)
    manifest = root / "night.yaml"
    manifest.write_text(
        from_a_matrix(jobs).replace("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", str([n / 10 for n in range(1, 11)]))
    )
    made = planning.preview(batch.read(manifest), wishes=Wishes()).plan
    at = time.time() - 3600
    with store.open_for_run(store.path_for(manifest), run_id="benchmark", now=at) as file:
        file.remember_files([])
        entries: list[tuple[Event, Job]] = []
        for number, entry in enumerate(made.entries):
            assert entry.spec is not None
            job: Job | None = None
            is_done = number >= RENDERING
            for event in life_of(entry.id, entry.spec, is_done=is_done, at=at):
                job = machine.advance(job, event)
                entries.append((event, job))
            if is_done:
                path = root / entry.spec.output
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            if len(entries) >= 7 * AT_ONCE:
                file.append_now(entries)
                entries = []
        file.append_now(entries)
        file.end_run(at=at + 62, exit_code=3)
    return manifest


def first_look(root: Path, command: str) -> dict[str, Any]:
    """Seconds until a command has the provider asked for a project."""
    with measuring.sandbox(root / "sandbox", seconds=1) as running:
        env = os.environ | measuring.environment(running, root)
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "batchrunner", command, "night.yaml", "--quiet"],
            env=env,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while not measuring.ledger(running)["requests"].get("GET /v1/video-projects/{id}"):
            if process.poll() is not None:
                assert process.stderr is not None
                raise RuntimeError(process.stderr.read().decode())
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        process.kill()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = -9
    shutil.rmtree(root / "sandbox")
    cpu_s = used.ru_utime + used.ru_stime
    return {
        "what": f"{command}, to its first look",
        "wall s": seconds,
        "cpu s": cpu_s,
        "peak MB": used.ru_maxrss / 1024,
    }


def part(what: str, manifest: Path) -> dict[str, Any]:
    began, cpu_s = time.perf_counter(), time.process_time()
    if what == "open the state file":
        with store.open_for_run(store.path_for(manifest), run_id="part", now=time.time()):
            pass
    elif what == "open it, read all jobs":
        with store.open_for_run(store.path_for(manifest), run_id="part", now=time.time()) as file:
            file.jobs()
    else:
        batch.read(manifest)
    return {
        "what": what,
        "wall s": time.perf_counter() - began,
        "cpu s": time.process_time() - cpu_s,
        "peak MB": measuring.peak_mb(),
    }


def apart(what: str, manifest: Path) -> dict[str, Any]:
    """A part in a process of its own, so that its memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(part, (what, manifest))


def copied(root: Path, name: str) -> Path:
    """The state file as the night left it, whatever was tried on it before."""
    kept = root / "kept"
    if not kept.exists():
        kept.mkdir()
        shutil.copy(root / name, kept)
    for each in root.glob(f"{name}*"):
        each.unlink()
    shutil.rmtree(root / "state", ignore_errors=True)  # where `measuring.environment` has noted that it went further
    shutil.copy(kept / name, root)
    with (root / name).open("rb") as file:
        os.fsync(file.fileno())  # else the run waits at its first commit for the disk to take in the copy
    return root / name


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("jobs", nargs="?", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="of which the quickest is shown")
    told = parser.parse_args()
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        root = Path(name)
        manifest = write_night(root, told.jobs)
        state = store.path_for(manifest).name
        figures = []
        for what in ("open the state file", "open it, read all jobs", "read the manifest", "download", "run"):
            rounds = []
            for _ in range(told.rounds):
                copied(root, state)
                rounds.append(first_look(root, what) if what in {"download", "run"} else apart(what, manifest))
            figures.append(min(rounds, key=lambda row: float(row["wall s"])))
    print(f"{told.jobs:,} jobs, {RENDERING} of them rendering, load {os.getloadavg()[0]:.2f}")
    measuring.tell(figures, to=told.json)


if __name__ == "__main__":
    main()
