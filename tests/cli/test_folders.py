"""Folders from end to end: a manifest that init wrote, and what becomes of files that come, change and go."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import unicodedata

import pytest

from batchrunner.core import starter
from tests.support.media import write_clip, write_still
from tests.support.program import Program, check_books


@pytest.fixture
def clips(own: Program) -> Path:
    """Three clips and two stills in a folder."""
    folder = own.folder / "night"
    (folder / "day 2").mkdir(parents=True)
    for number, name in enumerate(("intro.mp4", "day 2/intro.MP4", "-élan.mov")):
        write_clip(own.folder / "new.mp4", fps=4, seconds=1.0, hue=number / 3).rename(folder / name)
    for number, name in enumerate(("intro.png", "day 2/hero.jpg")):
        write_still(folder / name, hue=number / 2)
    return folder


def jobs_of(program: Program, manifest: str, *words: str) -> dict[str, tuple[str, str]]:
    ended = program.here("plan", manifest, "--json", *words)
    assert ended.code == 0, ended.err
    return {job["id"]: (job["action"], job["reason"]) for job in ended.json()["jobs"]}


def test_a_folder_is_rendered_and_the_next_night_only_what_is_new(own, clips):
    made = own.run("init", "night")
    assert made.code == 0, made.err
    assert made.out == "night.yaml: 5 jobs (3 video-to-video, 2 image-to-video)\n"
    assert (
        "batchrunner validate night.yaml\n  batchrunner plan night.yaml\n  batchrunner run night.yaml --sand"
        in made.err
    )
    assert own.here("validate", "night.yaml").out == "night.yaml: 5 jobs, no errors\n"
    ids = {"intro.mp4", "day 2/intro.mp4", "-élan.mov", "intro.png", "day 2/hero.jpg"}
    assert jobs_of(own, "night.yaml") == dict.fromkeys(ids, ("render", "new"))
    ended = own.run("run", "night.yaml")
    assert ended.code == 0, ended.err
    manifest = own.folder / "night.yaml"
    check_books(own, manifest, jobs=5)

    write_clip(own.folder / "new.mp4", fps=4, seconds=1.0, hue=0.9).rename(clips / "late.mp4")
    assert {each for each, told in jobs_of(own, "night.yaml").items() if told != ("skip", "done")} == {"late.mp4"}
    assert own.run("run", "night.yaml").code == 0
    check_books(own, manifest, jobs=6)
    assert own.provider.creates_by_job("night")["late.mp4"] == 1


def test_files_that_change_go_and_are_renamed_are_told_and_never_bought_by_themselves(own, clips):
    assert own.run("init", "night").code == 0
    assert own.run("run", "night.yaml").code == 0
    before = (own.folder / "renders" / "intro.mp4.mp4").read_bytes()
    (clips / "-élan.mov").unlink()
    (clips / "day 2" / "hero.jpg").rename(clips / "day 2" / "heroine.jpg")
    write_clip(clips / "intro.mp4", fps=4, seconds=1.0, hue=0.6)
    told = jobs_of(own, "night.yaml")
    assert told["-élan.mov"] == ("skip", "its file is gone; its result is kept")
    assert told["day 2/hero.jpg"] == ("skip", "its file is gone; its result is kept")
    assert told["intro.mp4"][0] == "skip"
    assert "changed since (content of night/intro.mp4)" in told["intro.mp4"][1]
    assert told["day 2/heroine.jpg"] == (
        "render",
        "new; the same render is done as day 2/hero.jpg, which is no longer asked for",
    )
    (clips / "day 2" / "heroine.jpg").unlink()
    assert own.run("run", "night.yaml").code == 0
    assert set(own.provider.creates_by_job("night").values()) == {1}
    assert (own.folder / "renders" / "intro.mp4.mp4").read_bytes() == before


def test_a_file_that_is_not_whole_waits_for_the_next_run(own, clips):
    manifest = own.folder / "watch.yaml"
    manifest.write_text(
        "version: 1\njobs:\n"
        '  - {id: "{relpath}", kind: video-to-video, input: {glob: "night/**/*.{mp4,mov}"}, end_seconds: end,'
        " style: {art_style: Ink, version: v2}}\n"
    )
    whole = (clips / "intro.mp4").read_bytes()
    (clips / "intro.mp4").write_bytes(whole[: len(whole) // 2])
    (clips / "begun.mp4").touch()
    ended = own.run("run", "watch.yaml")
    assert ended.code == 0, ended.err
    assert 'watch.yaml:3:59: warning: 1 file ("night/begun.mp4") is empty, and left for the next run' in ended.err
    assert '1 file ("night/intro.mp4") is still being written, and left for the next run' in ended.err
    check_books(own, manifest, jobs=2)
    (clips / "intro.mp4").write_bytes(whole)
    assert own.run("run", "watch.yaml").code == 0
    check_books(own, manifest, jobs=3)


def test_a_folder_of_nothing_is_a_warning_and_done(own):
    (own.folder / "watch").mkdir()
    (own.folder / "m.yaml").write_text(
        'version: 1\njobs:\n  - {id: "{stem}", kind: image-to-video, input: {glob: "watch/*"}, end_seconds: 5}\n'
    )
    for command in ("validate", "plan", "run"):
        ended = own.run(command, "m.yaml")
        assert ended.code == 0, ended.err
        assert 'no file fits "watch/*"' in ended.err


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_leaves_out_what_cannot_be_rendered_and_says_why(own, clips):
    (clips / "broken [1].mp4").write_bytes(b"x" * 1000)
    ended = own.run("init", "night", "-o", "m.yaml")
    assert ended.code == 0, ended.err
    assert "left out: night/broken [1].mp4: broken [1].mp4 cannot be played" in ended.err
    assert '        - "night/broken [[]1].mp4"' in (own.folder / "m.yaml").read_text()
    assert own.here("plan", "m.yaml").code == 0


def test_init_leaves_out_a_folder_that_cannot_be_read_and_the_plan_goes_round_it(own, clips, monkeypatch):
    """As each drive has one: lost+found, System Volume Information."""
    for name in ("lost+found", "day 2/raw [1]"):
        (clips / name).mkdir()
    scandir = os.scandir

    def refusing(path):
        if Path(path).name in {"lost+found", "raw [1]"}:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    ended = own.here("init", "night")
    assert (ended.code, ended.out) == (0, "night.yaml: 5 jobs (3 video-to-video, 2 image-to-video)\n"), ended.err
    assert "left out: night/lost+found: this folder cannot be read: Permission denied\n" in ended.err
    assert (own.folder / "night.yaml").read_text().count('        - "night/day 2/raw [[]1]/**"') == 2
    assert len(jobs_of(own, "night.yaml")) == 5


def test_init_counts_no_file_that_its_own_exclusions_leave_out(own, clips):
    """A pattern fits both forms of a letter, so of two names in two forms neither can stay."""
    for form in ("NFC", "NFD"):
        (clips / unicodedata.normalize(form, "\u00e9.mp4")).write_bytes((clips / "intro.mp4").read_bytes())
    if len([each for each in clips.iterdir() if each.name.endswith(".mp4")]) < 3:
        pytest.skip("to this file system both are one name")
    ended = own.here("init", "night")
    assert ended.out == "night.yaml: 5 jobs (3 video-to-video, 2 image-to-video)\n"
    assert ended.err.count("two files have this name; rename one of them") == 2
    assert len(jobs_of(own, "night.yaml")) == 5


def test_init_refuses_a_folder_of_names_that_cannot_be_told_apart(own):
    (own.folder / "odd").mkdir()
    for form in ("NFC", "NFD"):
        write_still(own.folder / "odd" / unicodedata.normalize(form, "\u00e9.png"), hue=0.5)
    if len(list((own.folder / "odd").iterdir())) < 2:
        pytest.skip("to this file system both are one name")
    ended = own.here("init", "odd")
    assert (ended.code, ended.out) == (2, "")
    assert "error: no file in odd can be used" in ended.err
    assert "two files have this name" in ended.err


def test_init_never_writes_over_a_manifest_unless_it_is_told_to(own, clips):
    (own.folder / "night.yaml").write_text("mine")
    ended = own.run("init", "night")
    assert (ended.code, ended.err) == (
        2,
        "error: night.yaml is there already\nhint: name another file with -o, or replace it with --force\n",
    )
    assert (own.folder / "night.yaml").read_text() == "mine"
    assert own.run("init", "night", "--force").code == 0
    assert own.here("plan", "night.yaml").code == 0


def test_init_in_the_folder_itself_never_takes_renders_for_clips(own, clips):
    program = Program(folder=clips, provider=own.provider)
    assert program.run("init", ".", "-o", "m.yaml").code == 0
    assert program.run("run", "m.yaml").code == 0
    assert (clips / "renders" / "intro.mp4.mp4").exists()
    assert set(jobs_of(program, "m.yaml").values()) == {("skip", "done")}
    assert (
        program.run("init", ".", "-o", "again.yaml").out == "again.yaml: 5 jobs (3 video-to-video, 2 image-to-video)\n"
    )


def test_init_of_a_folder_elsewhere_with_an_odd_name(own, clips, tmp_path_factory):
    odd = tmp_path_factory.mktemp("far") / "$HOME {x} [y] 'q'"
    shutil.copytree(clips, odd)
    assert own.run("init", str(odd), "-o", "far.yaml").code == 0
    assert len(jobs_of(own, "far.yaml")) == 5


@pytest.mark.parametrize("name", ["empty", "texts"])
def test_init_of_a_folder_without_media_says_what_it_looked_for(own, name):
    (own.folder / name).mkdir()
    if name == "texts":
        (own.folder / name / "notes.txt").write_text("x")
    ended = own.run("init", name)
    assert ended.code == 2
    assert f"error: there are no clips and no stills in {name}\nhint: clips end with .mp4, " in ended.err
    assert not (own.folder / f"{name}.yaml").exists()


def test_init_refuses_what_is_no_folder_and_where_nothing_can_be_written(own, clips):
    assert own.run("init", "nowhere").code == 2
    ended = own.run("init", "night", "-o", "no/such/folder/m.yaml")
    assert ended.code == 2
    assert "error: cannot write" in ended.err
    assert "Traceback" not in ended.err


def test_the_budget_is_a_little_above_the_most_that_the_plan_can_cost(own, clips):
    assert own.run("init", "night").code == 0
    plan = own.here("plan", "night.yaml", "--json").json()
    hold = plan["totals"]["credits"]["hold"]
    cap = int((own.folder / "night.yaml").read_text().split("  credits: ")[1].split()[0])
    assert hold < cap <= 1.2 * hold
    assert not any(job["warnings"] for job in plan["jobs"])


@pytest.mark.parametrize(
    ("hold", "cap"), [(0, 0), (1, 10), (90, 100), (570, 630), (4800, 5300), (99_999, 110_000), (1_234_567, 1_400_000)]
)
def test_a_budget_is_easy_to_read(hold, cap):
    assert starter.budget_for(hold) == cap


def test_a_flat_folder_gets_the_shortest_ids(own):
    (own.folder / "flat").mkdir()
    for name in ("one.mp4", "two.mp4"):
        write_clip(own.folder / "flat" / name, fps=4, seconds=1.0, hue=0.1)
    os.utime(own.folder / "flat" / "one.mp4", (1, 1))
    assert own.run("init", "flat").code == 0
    assert set(jobs_of(own, "flat.yaml")) == {"one", "two"}
