"""Caps and guards that must not give way quietly: unknown balances, charges far off, cut-offs."""

from __future__ import annotations

import pytest

from batchrunner.core.breaker import TIMES
from tests.support.media import write_clip
from tests.test_crash import TWO_JOBS, mixed_jobs

NO_ACCOUNT = [{"step": "account", "status": 404}]


@pytest.mark.parametrize("own", [NO_ACCOUNT], indirect=True)
@pytest.mark.parametrize("cap", ["keep_balance: 500", "usd: 5"])
def test_a_cap_that_cannot_be_computed_stops_a_run_before_it_begins(own, cap):
    manifest = own.folder / "blind.yaml"
    manifest.write_text(TWO_JOBS.replace("jobs:", f"budget: {{{cap}}}\njobs:"))
    ended = own.run("run", manifest.name)
    assert (ended.code, f"budget.{cap.partition(':')[0]} cannot hold" in ended.err) == (2, True), ended.err
    assert own.provider.creates("blind") == []
    assert not (own.folder / "blind.state.db").exists()
    manifest.write_text(TWO_JOBS)
    assert own.run("run", manifest.name).code == 0
    manifest.write_text(TWO_JOBS.replace("jobs:", f"budget: {{{cap}}}\njobs:"))
    (own.folder / "renders" / "clip.mp4").unlink()
    assert own.run("download", manifest.name).code == 0, "what is paid for is fetched under any cap"
    assert (own.folder / "renders" / "clip.mp4").exists()


@pytest.mark.parametrize("own", [[{"step": "account", "status": 403}]], indirect=True)
def test_a_key_that_may_not_even_read_its_account_is_the_matter_and_not_the_network(own):
    manifest = own.folder / "barred.yaml"
    manifest.write_text(TWO_JOBS)
    for command in (("run", manifest.name), ("account",)):
        ended = own.run(*command)
        assert ended.code == 6, ended.err
        assert "hint: the key is known and may not be used: its plan may not include the API" in ended.err
    examined = own.run("doctor", "--json")
    [key] = [each for each in examined.json()["findings"] if each["subject"] == "key"]
    assert (examined.code, key["grade"]) == (6, "problem")
    assert "its plan may not include the API" in key["advice"]


@pytest.mark.parametrize("own", [[{"step": "account", "status": 503, "retry_after": 90}]], indirect=True)
def test_an_account_that_cannot_be_read_now_is_told_with_what_helps(own):
    manifest = own.folder / "busy.yaml"
    manifest.write_text(TWO_JOBS)
    for command in (("run", manifest.name), ("account",)):
        ended = own.run(*command)
        assert ended.code == 5, ended.err
        assert "error: the account could not be read: HTTP 503" in ended.err
        assert "try again in a while; nothing was bought; it asks to be left alone for 90 s" in ended.err
    planned = own.run("plan", manifest.name)
    assert (planned.code, "warning: made without the account: " in planned.err) == (0, True), planned.err


@pytest.mark.parametrize("own", [[]], indirect=True)
@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_the_address_of_the_api_may_be_written_with_its_version(own, end):
    own.env["MAGIC_HOUR_BASE_URL"] = own.provider.base_url + end
    ended = own.run("account", "--json")
    assert (ended.code, ended.json()["credits"]) == (0, 100_000), ended.err


@pytest.mark.parametrize("own", [[{"step": "render", "job": "*/clip-0 *", "settle": {"factor": 4.0}}]], indirect=True)
def test_settling_far_above_the_hold_stops_the_group_too(own):
    manifest = own.folder / "late.yaml"
    manifest.write_text(mixed_jobs(8).replace("in_flight: 3", "in_flight: 1"))
    ended = own.run("run", manifest.name)
    assert ended.code == 8, ended.err
    assert "clip-0 was charged " in ended.err
    assert "correct its price in a catalogue file, or its hold in the manifest" in ended.err
    bought = own.provider.creates_by_job("late")
    assert [name for name in bought if name.startswith("clip")] == ["clip-0"]
    assert all(bought[f"still-{n}"] == 1 for n in (1, 3, 5, 7))


