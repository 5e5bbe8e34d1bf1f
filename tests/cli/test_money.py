"""Price before, cap during, account after: the program against the sandbox's own books."""

from __future__ import annotations

from pathlib import Path
import re
import shutil
import signal
import urllib.request

import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.program import Program, Provider
from tests.test_crash import TWO_JOBS, lay_out, mixed_jobs

TWO_STILLS = """\
version: 1
defaults: {image-to-video: {end_seconds: 3, model: kling-3.0, resolution: 720p}}
jobs:
  - {id: a, kind: image-to-video, input: a.png}
  - {id: b, kind: image-to-video, input: a.png}
"""


@pytest.fixture
def batch(program: Program, media: Path, request: pytest.FixtureRequest) -> Path:
    return lay_out(program, media, re.sub(r"\W+", "-", request.node.name), TWO_JOBS)


def test_the_price_is_known_before(program, batch):
    ended = program.here("plan", batch.name, "--json")
    plan = ended.json()
    assert plan["totals"]["credits"] == {"low": 152, "expected": 156, "hold": 159}
    assert plan["totals"]["usd"] == pytest.approx(159 * 0.0012)
    assert plan["account"]["tier"] == "creator"
    program.run("run", batch.name)
    creates = sorted(program.provider.creates(batch.stem), key=lambda each: each["name"])
    for job, create in zip(plan["jobs"], creates, strict=True):
        assert create["held"] <= job["credits"]["hold"]
        assert job["credits"]["low"] <= create["charged"] <= job["credits"]["hold"]


@pytest.mark.parametrize("key", ["", " "])
def test_without_a_key_the_plan_has_no_account(program, batch, key):
    program.env["MAGIC_HOUR_API_KEY"] = key
    plan = program.here("plan", batch.name, "--json").json()
    assert (plan["account"], plan["totals"]["usd"]) == (None, None)


def test_changes_have_an_exit_code_of_their_own(program, batch):
    assert program.here("plan", batch.name, "--detailed-exitcode").code == 2
    program.run("run", batch.name)
    assert program.here("plan", batch.name, "--detailed-exitcode").code == 0


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda folder, text: shutil.copy(folder / "b.mp4", folder / "a.mp4"), "clip: content of a.mp4"),
        (
            lambda folder, text: text.replace("art_style: Ink", "art_style: Comic"),
            'clip: style.art_style: "Ink" -> "Comic"',
        ),
        (
            lambda folder, text: text.replace("version: 1", "version: 1\ncatalog: dear.yaml"),
            "still: price in credits: 144 -> 231",
        ),
        (lambda folder, text: text.replace("id: still", "id: other"), "other: was not in that plan"),
        (lambda folder, text: text.replace("jobs:", "output: o/{id}.mp4\njobs:"), "clip: output: "),
        (lambda folder, text: text.replace("jobs:", "budget: {credits: 9999}\njobs:"), "its text, though no job"),
    ],
)
def test_a_saved_plan_refuses_when_anything_moved(program, batch, edit, words):
    dear = "version: 1\nmodels:\n  kling-3.0:\n    rates: {credits_per_second: {720p: 77}}\n"
    (batch.parent / "dear.yaml").write_text(dear)
    assert program.here("plan", batch.name, "-o", "saved.json").code == 0
    assert program.here("validate", batch.name).code == 0
    changed = edit(batch.parent, batch.read_text())
    if isinstance(changed, str):
        batch.write_text(changed)
    ended = program.run("run", batch.name, "--plan", "saved.json")
    assert ended.code == 2
    assert words in ended.err, ended.err
    assert program.provider.creates(batch.stem) == []


def test_a_saved_plan_that_still_holds_is_carried_out(program, batch):
    program.env["BATCHRUNNER_RUN_YES"] = ""
    program.here("plan", batch.name, "-o", "saved.json")
    assert program.run("run", batch.name, "--plan", "saved.json").code == 0
    assert len(program.provider.creates(batch.stem)) == 2


def test_a_model_without_a_price_is_refused_unless_the_risk_is_taken_in_figures(program, batch):
    text = batch.read_text().replace("kling-3.0", "wan-3.0")
    batch.write_text(text)
    ended = program.run("run", batch.name)
    assert (ended.code, "no price is known for still" in ended.err) == (2, True)
    batch.write_text(text.replace("jobs:", "budget: {unpriced: allow}\njobs:"))
    ended = program.run("run", batch.name)
    assert (ended.code, "hold:" in ended.err) == (2, True)
    assert program.provider.creates(batch.stem) == []
    batch.write_text(
        text.replace("jobs:", "budget: {unpriced: allow}\njobs:").replace("{id: still,", "{id: still, hold: 900,")
    )
    assert program.run("run", batch.name).code == 0


