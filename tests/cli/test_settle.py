"""`adopt` and `resolve`, on a submission whose answer was really lost."""

from __future__ import annotations

from pathlib import Path
import re
import signal

import pytest

from tests.support.program import Program
from tests.test_crash import crash_at, lay_out

ONE_JOB = """\
version: 1
jobs:
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png}
"""


@pytest.fixture
def uncertain(program: Program, media: Path, request: pytest.FixtureRequest) -> Path:
    """A manifest whose only job was accepted by the provider in the moment in which the run was killed."""
    manifest = lay_out(program, media, re.sub(r"\W+", "-", request.node.name), ONE_JOB)
    assert crash_at(program, manifest, "after POST /v1/image-to-video").code == -signal.SIGKILL
    assert len(program.provider.creates(manifest.stem)) == 1
    ended = program.run("run", manifest.name)
    assert ended.code == 9, ended.err
    assert f"adopt {manifest.name} still PROJECT_ID" in ended.err
    return manifest


def test_an_adopted_project_is_collected_and_paid_once(program, uncertain):
    (create,) = program.provider.creates(uncertain.stem)
    ended = program.run("adopt", uncertain.name, "still", create["id"], "--json")
    assert ended.code == 0, ended.err
    told = ended.json()
    assert {key: told[key] for key in ("id", "state", "project_id")} == {
        "id": "still",
        "state": "rendering",
        "project_id": create["id"],
    }
    (now,) = program.status(uncertain)["jobs"]
    assert told | {"earlier": []} == now
    assert program.run("run", uncertain.name).code == 0
    (job,) = program.status(uncertain)["jobs"]
    assert (job["state"], job["credits"]["charged"]) == ("done", create["charged"])
    assert len(program.provider.creates(uncertain.stem)) == 1


def test_a_project_that_does_not_fit_is_refused(program, uncertain):
    others = [each for each in program.provider.ledger()["creates"] if not each["name"].startswith(uncertain.stem)]
    unknown = program.run("adopt", uncertain.name, "still", "cm000000000000000000000000")
    assert (unknown.code, "knows no project" in unknown.err) == (2, True)
    for other in others[:1]:
        ended = program.run("adopt", uncertain.name, "still", other["id"])
        assert (ended.code, "is not this submission" in ended.err) == (2, True)
    assert program.here("adopt", uncertain.name, "nobody", "x").code == 2
    assert program.status(uncertain)["jobs"][0]["state"] == "uncertain"


def test_a_person_may_say_that_nothing_was_created(program, uncertain):
    assert program.here("resolve", uncertain.name, "still").code == 2
    assert program.run("resolve", uncertain.name, "still", "--not-created", "--force").code == 0
    assert program.run("run", uncertain.name).code == 0
    assert len(program.provider.creates(uncertain.stem)) == 2, "the person's word was taken"


def test_a_person_may_write_it_off(program, uncertain):
    told = program.run("resolve", uncertain.name, "still", "--give-up", "--json").json()
    assert told | {"earlier": []} == program.status(uncertain)["jobs"][0]
    assert told["state"] == "failed"
    ledger = program.here("ledger", uncertain.name, "--json").json()
    assert ledger["lines"][-1]["move"] == "written off"
    assert ledger["totals"]["still_reserved"] == 144, "nothing says that it was not charged"
    uncertain.write_text(uncertain.read_text().replace("jobs:", "budget: {credits: 200}\njobs:"))
    capped = program.run("run", uncertain.name, "--retry-failed")
    assert (capped.code, "144 spent or reserved" in capped.err) == (8, True), capped.err
    assert program.here("resolve", uncertain.name, "still", "--give-up").code == 2
