"""The demonstration's own files, and what a stop while they are made leaves."""

from __future__ import annotations

from pathlib import Path
import signal
import subprocess
import sys

import av
import pytest

from batchrunner import demo

# A write beyond the limit ends the process on the spot, as a kill does: Python would go on with an error otherwise.
DIES_WRITING = """\
import pathlib, resource, signal, sys
from batchrunner import demo
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
demo.prepare(pathlib.Path(sys.argv[1]))
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("demo")
    demo.prepare(folder)
    return files(folder)


@pytest.mark.parametrize("there", [(), ("clips",), ("clips", "stills")])
def test_a_kill_while_the_files_are_made_leaves_none_that_is_torn(tmp_path, whole, there):
    folder = tmp_path / "demo"
    for name in (name for name in whole if name.startswith(there or ("nothing",))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(whole[name])
    killed = subprocess.run([sys.executable, "-c", DIES_WRITING, str(folder), "1000"], check=False)
    assert killed.returncode == -signal.SIGXFSZ
    left = {name: content for name, content in files(folder).items() if not name.endswith(".part")}
    assert left.items() <= whole.items()
    demo.prepare(folder)
    assert files(folder).keys() == whole.keys()
    for name, content in files(folder).items():
        if name.endswith(".mp4"):  # its bytes depend on the encoder's threads
            with av.open(str(folder / name)) as clip:
                assert sum(1 for _ in clip.decode(video=0)) == 3 * demo.FPS
        else:
            assert content == whole[name]
