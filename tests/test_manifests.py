"""The example manifests: each is planned and rendered as it stands, with small clips and stills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
import shutil

from click.testing import CliRunner
import pytest

from batchrunner.cli.app import program as commands
from batchrunner.core.inputs import Input, Source
from batchrunner.core.manifest import Manifest
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.core.case_text import parse
from tests.support.media import write_clip, write_still
from tests.support.program import Ended, Program, Provider, check_books

EXAMPLES = sorted(Path(__file__).parents[1].joinpath("manifests").glob("*.yaml"))

LONGEST = 20.0
"""Seconds of the clip up to which the examples ask."""


class Here(Program):
    """The program in this process: starting it anew for every step would take most of the time."""

    def run(self, *arguments: str, timeout_s: float = 100) -> Ended:
        ended = CliRunner().invoke(
            commands,
            arguments,
            env=self.environ(),
            standalone_mode=False,
            catch_exceptions=False,
            auto_envvar_prefix="BATCHRUNNER",
        )
        return Ended(code=ended.return_value, out=ended.stdout, err=ended.stderr)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with launch.start(Settings(data_dir=tmp_path_factory.mktemp("sandbox"), scale=0.05, credits=20_000)) as running:
        yield Provider(base_url=running.base_url)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip for jobs that name a second, and a short one for those that take all of it."""
    folder = tmp_path_factory.mktemp("material")
    return {
        "long": write_clip(folder / "long.mp4", fps=4, seconds=LONGEST, hue=0.1),
        "short": write_clip(folder / "short.mp4", fps=4, seconds=1.0, hue=0.6),
    }


def lay(read: Manifest, material: dict[str, Path], folder: Path) -> None:
    """Put a clip or a still wherever the manifest names one, and three clips into every folder."""
    for job in read.jobs:
        if job.folder is not None:
            for name in ("a/one.mp4", "a/two.mp4", "b/one.mp4"):
                path = folder / job.folder.globs[0].partition("*")[0] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(material["short"], path)
    to_their_end = {given.value for job in read.jobs if job.fields["end_seconds"] == "end" for given in job.inputs}
    locals_: set[Input] = {given for job in read.jobs for given in job.inputs if given.source is Source.LOCAL}
    for given in locals_:
        path = folder / given.value
        path.parent.mkdir(parents=True, exist_ok=True)
        if given.media == "image":
            write_still(path, hue=0.4)
        else:
            shutil.copy(material["short" if given.value in to_their_end else "long"], path)


def test_there_is_one_for_each_purpose() -> None:
    assert len(EXAMPLES) >= 8
    for path in EXAMPLES:
        assert path.read_text(encoding="utf-8").startswith("# "), f"{path.name} begins by saying what it shows"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_planned_and_rendered(
    example: Path, sandbox: Provider, material: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = Here(folder=tmp_path, provider=sandbox)
    manifest = Path(shutil.copy(example, tmp_path))
    read = parse(example.read_text(encoding="utf-8"))
    lay(read, material, tmp_path)

    planned = program.run("plan", manifest.name, "--json")
    assert planned.code == 0, planned.err
    plan = planned.json()
    count = sum(3 if job.folder else 1 for job in read.jobs)
    assert [job["action"] for job in plan["jobs"]] == ["render"] * count

    ended = program.run("run", manifest.name)
    assert ended.code == 0, ended.err
    name = read.name if read.name != "m" else manifest.stem
    status = check_books(program, manifest, jobs=count, name=name)
    assert status["totals"]["by_state"] == {"done": count}
    assert status["totals"]["credits"]["charged"] <= plan["totals"]["credits"]["hold"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_what_is_commented_out_in_it_can_be_put_in(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    put_in = re.sub(r"^  # (?=- id:|  \S)", "  ", text, flags=re.MULTILINE)
    commented_out = len(re.findall(r"^  # - id:", text, flags=re.MULTILINE))
    assert len(parse(put_in).jobs) == len(parse(text).jobs) + commented_out
