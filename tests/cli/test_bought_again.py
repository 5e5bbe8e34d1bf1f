"""A run buys what its plan shows: not what an earlier one asked for, whatever becomes of that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.program import Program

HEAD = "version: 1\nlimits: {in_flight: 1}\nbudget: {unpriced: allow}\njobs:\n"
FIRST = "  - {id: first, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p}\n"
NEXT = (
    "  - {id: next, hold: 900, kind: image-to-video, input: b.png, end_seconds: 3, model: wan-3.0, resolution: 720p}\n"
)

LOST = [{"step": "create", "job": "*/next *", "drop": "before", "count": 1}]
NSFW = [
    {"step": "render", "job": "*/next *", "render_error": {"code": "nsfw", "message": "no", "delay": 4}, "count": 1}
]

CHANGES = {
    "dearer": (NEXT.replace("hold: 900", "hold: 999"), ()),
    "longer": (NEXT.replace("end_seconds: 3", "end_seconds: 10"), ()),
    "elsewhere": (NEXT.replace("hold: 900", "hold: 900, output: other.mp4"), ()),
    "gone": ("", ()),
    "not selected": (NEXT, ("--only", "first")),
}


def killed(own: Program, manifest: Path, *, at: str) -> None:
    """A first job is bought; a second run is killed as soon as it says `at` of the next one."""
    manifest.write_text(HEAD + FIRST)
    assert own.run("run", manifest.name).code == 0
    manifest.write_text(HEAD + FIRST + NEXT)
    process = own.start("run", manifest.name)
    assert process.stderr is not None
    next(line for line in process.stderr if at in line)
    process.kill()
    process.communicate(timeout=30)


@pytest.mark.parametrize(("own", "at"), [(LOST, "no answer"), (NSFW, "next: accepted")], indirect=["own"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_asked_for_any_more_is_not_bought_again(own, at, change):
    manifest = own.folder / "again.yaml"
    killed(own, manifest, at=at)
    bought = own.provider.creates_by_job("again")["next"]
    text, flags = CHANGES[change]
    manifest.write_text(HEAD + FIRST + text)
    own.env["BATCHRUNNER_RUN_YES"] = ""
    assert own.here("plan", manifest.name, "--json", *flags).json()["totals"]["to_render"] == 0
    ended = own.run("run", manifest.name, *flags)
    assert (ended.code, "next: it cost nothing" in ended.err) == (3, True), ended.err
    assert own.provider.creates_by_job("again")["next"] == bought
    plan = own.here("plan", manifest.name, "--json").json()
    assert {job["id"]: job["action"] for job in plan["jobs"]}["next"] == {
        "gone": "skip",
        "not selected": "resume",
    }.get(change, "render")


@pytest.mark.parametrize("own", [LOST], indirect=True)
def test_what_may_be_bought_again_is_in_the_price_and_needs_consent(own):
    manifest = own.folder / "asked.yaml"
    killed(own, manifest, at="no answer")
    own.env["BATCHRUNNER_RUN_YES"] = ""
    plan = own.here("plan", manifest.name, "--json", "-o", "saved.json").json()
    assert (plan["totals"]["to_render"], plan["totals"]["in_question"]) == (1, 1)
    assert plan["totals"]["credits"] == {"low": 0, "expected": 900, "hold": 900}
    assert list(json.loads((own.folder / "saved.json").read_text())["jobs"]) == ["next"]
    ended = own.run("run", manifest.name)
    assert (ended.code, "1 of them only if its last submission proves unpaid" in ended.err) == (2, True), ended.err
    assert own.run("run", manifest.name, "--plan", "saved.json").code == 0
    assert own.provider.creates_by_job("asked") == {"first": 1, "next": 1}
