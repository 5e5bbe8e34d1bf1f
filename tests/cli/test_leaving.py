"""Told to end while the answer to a paid request is on its way: it is waited for, said so, and kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import shutil
import signal
import subprocess

import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.program import Program, Provider, check_books, wait_for

MANIFEST = """\
version: 1
output: out/{id}.mp4
jobs:
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p,
     assets: {image_file_path: a.png}}
"""
SLOW_ANSWER = '[{"step": "create", "hang_after": 2, "count": 1}]'
LEAVING = "leaving: waits up to 10 s for the answer to a paid request"

ASKED = {
    "Ctrl-C, three times": [(signal.SIGINT, "stopping"), (signal.SIGINT, LEAVING), (signal.SIGINT, LEAVING)],
    "SIGTERM, twice": [(signal.SIGTERM, LEAVING), (signal.SIGTERM, LEAVING)],
    "a closed terminal": [(signal.SIGHUP, LEAVING)],
}


@pytest.fixture
def program(tmp_path: Path, media: Path) -> Iterator[Program]:
    """A program whose provider takes its time to answer the first paid request."""
    (tmp_path / "faults.json").write_text(SLOW_ANSWER)
    folder = tmp_path / "batch"
    folder.mkdir()
    shutil.copy(media / "a.png", folder)
    (folder / "night.yaml").write_text(MANIFEST)
    with launch.start(Settings(data_dir=tmp_path / "data", scale=0.1, faults=tmp_path / "faults.json")) as running:
        yield Program(folder=folder, provider=Provider(base_url=running.base_url))


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_the_answer_to_a_paid_request_is_heard_however_it_is_asked_to_end(program, asked):
    if (signal.SIGHUP, LEAVING) in asked and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("a closed terminal is to be ignored here")
    process = program.start("run", "night.yaml")
    wait_for(lambda: program.provider.creates("night"))
    for number, words in asked:
        process.send_signal(number)
        _hear(process, words)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert program.status(program.folder / "night.yaml")["totals"]["by_state"] == {"rendering": 1}
    assert program.run("run", "night.yaml").code == 0
    check_books(program, program.folder / "night.yaml", jobs=1)


def _hear(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    assert next((line for line in process.stderr if line.startswith(words)), None), f"it ended without {words!r}"