UNPRICED = """\
version: 1
budget: {unpriced: allow}
limits: {in_flight: 1}
defaults:
  image-to-video: {hold: 1, end_seconds: 5, model: wan-3.0, resolution: 720p, assets: {image_file_path: a.png}}
jobs:
  - {id: one, kind: image-to-video}
  - {id: two, kind: image-to-video}
  - {id: three, kind: image-to-video}
"""


def test_a_hold_that_was_proved_wrong_is_not_believed_by_the_next_run_either(own):
    manifest = own.folder / "guess.yaml"
    manifest.write_text(UNPRICED)
    for _ in range(3):
        ended = own.run("run", manifest.name)
        assert ended.code == 8, ended.err
        assert len(own.provider.creates("guess")) == 1
    assert "was charged" in str(own.here("plan", manifest.name, "--json").json()["jobs"][1]["warnings"])
    (charged,) = [create["charged"] for create in own.provider.creates("guess")]
    manifest.write_text(UNPRICED.replace("hold: 1,", f"hold: {charged},"))
    assert own.run("run", manifest.name).code == 0
    assert len(own.provider.creates("guess")) == 3


def test_a_charge_far_off_is_told_by_the_exit_code_when_nothing_was_left_to_stop(own):
    manifest = own.folder / "last.yaml"
    manifest.write_text("\n".join(UNPRICED.splitlines()[:-2]) + "\n")
    ended = own.run("run", manifest.name)
    assert (ended.code, "stopped: one was charged" in ended.err) == (8, True), ended.err
    assert own.run("run", manifest.name).code == 0


def test_a_clip_faster_than_the_estimates_rate_is_held_for_all_its_frames(own):
    write_clip(own.folder / "fast.mp4", fps=60, seconds=1.0, hue=0.2)
    manifest = own.folder / "fast.yaml"
    manifest.write_text(
        "version: 1\njobs:\n  - {id: fast, kind: video-to-video, input: fast.mp4, end_seconds: 1,"
        " fps_resolution: FULL, style: {art_style: Ink}}\n"
    )
    (job,) = own.here("plan", manifest.name, "--json").json()["jobs"]
    assert job["credits"] == {"low": 56, "expected": 60, "hold": 120}
    assert "60 frames a second" in str(job["warnings"])


CAPPED = """\
version: 1
budget: {credits: 250}
limits: {in_flight: 9}
jobs:
  - id: "fast-{take}"
    kind: video-to-video
    input: fast.mp4
    end_seconds: 1
    fps_resolution: FULL
    style: {art_style: Ink}
    matrix: {take: [1, 2, 3]}
"""


SETTLES_HIGHER = [{"step": "render", "settle": {"factor": 2.0}}]
CHARGES_NOTHING_YET = [{"step": "create", "extra": {"credits_charged": 0}}]


@pytest.mark.parametrize("own", [SETTLES_HIGHER], indirect=True)
def test_a_cap_holds_though_the_charge_that_is_told_first_is_below_what_the_render_settles_at(own):
    """The answer to a submission is an estimate at 30 frames a second, whatever the clip has."""
    write_clip(own.folder / "fast.mp4", fps=60, seconds=1.0, hue=0.2)
    manifest = own.folder / "fast.yaml"
    manifest.write_text(CAPPED)
    ended = own.run("run", manifest.name)
    charged = [create["charged"] for create in own.provider.creates("fast")]
    assert (ended.code, charged) == (8, [120, 120]), ended.err


