"""How long a large manifest takes to be read, and how much memory: `python benchmarks/reading.py [JOBS]`.

Each stage of each form runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
import itertools
from multiprocessing import get_context
import resource
import sys
import time

from batchrunner import places
from batchrunner.core import config, expand, reader, yamltext
from batchrunner.core.expand import FileFact, FileState

STYLES = "Ink, Watercolor, Pixel, Comic, Anime Warrior, Cyberpunk, Dark Fantasy, Impressionism, Minecraft, Origami"
STAGES = ("compose", "read", "expand", "config")


def from_a_matrix(jobs: int) -> str:
    takes = ", ".join(map(str, range(jobs // 100)))
    return f"""\
version: 1
defaults:
  video-to-video: {{fps_resolution: HALF, style: {{version: v2}}}}
jobs:
  - id: "night-{{style.art_style}}-{{end_seconds}}-{{take}}"
    kind: video-to-video
    input: clips/a.mp4
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
        f"    assets: {{video_source: file, video_file_path: clips/{number % 500}.mp4}}\n"
        for number in range(jobs)
    )


FORMS = {"from a matrix": from_a_matrix, "written out": written_out}


def run(form: str, stage: str, jobs: int) -> tuple[float, float]:
    """Return the seconds of processor time and the megabytes that a stage and those before it take."""
    text = FORMS[form](jobs)
    catalog = places.load_catalog(None, None, {})
    began = time.process_time()
    if stage == "compose":
        _, items = yamltext.outline(text, source="m.yaml", stream="jobs", report=print)
        exhaust(items)
    elif stage == "config":
        opened = reader.opened(text, source="m.yaml", catalog=catalog, around=reader.Around())
        exhaust(config.as_yaml(opened, name="m", origin=True))
    else:
        read = reader.parse(text, source="m.yaml", name="m", catalog=catalog)
        if stage == "expand":
            facts = {path: FileFact(kind=FileState.FILE, size=1) for path in expand.local_paths(read)}
            expand.expand(read, files=facts)
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exhaust(items: Iterator[object]) -> None:
    for _ in items:
        pass


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"{jobs:,} jobs; each stage with those before it")
    for form, stage in itertools.product(FORMS, STAGES):
        with get_context("spawn").Pool(1) as pool:
            seconds, megabytes = pool.apply(run, (form, stage, jobs))
        print(f"{form:14} {stage:8} {seconds:7.2f} s {megabytes:7.0f} MB")


if __name__ == "__main__":
    main()
