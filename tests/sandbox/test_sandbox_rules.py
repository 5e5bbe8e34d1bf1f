"""Reading rules of misbehaviour: what is wrong is named, and nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any

import pytest

from batchrunner.errors import UsageError
from batchrunner.sandbox import chaos, faults, rules
from batchrunner.sandbox.faults import Faults
from batchrunner.sandbox.passage import Amount, Call
from batchrunner.sandbox.rules import After, Failure
from batchrunner.sandbox.settings import Settings

CREATE = Call(step="create", job="a/1", kind="image-to-video", model="kling-3.0")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("x", 'rule 1: expected an object, got "x"'),
        ({"stat": 1}, "rule 1: unknown key 'stat'; known are step, job, kind, "),
        ({"step": "poll"}, 'rule 1: step: expected one of account, upload-urls, upload, create, project, .*got "poll"'),
        ({"skip": -1}, "rule 1: skip: expected a whole number from 0, got -1"),
        ({"count": 1.5}, "rule 1: count: expected a whole number from 0, got 1.5"),
        ({"probability": 2}, "rule 1: probability: expected a number from 0 to 1, got 2"),
        ({"probability": True}, "rule 1: probability: expected a number from 0 to 1, got true"),
        ({"status": 99}, "rule 1: status: expected a whole number from 200 to 599, got 99"),
        ({"hang": float("inf")}, "rule 1: hang: expected a finite number"),
        ({"job": 1}, "rule 1: job: expected a text, got 1"),
        ({"status": 503, "processed": "yes"}, 'rule 1: processed: expected true or false, got "yes"'),
        ({"status": 503, "headers": []}, r"rule 1: headers: expected an object, got \[\]"),
        ({"status": 503, "headers": {"a": "b\r\nc"}}, "rule 1: headers: expected printable ASCII"),
        ({"truncate": 1.5}, "rule 1: truncate: expected whole bytes, or a share below 1, got 1.5"),
        ({"trickle": 0}, "rule 1: trickle: expected more than 0 bytes a second"),
        ({"omit": "id"}, 'rule 1: omit: expected a list of texts, got "id"'),
        ({"etag": "old"}, 'rule 1: etag: expected one of new, weak, none, got "old"'),
        ({"step": "project", "etag": "new"}, "rule 1: etag means nothing at step project; it does at download"),
        ({"charge": {}}, "rule 1: charge: expected either a factor or credits"),
        ({"charge": {"factor": 1, "credits": 1}}, "rule 1: charge: expected either a factor or credits"),
        ({"charge": {"credits": 1.5}}, "rule 1: charge: credits: expected a whole number from 0, got 1.5"),
        ({"render_error": {"refund": "soon"}}, "rule 1: render_error: refund: expected one of at once, late, never"),
        ({"wrong_output": {}}, "rule 1: wrong_output: expected seconds"),
        ({"retry_after": 1}, "rule 1: retry_after says how to status, and there is no status"),
        ({"drop_by": "close"}, "rule 1: drop_by says how to drop, and there is no drop"),
        ({"status": 500, "drop": "after"}, "rule 1: status and drop exclude each other"),
        ({"cancel": True, "delete": True}, "rule 1: cancel and delete exclude each other"),
        ({"step": "project", "charge": {"factor": 2}}, "rule 1: charge means nothing at step project; it does at cre"),
        ({"step": "render", "hang": 1}, "rule 1: hang means nothing at step render; it does at account, "),
        ({"step": "render", "forge": True}, "rule 1: forge means nothing at step render; it does at webhook"),
        ({"step": "webhook", "hang": 1}, "rule 1: hang means nothing at step webhook; it does at account, "),
        ({"copies": 0}, "rule 1: copies: expected a whole number from 1 to 100, got 0"),
        ({"charge": {"factor": 2}, "black": True}, "rule 1: charge, black have no step in common"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, rule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.read_list([rule])
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([{"status": 500}, rule]))
    with pytest.raises(UsageError, match=r"faults\.json: rule 2: "):
        rules.read_file(path)


def test_a_file_that_is_no_list_of_rules(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        rules.read_file(path)
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"expected a list of rules, got \{\}"):
        rules.read_file(path)
    path.write_text("[")
    with pytest.raises(UsageError, match=r"faults\.json: Expecting value: line 1"):
        rules.read_file(path)


def test_what_a_rule_says() -> None:
    spec = {
        "job": "a/*",
        "charge": {"factor": 2},
        "status": 402,
        "headers": {"X-Retries": 3},
    }
    (rule,) = rules.read_list([spec])
    assert (rule.charge, rule.headers, rule.spec) == (Amount(factor=2), {"X-Retries": "3"}, spec)
    assert rule.steps == ("create",)
    (rule,) = rules.read_list([{"render_error": {"code": "nsfw", "delay": 2}}])
    assert rule.render_error == Failure(code="nsfw", delay=2)
    kept, dropped = rules.read_list([{"cancel": True}, {"cancel": False}])
    assert (kept.cancel, dropped.cancel) == (After(), None)


@pytest.mark.parametrize(
    ("spec", "is_fitting"),
    [
        ({}, True),
        ({"step": "create"}, True),
        ({"step": "project"}, False),
        ({"status": 500}, True),
        ({"black": True}, False),
        ({"job": "a/*"}, True),
        ({"job": "b/*"}, False),
        ({"kind": "image-to-video"}, True),
        ({"kind": "video-to-video"}, False),
        ({"model": "kling-*"}, True),
        ({"model": "veo*"}, False),
    ],
)
def test_what_a_rule_is_about(spec: dict[str, Any], *, is_fitting: bool) -> None:
    (rule,) = rules.read_list([spec])
    assert rule.fits(CREATE) is is_fitting


def test_a_glob_does_not_match_what_a_request_does_not_tell() -> None:
    (rule,) = rules.read_list([{"job": "*"}])
    assert not rule.fits(Call(step="account"))


def test_the_first_rule_that_takes_a_call_decides() -> None:
    played = Faults(
        rules.read_list([{"skip": 1, "count": 2, "status": 500}, {"job": "a/1"}, {"status": 503}, {"status": 504}])
    )
    statuses = []
    for _ in range(4):
        live = played.taking(CREATE)
        statuses.append(None if live is None else live.rule.status)
    assert statuses == [None, 500, 500, None]
    other = played.taking(Call(step="create", job="a/2"))
    assert other is not None
    assert other.rule.status == 503
    assert (played.to_json()["seen"], played.to_json()["applied"]) == ([5, 2, 1, 0], [2, 2, 1, 0])


def test_chance_depends_on_the_seed_and_not_on_other_jobs() -> None:
    listed = rules.read_list([{"probability": 0.5, "status": 500}])

    def drawn(seed: int, noise: int) -> list[bool]:
        played = Faults(listed, seed=seed)
        found = []
        for _ in range(64):
            for _ in range(noise):
                played.taking(Call(step="create", job="noise"))
            found.append(played.taking(CREATE) is not None)
        return found

    assert drawn(1, 0) == drawn(1, 3)
    assert drawn(1, 0) != drawn(2, 0)
    assert 16 < sum(drawn(1, 0)) < 48


@pytest.mark.parametrize("name", ["mild", "wild"])
def test_chaos_is_nothing_but_rules(tmp_path: Path, name: Any) -> None:
    trouble = faults.trouble_of(Settings(data_dir=tmp_path, chaos=name, seed=3))
    told = trouble.faults.to_json()
    assert (told["rules"], told["seed"]) == (list(chaos.RULES[name]), 3)
    json.dumps(told)
    for rule in rules.read_list(told["rules"]):
        assert 0 < rule.probability <= 0.1
        assert max(rule.hang, rule.hang_after, rule.slow_queue, rule.late_settle) <= 3


def test_mild_chaos_loses_no_answer_to_anything_paid_for() -> None:
    for rule in rules.read_list(list(chaos.RULES["mild"])):
        if "create" in rule.steps:
            assert (rule.drop, rule.processed, rule.garbage, rule.truncate) == (None, False, None, None)


def test_every_example_in_the_description_is_a_rule() -> None:
    text = rules.__doc__ or ""
    examples = re.findall(r'\{"(?:[^{}]|\{[^{}]*\})*\}', text)
    assert len(examples) > 20
    read = [rules.read_list([json.loads(example)])[0] for example in examples]
    told = {key for rule in read for key in rule.spec}
    alternatives = {"retry_after_date", "headers", "body"}
    assert told | alternatives == set(rules._KEYS)
