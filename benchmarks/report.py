"""How long the report of a large batch takes to be made, and its page to be opened.

    python benchmarks/report.py [JOBS] [--json FILE]

Every job has a clip of its own going in and one coming out, so that no picture serves two of them. The page is opened
in Chromium from the disk, until its filters work and the first pictures are drawn.
"""

from __future__ import annotations

from fractions import Fraction
import hashlib
import json
import os
from pathlib import Path
import shutil
import struct
import subprocess
import sys
from tempfile import TemporaryDirectory
import time

import av
import measuring
from PIL import Image

from batchrunner import store
from batchrunner.core import events, job as machine
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Failure, GiveUp
from batchrunner.core.spec import Input, Output, Spec

SORT = """(() => {
    const sort = document.getElementById("sort");
    sort.value = "took";
    sort.dispatchEvent(new Event("input", {bubbles: true}));
})()"""

DRAWN = 60
"""Clips that are really encoded for each side."""

START = 1_790_000_000.0
SECONDS = 2


def write_clip(path: Path, number: int) -> None:
    """Noise that no encoder can make small, of another colour for each clip."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=12, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for frame_number in range(12 * SECONDS):
            grain = Image.effect_noise((320, 180), 60).convert("RGB")
            tint = Image.new("RGB", (320, 180), (number * 37 % 256, number * 91 % 256, frame_number * 9 % 256))
            frame = av.VideoFrame.from_image(Image.blend(grain, tint, 0.6))  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = frame_number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_clips(folder: Path, jobs: int, *, first: int) -> None:
    """A clip for each job, each with content of its own: a box that players skip tells the copies of one apart."""
    for number in range(min(jobs, DRAWN)):
        write_clip(folder / f"{number}.mp4", first + number)
    for number in range(DRAWN, jobs):
        copied = (folder / f"{number % DRAWN}.mp4").read_bytes()
        (folder / f"{number}.mp4").write_bytes(copied + struct.pack(">I4sI", 12, b"free", number))


def content(path: Path) -> tuple[int, str]:
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()


def spec_of(number: int, root: Path) -> Spec:
    size, sha256 = content(root / f"in/{number}.mp4")
    request = {
        "start_seconds": 0,
        "end_seconds": SECONDS,
        "style": {"art_style": f"Style {number % 12}", "prompt": f"a night of rain over field {number}, in ink"},
        "assets": {"video_source": "file", "video_file_path": f"in/{number}.mp4"},
    }
    clip = Input(field="video_file_path", media="video", path=f"in/{number}.mp4", sha256=sha256, size=size)
    return Spec(
        kind=Kind.VIDEO_TO_VIDEO,
        request=json.dumps(request),
        inputs=(clip,),
        output=f"out/{number}.mp4",
        seconds=SECONDS,
        fingerprint=f"f{number}",
        expected=48,
        hold=60,
        tags=(f"tag{number % 7}",),
    )


def life_of(number: int, root: Path) -> list[Event]:
    at = START + number * 3
    size, sha256 = content(root / f"out/{number}.mp4")
    begin: list[Event] = [
        events.Opened(at=START, id=f"job-{number:05}", attempt=1, spec=spec_of(number, root)),
        events.Uploaded(at=at, assets=()),
        events.SubmitStarted(at=at + 1, name=f"n{number}"),
        events.Accepted(at=at + 2, project_id=f"project{number}", credits=60),
    ]
    if number % 50 == 1:
        failure = Failure(code="nsfw", message="The content was flagged.")
        return [*begin, events.RenderFailed(at=at + 60, failure=failure, credits=0, verdict=GiveUp())]
    output = Output(path=f"out/{number}.mp4", bytes=size, sha256=sha256)
    later = START + 10**9
    return [
        *begin,
        events.Rendered(at=at + 60 + number % 40, status="complete", credits=48),
        events.Downloaded(at=later, outputs=(output,)),
    ]


def write_batch(root: Path, jobs: int) -> Path:
    for folder in ("in", "out"):
        (root / folder).mkdir()
        write_clips(root / folder, jobs, first=0 if folder == "in" else DRAWN)
    manifest = root / "night.yaml"
    manifest.write_text("version: 1\nbudget: {credits: 150000}\njobs: []\n", encoding="utf-8")
    with store.open_for_run(store.path_for(manifest), run_id="benchmark", now=START) as file:
        entries = []
        for number in range(jobs):
            job: Job | None = None
            for event in life_of(number, root):
                job = machine.advance(job, event)
                entries.append((event, job))
        file.append_now(entries)
        file.end_run(at=START, exit_code=0)
    return manifest


def open_page(page: Path) -> dict[str, float]:
    """Seconds until the filters work, and until a picture is drawn; then of a filter and of a sorting."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - for those who have it

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        took = {}
        begin = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_selector("#controls:not([hidden])", timeout=120_000)
        took["until the filters work"] = time.perf_counter() - begin
        tab.locator("#gallery").scroll_into_view_if_needed()
        tab.locator(".card img").first.evaluate("image => image.decode()")
        took["until pictures are drawn"] = time.perf_counter() - begin
        for what, script in (
            ("a filter", "document.querySelector('.chip[data-state=failed]').click()"),
            ("a sorting", SORT),
        ):
            begin = time.perf_counter()
            tab.evaluate(f"() => new Promise((done) => {{ {script}; requestAnimationFrame(() => done()); }})")
            took[what] = time.perf_counter() - begin
        browser.close()
    return took


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("jobs", nargs="?", type=int, default=2000)
    told = parser.parse_args()
    figures = []
    with TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = write_batch(root, told.jobs)
        env = os.environ | {"XDG_CACHE_HOME": str(root / "cache")}
        for what, more in (("first", []), ("again", []), ("beside", ["--assets", str(root / "pictures")])):
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "batchrunner", "report", str(manifest), *more], env=env, check=True, stdout=-3
            )
            page = root / "night.report.html"
            made_s = time.perf_counter() - begin
            size_mb = page.stat().st_size / 1e6
            figures.append({"page": what, "made in s": made_s, "MB": size_mb, **open_page(page)})
    measuring.tell(figures, to=told.json)


if __name__ == "__main__":
    main()
