"""`report`: the same figures as everywhere, in every form, and nothing of it where it must not be."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
import signal
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from batchrunner import store
from batchrunner.cli.app import main
from tests.support.media import write_clip, write_still
from tests.support.nights import bought, done, failed, spec_of, uncertain, write_state

MANIFEST = """\
version: 1
budget: {credits: 6000}
jobs: [{id: good, kind: image-to-video, input: a.png, end_seconds: 5, model: kling-3.0, resolution: 720p}]
"""
KEY = "mhk_live_0123456789abcdef"


@pytest.fixture
def night(tmp_path, monkeypatch):
    """A batch on record: two done, one of them suspect, two failed, one that nobody can judge, one under way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAGIC_HOUR_API_KEY", KEY)
    manifest = tmp_path / "night.yaml"
    manifest.write_text(MANIFEST)
    (tmp_path / "renders").mkdir()
    good = write_clip(tmp_path / "renders" / "good.mp4", fps=24, seconds=1, hue=0.2)
    write_still(tmp_path / "a.png", hue=0.5)
    write_state(
        manifest,
        [
            done("good", spec=spec_of(tags=("day",)), file=good),
            done("dark", suspect="renders/dark.mp4: it is black"),
            failed("=bad", code="nsfw"),
            failed("worse", code="unknown_error", left=240, message=f"https://x.example/a?Signature=abc {KEY}"),
            uncertain("lost"),
            bought("busy", spec=spec_of(prompt=f"a prompt with {KEY} in it")),
        ],
    )
    return manifest


def told(capsys, *words: str) -> str:
    assert main(words) == 0
    out: str = capsys.readouterr().out
    return out


def test_json_has_the_figures_of_status_and_ledger(night, capsys):
    made = json.loads(told(capsys, "report", "night.yaml", "--format", "json"))
    status = json.loads(told(capsys, "status", "night.yaml", "--json"))
    ledger = json.loads(told(capsys, "ledger", "night.yaml", "--json"))
    assert made["totals"] == status["totals"]
    assert [job["credits"] for job in made["jobs"]] == [job["credits"] for job in status["jobs"]]
    assert made["ledger"] == ledger["totals"]
    assert [due["job"] for due in made["refunds_due"]] == [due["job"] for due in ledger["refunds_due"]]
    assert made["cap"] == 6000
    assert made["spend"][-1]["credits"] == ledger["totals"]["net"] == status["totals"]["credits"]["charged"]
    assert made["in_flight"][-1]["renders"] == 1
    assert made["suspects"] == [{"id": "dark", "suspect": "renders/dark.mp4: it is black", "at_s": 1.5}]
    assert [group["code"] for group in made["failures"]] == ["nsfw", "unknown_error"]


@pytest.mark.parametrize(
    ("flags", "ids"),
    [
        (["--only", "good"], ["good"]),
        (["--state", "failed"], ["=bad", "worse"]),
        (["--tag", "day"], ["good"]),
        (["--exclude", "*o*"], ["dark", "=bad", "busy"]),
        (["--limit", "2"], ["good", "dark"]),
        (["--kind", "video-to-video"], []),
    ],
)
def test_a_selection_holds_in_every_form(night, capsys, flags, ids):
    made = json.loads(told(capsys, "report", "night.yaml", "--format", "json", *flags))
    status = json.loads(told(capsys, "status", "night.yaml", "--json", *flags))
    assert sorted(job["id"] for job in made["jobs"]) == sorted(ids)
    assert made["totals"] == status["totals"]
    assert made["ledger"]["net"] == status["totals"]["credits"]["charged"]
    rows = list(csv.DictReader(io.StringIO(told(capsys, "report", "night.yaml", "--format", "csv", *flags))))
    assert len(rows) == len(ids)
    page = told(capsys, "report", "night.yaml", "--no-pictures", "-o", "-", *flags)
    assert page.count('<li class="card"') == len(ids)
    assert f"only {' '.join(flags).replace('*o*', '&#39;*o*&#39;')}" in page


def test_the_command_that_tries_again_keeps_what_was_typed(night, capsys):
    night.with_name("night.state.db").rename(night.with_name("other file.db"))
    flags = ["--state", "other file.db", "--exclude", "worse", "--format", "json"]
    (group,) = json.loads(told(capsys, "report", "night.yaml", *flags))["failures"]
    assert group["command"] == "batchrunner retry night.yaml --state 'other file.db' --exclude worse --code nsfw"


