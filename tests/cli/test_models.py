"""`models`: what a person and a program read of the catalogue, and the comparison with real charges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
import pytest

from batchrunner import store
from batchrunner.cli.catalogue import lengths
from batchrunner.cli.models import models
from batchrunner.core import events, job as machine
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.kind import Kind
from batchrunner.core.spec import Spec
from batchrunner.errors import ManifestError, UsageError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(models, list(arguments), standalone_mode=False, catch_exceptions=False)


def shown(*arguments: str) -> list[str]:
    return [" ".join(line.split()) for line in run(*arguments).output.splitlines()]


def json_of(*arguments: str) -> Any:
    import json

    return json.loads(run(*arguments, "--json").stdout)


def test_the_table_fits_a_terminal() -> None:
    assert max(map(len, run().output.splitlines())) <= 80


def test_the_table_says_what_a_second_costs_and_who_says_so() -> None:
    lines = shown()
    assert "kling-3.0 - - 48/72 72/96 240/288 yes 1" in lines
    assert "wan-3.0 - ? ? ? - yes" in lines
    assert "kling-3.0 3 to 15 yes 24 2,3" in lines
    assert "veo3.1-audio veo3.1 with audio 3" in lines
    changelog = next(line[1] for line in lines if line.endswith("] Documentation changelog, 2026-08-22"))
    assert f"kling-2.5-audio kling-2.6, which has no audio {changelog}" in lines
    assert "default (free) ltx-2.5 at 480p 3" in lines
    assert "HALF every second 30 24 30" in lines
    assert "[1] Documentation api-reference/models.mdx, 2026-08-22" in lines


def test_every_art_style_is_there_to_choose_from_and_none_broken_in_two() -> None:
    output = run("--kind", "video-to-video").output
    listed = output.partition("style.art_style is one of: ")[2].partition("\nstyle.version")[0]
    names = [name for line in listed.splitlines() for name in line.strip().strip(",").split(", ")]
    assert names == json_of()["video_to_video"]["art_styles"]
    assert "style.version is one of: default, v1, v2\n" in output


def test_one_kind_can_be_asked_for() -> None:
    assert not any("art" in line or "FULL" in line for line in shown("--kind", "image-to-video"))
    assert not any(line.startswith("kling") for line in shown("--kind", "video-to-video"))
    assert "models" not in json_of("--kind", "video-to-video")


def test_programs_get_every_figure_with_its_source() -> None:
    found = json_of()
    kling = next(each for each in found["models"] if each["name"] == "kling-3.0")
    assert kling["credits_per_second"]["720p"] == {"silent": 48, "audio": 72, "source": "models"}
    assert len(found["video_to_video"]["art_styles"]) == 75
    assert found["usage_prices"]["bands"][0]["usd"]["pro"] == "0.001950"
    assert found["subscriptions"]["packs"][0] == {"credits": 4000, "usd": "10"}
    assert found["sources"]["models"]["as_of"] == "2026-08-22"


def test_a_file_of_the_persons_own_corrects_it_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(
        'version: 1\nas_of: "2026-10-02"\nmodels: {kling-3.0: {rates: {credits_per_second: {720p: 50}}}}\n',
        encoding="utf-8",
    )
    assert "kling-3.0 - - 50/74 72/96 240/288 yes 1,2" in shown("--catalog", str(file))
    assert "2026-10-02" in run("--catalog", str(file)).output
    file.write_text("version: 1\nmodels: {kling-30: {}}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"ours\.yaml:2:10: .* \(did you mean kling-3\.0\?\)"):
        run("--catalog", str(file))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (range(3, 16), "3 to 15"),
        ([5, 10], "5, 10"),
        ([4, 6, 8, 16, 24, 32, 40, 48, 56], "4, 6, 8 to 56 by 8"),
        ([*range(5, 61, 5)], "5 to 60 by 5"),
        ([1, 2, 3, 10, 15], "1 to 3, 10, 15"),
        ([7], "7"),
        ([], ""),
    ],
)
def test_lengths_in_few_words(seconds: Any, expected: str) -> None:
    assert lengths(seconds) == expected


# --- the comparison ------------------------------------------------------------------------------------------------


def write_state(folder: Path, *charges: tuple[str, int], name: str = "night") -> Path:
    """A state file with a submission of five seconds for each pair of resolution and credits."""
    manifest = folder / f"{name}.yaml"
    manifest.write_text("version: 1\njobs: []\n", encoding="utf-8")
    entries: list[tuple[Event, Job]] = []
    for number, (resolution, credits) in enumerate(charges):
        spec = Spec(
            kind=Kind.IMAGE_TO_VIDEO,
            request=f'{{"model": "kling-3.0", "resolution": "{resolution}", "end_seconds": 5}}',
            inputs=(),
            output=f"{number}.mp4",
            seconds=5,
            fingerprint=str(number),
        )
        job: Job | None = None
        log: list[Event] = [
            events.Opened(at=1, id=f"j{number}", attempt=1, spec=spec),
            events.Uploaded(at=2, assets=()),
            events.SubmitStarted(at=3, name="n"),
            events.Accepted(at=4, project_id=f"p{number}", credits=credits),
        ]
        for event in log:
            job = machine.advance(job, event)
            entries.append((event, job))
    with store.open_for_run(store.path_for(manifest), run_id="r", now=0) as opened:
        opened.append_now(entries)
    return manifest


def test_charges_as_published_are_said_to_be_equal(tmp_path: Path) -> None:
    manifest = write_state(tmp_path, ("720p", 240), ("1080p", 360))
    found = run("--check", str(manifest))
    assert found.return_value == 0
    assert "what was charged is what the table says" in found.output


def test_a_difference_is_named_with_its_figures(tmp_path: Path) -> None:
    one = write_state(tmp_path, ("720p", 240), ("720p", 250))
    two = write_state(tmp_path, ("720p", 250), name="day")
    lines = shown("--check", str(one), str(two))
    assert "image-to-video kling-3.0 720p 3 48 to 50 48 2 differ" in lines
    assert "kling-3.0 720p: 740 credits charged for 3 renders, 720 by the table (+20)" in lines
    (group,) = json_of("--check", str(one), str(two))["groups"]
    assert (group["renders"], group["different"], group["match"]) == (3, 2, "different")
    assert group["credits"] == {"charged": 740, "table": 720}


def test_a_correction_can_explain_the_difference(tmp_path: Path) -> None:
    manifest = write_state(tmp_path, ("720p", 250))
    patch = "version: 1\nmodels: {kling-3.0: {rates: {credits_per_second: {720p: 50}}}}\n"
    (tmp_path / "ours.yaml").write_text(patch, encoding="utf-8")
    assert "1 differ" in run("--check", str(manifest)).output
    assert "1 differ" not in run("--check", str(manifest), "--catalog", str(tmp_path / "ours.yaml")).output
    manifest.write_text("version: 1\ncatalog: ours.yaml\njobs: []\n", encoding="utf-8")
    assert "what was charged is what the table says" in run("--check", str(manifest)).output


def test_without_charges_there_is_nothing_to_compare(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("version: 1\njobs: []\n", encoding="utf-8")
    found = run("--check", str(tmp_path / "new.yaml"), str(write_state(tmp_path)))
    assert found.return_value == 0
    assert "nothing has been run yet" in found.stderr
    assert "nothing to compare" in found.stdout


def test_a_check_takes_the_state_file_that_the_run_took(tmp_path: Path) -> None:
    manifest = write_state(tmp_path, ("720p", 250))
    moved = store.path_for(manifest).rename(tmp_path / "y.state.db")
    assert "1 differ" in run("--check", str(manifest), "--state", str(moved)).output
    with pytest.raises(UsageError, match="there is neither"):
        run("--check", str(tmp_path / "nobody.yaml"))


def test_a_check_needs_a_manifest_and_a_manifest_a_check(tmp_path: Path) -> None:
    import click

    for arguments in (["--check"], [str(tmp_path / "m.yaml")]):
        with pytest.raises(click.UsageError):
            run(*arguments)
