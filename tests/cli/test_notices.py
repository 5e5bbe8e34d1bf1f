"""Notices and the hook of a run: few, true, without secrets, and never in the run's way."""

from __future__ import annotations

import json
from pathlib import Path
import re
import shutil
import sys

import pytest

from batchrunner.sandbox.settings import API_KEY
from tests.support import inbox
from tests.support.program import Program

TWO = """\
version: 1
name: night
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png}
"""

KEEPS = """\
import json, os, sys
job = json.load(sys.stdin)
job["has_key"] = any(name.startswith("MAGIC_HOUR_API") for name in os.environ)
with open("told.jsonl", "a") as file:
    file.write(json.dumps(job) + chr(10))
"""


def written(program: Program, text: str = TWO, **head: object) -> Path:
    manifest = program.folder / "night.yaml"
    manifest.write_text(
        text.replace("jobs:", "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items()) + "jobs:")
    )
    return manifest


def everything(program: Program) -> str:
    """All that is on disk of a run, as text."""
    files = [each for each in program.folder.rglob("night*") if each.is_file()]
    return "".join(each.read_bytes().decode("latin-1") for each in files)


def test_a_night_gives_one_summary(own):
    manifest = written(own)
    with inbox.opened() as box:
        own.env["BATCHRUNNER_NOTIFY"] = box.address
        ended = own.run("run", manifest.name)
    assert ended.code == 0, ended.err
    assert box.titles() == ["night: all done"]
    charged = own.status(manifest)["totals"]["credits"]["charged"]
    assert box.notices[0]["message"].startswith(f"2 done; {charged:,} credits charged; ")
    assert "opensesame" not in ended.out + ended.err + everything(own)


def test_addresses_stand_in_a_file_of_the_persons_own(own, tmp_path):
    manifest = written(own)
    file = tmp_path / "config" / "batchrunner" / "notify"
    file.parent.mkdir(parents=True)
    own.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    with inbox.opened() as box:
        file.write_text(f"# mine\n\n{box.address}\n{box.address}\n")
        file.chmod(0o644)
        refused = own.run("run", manifest.name)
        assert refused.code == 2
        assert f"chmod 600 {file}" in refused.err
        file.chmod(0o600)
        assert own.run("run", manifest.name).code == 0
    assert len(box.notices) == 1


@pytest.mark.parametrize("own", [[{"step": "create", "job": "*/clip *", "drop": "after"}]], indirect=True)
def test_a_submission_that_waits_for_a_person_is_told_with_what_to_type(own):
    manifest = written(own)
    with inbox.opened() as box:
        own.env["BATCHRUNNER_NOTIFY"] = box.address
        assert own.run("run", manifest.name).code == 9
    assert box.titles() == ["night: a submission waits for you", "night: submissions wait for a person"]
    assert "batchrunner adopt" in box.notices[0]["message"]
    assert "batchrunner adopt" in box.notices[1]["message"]


def test_a_cap_that_comes_near_and_one_that_is_reached(own):
    manifest = written(own, budget={"credits": 165, "warn_at": 0.05})
    with inbox.opened() as box:
        own.env["BATCHRUNNER_NOTIFY"] = box.address
        ended = own.run("run", manifest.name)
    assert ended.code in {0, 8}
    assert box.titles()[0] == "night: near its cap"
    assert len(box.notices) == 2


def test_only_what_is_wanted_is_told(own):
    manifest = written(own, notify={"on": ["uncertain"]})
    with inbox.opened() as box:
        own.env["BATCHRUNNER_NOTIFY"] = box.address
        assert own.run("run", manifest.name).code == 0
        assert own.run("run", manifest.name, "--no-notices").code == 0
    assert box.notices == []


def test_a_run_that_cannot_begin_is_told(own):
    manifest = written(own)
    with inbox.opened() as box:
        own.env |= {"BATCHRUNNER_NOTIFY": box.address, "MAGIC_HOUR_API_KEY": "mhk_live_wrong"}
        assert own.run("run", manifest.name).code == 6
    assert box.titles() == ["night: broke off"]
    assert "mhk_live_wrong" not in json.dumps(box.notices)


def test_a_service_that_takes_nothing_costs_a_line_and_no_more(own):
    manifest = written(own)
    with inbox.opened(status=500) as box:
        own.env["BATCHRUNNER_NOTIFY"] = box.address
        ended = own.run("run", manifest.name)
    assert ended.code == 0
    assert "notice address 1, JSON (json://…), took no notice" in ended.err
    assert "opensesame" not in ended.err


@pytest.mark.parametrize("address", ["rubbish://opensesame", "opensesame", "json://"])
def test_an_address_that_nobody_understands_is_refused_before_anything_is_bought(own, address):
    manifest = written(own)
    own.env["BATCHRUNNER_NOTIFY"] = address
    ended = own.run("run", manifest.name)
    assert ended.code == 2
    assert "notice address 1 is not understood" in ended.err
    assert "opensesame" not in ended.err
    assert own.provider.creates("night") == []


def test_it_can_be_tried(own):
    with inbox.opened() as box:
        own.env["BATCHRUNNER_NOTIFY"] = box.address
        shown = own.run("notify")
        assert (shown.code, shown.out) == (0, "1. JSON (json://…)\n")
        tried = own.run("notify", "--test")
        assert (tried.code, tried.out) == (0, "1. JSON (json://…): took the notice\n")
    assert box.titles() == ["batchrunner: a test"]
    own.env["BATCHRUNNER_NOTIFY"] = ""
    assert own.run("notify", "--test").code == 2


def test_the_manifest_on_the_page_is_one(own):
    page = (Path(__file__).parents[2] / "docs" / "notices.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (own.folder / "stills").mkdir()
    shutil.copy(own.folder / "a.png", own.folder / "stills" / "hero.png")
    (own.folder / "keep.py").write_text(KEEPS)
    (own.folder / "hook.yaml").write_text(example)
    assert own.run("run", "hook.yaml").code == 0
    assert (own.folder / "told.jsonl").exists()


# --- the hook ---


def test_the_hook_gets_each_job_that_is_done_and_no_key(own):
    (own.folder / "keeps.py").write_text(KEEPS)
    manifest = written(own, on_job_done=[sys.executable, "keeps.py"])
    ended = own.run("run", manifest.name)
    assert ended.code == 0, ended.err
    told = [json.loads(line) for line in (own.folder / "told.jsonl").read_text().splitlines()]
    assert sorted(each["job"] for each in told) == ["clip", "still"]
    for each in told:
        assert (each["state"], each["event"], each["has_key"]) == ("done", "downloaded", False)
        (file,) = each["files"]
        assert Path(file).stat().st_size == each["outputs"][0]["bytes"]
        assert each["manifest"] == str(manifest)
    assert own.run("run", manifest.name).code == 0
    assert len((own.folder / "told.jsonl").read_text().splitlines()) == 2, "what is done is told once"


def test_a_hook_that_fails_is_told_and_nothing_else_happens(own):
    manifest = written(own)
    ended = own.run("run", manifest.name, "--on-job-done", f"{sys.executable} -c 'raise SystemExit(3)'")
    assert ended.code == 0
    assert ended.err.count("on_job_done ended with 3 for") == 2
    assert API_KEY not in ended.err


def test_a_hook_that_is_no_command_is_refused_before_anything_is_bought(own):
    manifest = written(own)
    ended = own.run("run", manifest.name, "--on-job-done", "'")
    assert (ended.code, "--on-job-done is no command: No closing quotation" in ended.err) == (2, True), ended.err
    assert own.provider.creates("night") == []


def test_a_hook_that_is_not_there_is_refused_before_anything_is_bought(own):
    manifest = written(own, on_job_done="no-such-program --at all")
    ended = own.run("run", manifest.name)
    assert ended.code == 2
    assert "there is no command 'no-such-program'" in ended.err
    assert own.provider.creates("night") == []