def test_a_budget_stops_buying_collects_and_says_what_is_left(own):
    manifest = own.folder / "capped.yaml"
    manifest.write_text(mixed_jobs(12).replace("jobs:", "budget: {credits: 500}\njobs:"))
    ended = own.run("run", manifest.name)
    assert ended.code == 8, ended.err
    assert "budget.credits is 500" in ended.err
    spent = sum(each["charged"] for each in own.provider.creates("capped"))
    assert sum(each["held"] for each in own.provider.creates("capped")) <= 500 + 12 * 15
    assert spent <= 500
    states = own.status(manifest)["totals"]["by_state"]
    assert set(states) <= {"done", "uploaded", "ready"}
    manifest.write_text(manifest.read_text().replace("credits: 500", "credits: 5000"))
    assert own.run("run", manifest.name).code == 0


def test_a_day_is_capped_over_the_manifests_of_a_folder(own):
    for name in ("one", "two"):
        text = TWO_JOBS.replace("jobs:", "budget: {per_day: 250}\njobs:")
        (own.folder / f"{name}.yaml").write_text(text)
    assert own.run("run", "one.yaml").code == 0
    ended = own.run("run", "two.yaml")
    assert (ended.code, "budget.per_day is 250" in ended.err) == (8, True)


@pytest.mark.parametrize("own", [[{"step": "render", "slow_queue": 3}]], indirect=True)
@pytest.mark.parametrize(
    ("budget", "most"), [("per_day: 250", 250), ("keep_balance: 99750", 250), ("credits: 9999", 10**6)]
)
def test_two_batches_of_one_account_buy_one_after_the_other(own, budget, most):
    """A second run waits until the first has ended: then the balance is evidence again, and what was spent is known."""
    for name in ("one", "two"):
        (own.folder / f"{name}.yaml").write_text(TWO_JOBS.replace("jobs:", f"budget: {{{budget}}}\njobs:"))
    first = own.start("run", "one.yaml")
    assert first.stderr is not None
    next(line for line in first.stderr if "accepted" in line)
    first.send_signal(signal.SIGSTOP)  # or it may have ended before the second one looks
    second = own.start("run", "two.yaml")
    assert second.stderr is not None
    waited = next(line for line in second.stderr if "spends from the same account" in line)
    first.send_signal(signal.SIGCONT)
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in (first, second)]
    spent = sum(each["charged"] for name in ("one", "two") for each in own.provider.creates(name))
    assert 150 < spent <= most
    assert sorted(code for _, code in ended) == ([0, 8] if most == 250 else [0, 0]), ended
    assert re.search(r"one\.yaml \(process \d+ on .*\) spends from the same account", waited)


def test_a_day_is_capped_over_state_files_that_lie_elsewhere(own):
    (own.folder / "one.yaml").write_text(TWO_JOBS.replace("jobs:", "budget: {per_day: 250}\njobs:"))
    shutil.copy(own.folder / "one.yaml", own.folder / "two.yaml")
    (own.folder / "st").mkdir()
    assert own.run("run", "one.yaml", "--state", "st/a.db").code == 0
    assert own.run("run", "two.yaml").code == 8


def test_dollars_hold_too_and_need_a_published_price(own):
    manifest = own.folder / "dollars.yaml"
    manifest.write_text(TWO_JOBS.replace("jobs:", "budget: {usd: 0.10}\njobs:"))
    ended = own.run("run", manifest.name)
    assert (ended.code, "budget.usd" in ended.err) == (8, True)
    assert own.provider.creates_by_job("dollars") == {"clip": 1}


