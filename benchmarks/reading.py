"""How long a large manifest takes to be read and planned, and how much memory.

    python benchmarks/reading.py [JOBS] [--json FILE]

Each stage of each form runs in a process of its own, so that its memory is its own. The last two stages read the
manifest from disk and look into real clips, as `batchrunner plan` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
import itertools
from multiprocessing import get_context
from pathlib import Path
import resource
import shutil
from tempfile import TemporaryDirectory
import time
from typing import Any

import av
import measuring

from batchrunner import batch, collector, places, planning
from batchrunner.core import config, reader, yamltext
from batchrunner.core.plan import Wishes

STYLES = "Ink, Watercolor, Pixel, Comic, Anime Warrior, Cyberpunk, Dark Fantasy, Impressionism, Minecraft, Origami"
STAGES = ("compose", "parse", "config", "expand", "plan")
CLIPS = 500
"""How many different clips the jobs of the manifests are of, at the most."""


def from_a_matrix(jobs: int) -> str:
    takes = ", ".join(map(str, range(jobs // 100)))
    return f"""\
version: 1
defaults:
  video-to-video: {{fps_resolution: HALF, style: {{version: v2}}}}
jobs:
  - id: "night-{{style.art_style}}-{{end_seconds}}-{{take}}"
    kind: video-to-video
    input: clips/0.mp4
    style: {{prompt_type: custom, prompt: a calm street}}
    matrix:
      style.art_style: [{STYLES}]
      end_seconds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
      take: [{takes}]
"""


def written_out(jobs: int) -> str:
    return "version: 1\njobs:\n" + "".join(
        f"  - id: job-{number}\n    kind: video-to-video\n    start_seconds: 0\n    end_seconds: 2.5\n"
        f"    fps_resolution: HALF\n    style:\n      art_style: Ink\n      version: v2\n"
        f"    assets: {{video_source: file, video_file_path: clips/{number % CLIPS}.mp4}}\n"
        for number in range(jobs)
    )


FORMS = {"from a matrix": from_a_matrix, "written out": written_out}


def write_clips(folder: Path) -> None:
    """Write real clips of ten seconds, small ones, each under a name of its own."""
    folder.mkdir()
    first = folder / "0.mp4"
    with av.open(str(first), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(240):
            frame = av.VideoFrame(160, 96, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for number in range(1, CLIPS):
        shutil.copy(first, folder / f"{number}.mp4")


def run(manifest: Path, stage: str) -> tuple[float, float]:
    """Return the seconds of processor time and the megabytes that a stage and those before it take."""
    text = manifest.read_text()
    catalog = places.load_catalog(None, None, {})
    began = time.process_time()
    with collector.paused():
        if stage == "compose":
            _, items = yamltext.outline(text, source="m.yaml", stream="jobs", report=print)
            exhaust(items)
        elif stage == "parse":
            reader.parse(text, source="m.yaml", name="m", catalog=catalog)
        elif stage == "config":
            opened = reader.opened(text, source="m.yaml", catalog=catalog, around=reader.Around())
            exhaust(config.as_yaml(opened, name="m", origin=True))
        else:
            read = batch.read(manifest)
            if stage == "plan":
                planning.preview(read, wishes=Wishes())
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exhaust(items: Iterator[object]) -> None:
    for _ in items:
        pass


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("jobs", nargs="?", type=int, default=100_000)
    told = parser.parse_args()
    figures: list[dict[str, Any]] = []
    print(f"{told.jobs:,} jobs; each stage with those before it but for config, which follows on parse alone")
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder / "clips")
        for form, stage in itertools.product(FORMS, STAGES):
            manifest = folder / f"{form.replace(' ', '-')}.yaml"
            manifest.write_text(FORMS[form](told.jobs))
            with get_context("spawn").Pool(1) as pool:
                seconds, megabytes = pool.apply(run, (manifest, stage))
            print(f"{form:14} {stage:8} {seconds:7.2f} s {megabytes:7.0f} MB")
            figures.append(
                {"jobs": told.jobs, "form": form, "stage": stage, "seconds": seconds, "megabytes": megabytes}
            )
    measuring.write(figures, to=told.json)


if __name__ == "__main__":
    main()
