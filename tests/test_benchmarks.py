"""The benchmarks, at a size at which they say nothing: they are run by hand, and must not rot meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "figures"),
    [
        ("rendering.py 2 --at-once 2 --seconds 0.1 --rounds 1", 4),
        ("reading.py 200", 10),
        ("engine.py 20 --in-flight 5 --rounds 1", 6),
        ("starting.py --jobs 1 --rounds 1", 5),
        ("resuming.py 200 --rounds 1", 5),
        ("transferring.py 1 --rounds 1", 5),
        ("report.py 4", 3),
        ("workers.py --speed --files 12 --megabytes 1", 12),
    ],
)
def test_benchmark_runs_to_its_end(command: str, figures: int, tmp_path: Path):
    if command.startswith("transferring") and (shutil.which("curl") is None or not hasattr(os, "memfd_create")):
        pytest.skip("compares with curl, and keeps what is sent in a file without a name")
    if command.startswith("report") and shutil.which("chromium") is None:
        pytest.skip("opens the page in Debian's chromium")
    script, *arguments = command.split()
    written = tmp_path / "figures.json"
    with TemporaryDirectory() as folder:  # a browser's socket there must have a short path
        ended = subprocess.run(
            [sys.executable, BENCHMARKS / script, *arguments, "--json", written],
            env={**os.environ, "TMPDIR": folder, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(written.read_text())["figures"]
    assert len(found) == figures
    assert all(row.get("exit", 0) == 0 for row in found), ended.stderr


def test_figures_are_written_also_where_no_file_is_named():
    ask = "import measuring; print(measuring.parser(None).parse_args([]).json)"
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); sys.argv[0] = 'engine.py'; {ask}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(ended.stdout.strip()) == BENCHMARKS / "results" / "engine.json"