@pytest.mark.parametrize("own", [[{"step": "create", "job": "*/still-1 *", "charge": {"factor": 2.0}}]], indirect=True)
def test_a_charge_that_is_far_off_stops_its_model(own):
    manifest = own.folder / "far.yaml"
    manifest.write_text(mixed_jobs(8))
    ended = own.run("run", manifest.name)
    assert ended.code == 8, ended.err
    assert "still-1 was charged 288 credits where at most 144 were expected" in ended.err
    bought = own.provider.creates_by_job("far")
    assert bought["still-1"] == 1
    assert "still-7" not in bought
    assert all(bought[f"clip-{n}"] == 1 for n in (0, 2, 4, 6))
    plan = {job["id"]: job for job in own.here("plan", manifest.name, "--json").json()["jobs"]}
    assert plan["still-7"]["credits"]["hold"] == 288, "what was charged once is what the next must be assumed to cost"
    assert "2.00 times the catalogue's hold" in plan["still-7"]["basis"]
    assert own.run("run", manifest.name, "--max-credits", "287").code == 8
    assert "still-7" not in own.provider.creates_by_job("far")


FAILS = [
    {"step": "render", "job": "*/still-1 *", "render_error": {"code": "nsfw", "message": "no"}},
    {"step": "render", "job": "*/clip-2 *", "render_error": {"code": "nsfw", "message": "no", "refund": "never"}},
    {"step": "render", "job": "*/clip-4 *", "cancel": True},
    {"step": "create", "job": "*/still-3 *", "status": 502, "count": 1},
    {"step": "create", "job": "*/still-5 *", "drop": "after", "count": 1},
]


@pytest.mark.parametrize("own", [FAILS], indirect=True)
def test_the_ledger_is_the_providers_to_the_credit(own):
    manifest = own.folder / "books.yaml"
    manifest.write_text(mixed_jobs(10))
    ended = own.run("run", manifest.name)
    assert ended.code == 9, ended.err
    creates = {each["id"]: each for each in own.provider.creates("books")}
    counts = own.provider.creates_by_job("books")
    assert {job for job, count in counts.items() if count != 1} == {"still-1"}
    assert counts["still-1"] == 2, "it started over once, since its refund was seen"
    ledger = own.here("ledger", manifest.name, "--json").json()
    states = {job["id"]: job for job in own.status(manifest)["jobs"]}
    (lost,) = [each for each in creates.values() if "/still-5 " in each["name"]]
    assert states["still-5"]["state"] == "uncertain"
    assert states["still-3"]["state"] == "done"
    assert ledger["totals"]["net"] == sum(each["charged"] for each in creates.values()) - lost["charged"]
    assert ledger["totals"]["still_reserved"] == 144, "what is uncertain stays reserved"
    assert [due["job"] for due in ledger["refunds_due"]] == ["clip-2"]
    assert ledger["drift"] is None or ledger["drift"]["unexplained"] in {0, lost["charged"]}
    assert own.run("adopt", manifest.name, "still-5", lost["id"]).code == 0
    own.run("run", manifest.name)
    ledger = own.here("ledger", manifest.name, "--json").json()
    assert ledger["totals"]["net"] == sum(each["charged"] for each in own.provider.creates("books"))
    assert ledger["totals"]["still_reserved"] == 0
    due = own.here("ledger", manifest.name, "--refunds-due")
    assert "nsfw" in due.out
    listed = own.here("ledger", manifest.name, "--refunds-due", "--csv").out.splitlines()
    assert listed[0].startswith("job,attempt,project_id,credits,accepted_at")
    assert [line.partition(",")[0] for line in listed[1:]] == ["clip-2"]
    csv = own.here("ledger", manifest.name, "--csv")
    assert csv.out.splitlines()[0].startswith("at,job,attempt,kind,model,project_id,move,credits")


OLD_REFUSAL = [{"step": "create", "status": 422, "body": '{"message": "Insufficient credits"}'}]


@pytest.mark.parametrize("own", [OLD_REFUSAL], indirect=True)
def test_an_account_that_cannot_pay_stops_the_buying_however_that_is_told(own):
    """422 until 2026-03-05 (changelog), 402 since then."""
    manifest = own.folder / "poor.yaml"
    manifest.write_text(TWO_JOBS)
    ended = own.run("run", manifest.name)
    assert (ended.code, own.status(manifest)["totals"]["by_state"]) == (7, {"uploaded": 2}), ended.err


def test_a_top_up_is_waited_for(tmp_path, media):
    with launch.start(Settings(data_dir=tmp_path / "sandbox", scale=0.1, credits=20)) as running:
        program = Program(folder=tmp_path, provider=Provider(base_url=running.base_url))
        for file in media.iterdir():
            shutil.copy(file, tmp_path)
        (tmp_path / "poor.yaml").write_text(TWO_JOBS)
        process = program.start("run", "poor.yaml", "--on-no-credits", "wait")
        assert process.stderr is not None
        next(line for line in process.stderr if "402" in line)
        more = urllib.request.Request(
            f"{running.base_url}/_sandbox/credits",
            data=b'{"credits": 1000}',
            headers={"content-type": "application/json"},
        )
        urllib.request.urlopen(more, timeout=30).close()
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert program.provider.creates_by_job("poor") == {"clip": 1, "still": 1}