def test_a_page_goes_beside_the_manifest_and_the_rest_to_standard_output(night, capsys):
    assert told(capsys, "report", str(night)) == f"{night.with_name('night.report.html')}\n"
    first = night.with_name("night.report.html").read_text(encoding="utf-8")
    assert first.count('src="data:image/webp') == 1  # the one result that is there; what went in is not what it was
    assert "the file was changed since" in first
    assert "is no longer there" in first
    assert "batchrunner download" in first
    told(capsys, "report", str(night))  # over itself
    assert told(capsys, "report", "night.yaml", "--format", "md").startswith("# night.yaml\n")
    (gone,) = json.loads(told(capsys, "report", "night.yaml", "--format", "json"))["gone"]
    written = told(capsys, "report", "night.yaml", "--format", "md")
    assert "    batchrunner download night.yaml\n" in written
    assert f"{gone} (is no longer there)" in written.replace("\\", "")
    rows = list(csv.DictReader(io.StringIO(told(capsys, "report", "night.yaml", "--format", "csv"))))
    assert [row["output"] for row in rows if row["gone"]] == [gone]
    assert told(capsys, "report", "night.yaml", "--format", "junit", "-o", "out.xml") == "out.xml\n"
    assert ET.parse("out.xml").getroot().attrib["tests"] == "6"
    assert "'=bad" in told(capsys, "report", "night.yaml", "--format", "csv")


@pytest.mark.parametrize("form", ["html", "md", "json", "csv", "junit"])
def test_no_secret_gets_into_it(night, capsys, form):
    text = told(capsys, "report", "night.yaml", "--format", form, "-o", "-")
    assert KEY not in text
    assert "Signature=abc" not in text
    assert "worse" in text


def test_nothing_of_the_batch_is_touched(night, capsys):
    def everything() -> dict[Path, tuple[bytes, int]]:
        files = (
            path
            for path in night.parent.rglob("*")
            if path.is_file() and "-shm" not in path.name and "-wal" not in path.name
        )
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = everything()
    told(capsys, "report", "night.yaml", "-o", "-")
    assert everything() == before


@pytest.mark.parametrize("name", ["night.yaml", "night.state.db", "renders/good.mp4", "a.png"])
def test_no_report_replaces_a_part_of_the_batch(night, capsys, name):
    content = (night.parent / name).read_bytes()
    assert main(["report", "night.yaml", "-o", name]) == 2
    assert "is part of the batch" in capsys.readouterr().err
    assert (night.parent / name).read_bytes() == content


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.yaml"], "so there is nothing to report"),
        (["night.yaml", "--only", "goood"], "no job has such an id"),
        (["night.yaml", "-o", "no folder/x.html"], "cannot write"),
        (["night.yaml", "--format", "csv", "--assets", "x"], "--assets and --no-pictures are for pages"),
        (["night.yaml", "--assets", "a.png/x"], "cannot write into a.png/x"),
        (["night.yaml", "--format", "pdf"], "'pdf' is not one of"),
    ],
)
def test_bad_words_are_refused_with_what_helps(night, capsys, words, said):
    assert main(["report", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(night.parent.glob(".*.new"))


def test_it_is_made_while_a_run_goes_on_and_without_the_manifest(night, capsys):
    with store.open_for_run(store.path_for(night), run_id="again", now=1_790_100_000.0):
        assert "a run is still at work" in told(capsys, "report", "night.yaml", "--no-pictures", "-o", "-")
    night.unlink()
    made = json.loads(told(capsys, "report", "night.yaml", "--format", "json"))
    assert (made["cap"], made["totals"]["jobs"]) == (None, 6)
    night.write_text("version: 1\nbudget: {credits: 7\n")
    assert json.loads(told(capsys, "report", "night.yaml", "--format", "json"))["cap"] is None


def test_a_run_that_was_killed_is_not_said_to_be_at_work(night, capsys):
    script = (
        "import os, signal, sys; from pathlib import Path; from batchrunner import store\n"
        "held = store.open_for_run(Path(sys.argv[1]), run_id='cut short', now=1_790_100_000.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(store.path_for(night))], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert "at work" not in told(capsys, "report", "night.yaml", "--no-pictures", "-o", "-")


def test_pictures_beside_are_written_once_and_named_by_what_they_are(night, capsys):
    told(capsys, "report", "night.yaml", "--assets", "pictures")
    first = {path.name: path.stat().st_mtime_ns for path in (night.parent / "pictures").iterdir()}
    assert len(first) == 2  # a poster and a loop
    told(capsys, "report", "night.yaml", "--assets", "pictures")
    assert {path.name: path.stat().st_mtime_ns for path in (night.parent / "pictures").iterdir()} == first
    page = night.with_name("night.report.html").read_text(encoding="utf-8")
    assert "data:image" not in page
    assert all(f"./pictures/{name}" in page for name in first)


def test_a_page_that_would_grow_too_large_leaves_pictures_out_and_says_so(night, capsys, monkeypatch):
    monkeypatch.setattr("batchrunner.gallery.MOST_EMBEDDED", 100)
    monkeypatch.setattr("batchrunner.gallery.LOOPED", 0)
    page = told(capsys, "report", "night.yaml", "-o", "-")
    assert "Left out to keep this page small: 1 picture, 2 loops. --assets FOLDER puts all beside it." in page
    assert "data:image" not in page