@pytest.mark.parametrize("own", [CHARGES_NOTHING_YET], indirect=True)
def test_a_charge_of_nothing_is_one_that_is_yet_to_be_told(own):
    write_clip(own.folder / "fast.mp4", fps=30, seconds=1.0, hue=0.2)
    manifest = own.folder / "late.yaml"
    manifest.write_text(CAPPED.replace("250", "130"))
    ended = own.run("run", manifest.name)
    assert (ended.code, len(own.provider.creates("late"))) == (8, 2), ended.err
    assert ", 0 credits" not in ended.err


def test_after_a_hard_cutoff_the_next_run_collects(own):
    manifest = own.folder / "hard.yaml"
    text = UNPRICED.replace("unpriced: allow", "credits: 500, cutoff: hard").replace("in_flight: 1", "in_flight: 9")
    manifest.write_text(text.replace("hold: 1, ", "").replace("wan-3.0", "kling-3.0"))
    ended = own.run("run", manifest.name)
    assert ended.code == 8, ended.err
    assert len(own.provider.creates("hard")) == 2
    assert "batchrunner download hard.yaml    collects what was bought" in ended.err
    assert own.run("run", manifest.name).code == 8
    states = own.status(manifest)["totals"]["by_state"]
    assert states["done"] == 2, states
    assert len(own.provider.creates("hard")) == 2


NOT_TOLD_ANY_MORE = [{"step": "account", "null": ["credits"], "skip": 2}]


@pytest.mark.parametrize("own", [NOT_TOLD_ANY_MORE], indirect=True)
def test_a_balance_that_is_not_told_any_more_when_the_buying_begins_stops_the_run(own):
    manifest = own.folder / "blind.yaml"
    manifest.write_text(TWO_JOBS.replace("jobs:", "budget: {keep_balance: 500}\njobs:"))
    ended = own.run("run", manifest.name)
    assert (ended.code, "budget.keep_balance cannot hold" in ended.err) == (2, True), ended.err
    assert own.provider.creates("blind") == []


@pytest.mark.parametrize("own", [NO_ACCOUNT], indirect=True)
def test_a_day_is_capped_where_the_account_has_no_name(own):
    for name in ("one", "two"):
        (own.folder / f"{name}.yaml").write_text(TWO_JOBS.replace("jobs:", "budget: {per_day: 250}\njobs:"))
    assert own.run("run", "one.yaml").code == 0
    ended = own.run("run", "two.yaml")
    assert (ended.code, "budget.per_day is 250" in ended.err) == (8, True), ended.err


def test_a_file_that_is_no_state_file_makes_the_day_uncountable_and_nothing_else(own):
    manifest = own.folder / "beside.yaml"
    manifest.write_text(TWO_JOBS.replace("jobs:", "budget: {per_day: 9999}\njobs:"))
    (own.folder / "junk.state.db").write_text("junk" * 1000)
    plan = own.here("plan", manifest.name)
    assert (plan.code, "junk.state.db cannot be read" in plan.err) == (0, True), plan.err
    ended = own.run("run", manifest.name)
    assert (ended.code, "junk.state.db cannot be read" in ended.err) == (8, True), ended.err
    assert own.provider.creates("beside") == []
    manifest.write_text(TWO_JOBS)
    assert own.run("run", manifest.name).code == 0


@pytest.mark.parametrize("own", [[{"step": "create", "kind": "image-to-video", "status": 422}]], indirect=True)
def test_a_model_that_is_always_refused_is_left_alone_and_the_rest_told_as_left(own):
    manifest = own.folder / "refused.yaml"
    manifest.write_text(mixed_jobs(14))
    ended = own.run("run", manifest.name)
    assert f"5 {TIMES} unprocessable_entity in a row: no more of kling-3.0 is bought in this run" in ended.err
    left = own.status(manifest)["totals"]["by_state"]
    assert (left.pop("done"), left.pop("failed"), sum(left.values())) == (7, 5, 2)
    assert (ended.code, ended.err.splitlines()[-1]) == (
        4,
        "then: batchrunner run refused.yaml    goes on with what is left",
    )