MANY_NAMES = """\
version: 1
budget: {per_model: {kling-3.0: 240, seedance: 1}}
jobs:
  - {id: named, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p}
  - {id: silent, kind: image-to-video, input: a.png, end_seconds: 3, resolution: 720p}
  - {id: default, kind: image-to-video, input: b.png, end_seconds: 3, model: default, resolution: 720p}
  - {id: old, kind: image-to-video, input: b.png, end_seconds: 4, model: seedance, resolution: 720p}
  - {id: new, kind: image-to-video, input: b.png, end_seconds: 4, model: seedance-1.5, resolution: 720p}
"""


def test_the_cap_of_a_model_counts_all_that_it_renders_under_whatever_name(own):
    manifest = own.folder / "names.yaml"
    manifest.write_text(MANY_NAMES)
    plan = {job["id"]: job for job in own.here("plan", manifest.name, "--json").json()["jobs"]}
    assert [plan[each]["model"] for each in ("named", "silent", "default", "old")] == [
        *["kling-3.0"] * 3,
        "seedance-1.5",
    ]
    assert plan["silent"]["warnings"], "the plan says that it would not be bought"
    ended = own.run("run", manifest.name)
    assert (ended.code, "budget.per_model." in ended.err) == (8, True), ended.err
    assert len(own.provider.creates("names")) == 1
    assert own.here("ledger", manifest.name, "--json").json()["totals"]["by_model"] == {"kling-3.0": 144}


def test_with_an_exit_code_for_changes_errors_have_another(program, batch):
    flagged = ("plan", batch.name, "--detailed-exitcode")
    assert program.run(*flagged).code == 2
    assert program.run(*flagged, "--no-such-flag").code == 1
    assert program.here("plan", batch.name, "--no-such-flag").code == 2
    batch.write_text("jobs: [")
    assert program.run(*flagged).code == 1
    assert program.here("plan", batch.name).code == 2


def test_what_has_no_price_is_counted_and_makes_no_sum_of_dollars(program, batch):
    batch.write_text(batch.read_text().replace("kling-3.0", "wan-3.0"))
    plan = program.here("plan", batch.name)
    assert ", plus 1 without a known price" in plan.out
    assert "$" not in plan.out
    assert re.search(
        r"^balance [\d,]+, after it at least [\d,]+, what has no known price apart$", plan.out, re.MULTILINE
    )
    totals = program.here("plan", batch.name, "--json").json()["totals"]
    assert (totals["unpriced"], totals["usd"]) == (1, None)
    assert "hint: choose another model, add its price to a catalogue file, or write budget: " in plan.err
    program.env["MAGIC_HOUR_API_KEY"] = ""
    plan = program.here("plan", batch.name)
    assert "hint: choose another model, add its price to a catalogue file" in plan.err, "model and resolution are named"
    batch.write_text(batch.read_text().replace("model: wan-3.0, resolution: 720p", "model: kling-3.0"))
    plan = program.here("plan", batch.name, "--only", "still")
    assert "1 to render, at a price that is not known" in plan.out
    assert "hint: name model: and resolution: of each such job; what is left open the account's plan" in plan.err


def test_an_account_that_cannot_pay_all_of_it_is_told_in_the_plan(tmp_path, media):
    with launch.start(Settings(data_dir=tmp_path / "sandbox", credits=200, no_render=True)) as running:
        program = Program(folder=tmp_path, provider=Provider(base_url=running.base_url))
        plan = program.here("plan", lay_out(program, media, "poor", TWO_STILLS).name)
    assert "balance 200, 88 less than all of it may cost\n" in plan.out
    assert "warning: b: would not be bought: the account has 56 credits left, and this job may cost 144\n" in plan.err


def test_a_selection_that_selects_nothing_is_refused(program, batch):
    for command in ("plan", "run"):
        ended = program.run(command, batch.name, "--only", "stil")
        assert (ended.code, "--only stil: no job has such an id" in ended.err) == (2, True)
        assert "did you mean still?" in ended.err
    assert program.provider.creates(batch.stem) == []
