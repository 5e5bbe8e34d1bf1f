"""What is bought is what was shown: its price, its inputs, its model."""

from __future__ import annotations

from tests.test_crash import TWO_JOBS

UNPRICED = """\
version: 1
budget: {credits: 100, unpriced: allow}
jobs:
  - {id: still, hold: 10, kind: image-to-video, input: a.png, end_seconds: 5, model: wan-3.0, resolution: 720p}
"""


def test_a_job_that_was_opened_and_not_bought_takes_the_hold_of_now(own):
    manifest = own.folder / "raised.yaml"
    manifest.write_text(UNPRICED)
    assert own.run("run", manifest.name, "--max-credits", "0").code == 8
    manifest.write_text(UNPRICED.replace("hold: 10", "hold: 300"))
    ended = own.run("run", manifest.name)
    assert (ended.code, "budget.credits is 100" in ended.err) == (8, True), ended.err
    assert own.provider.creates("raised") == []


def test_a_job_that_was_opened_and_not_bought_takes_the_price_of_now(own):
    manifest = own.folder / "corrected.yaml"
    own_hold = UNPRICED.replace("hold: 10", "hold: 55")
    manifest.write_text(own_hold)
    assert own.run("run", manifest.name, "--max-credits", "0").code == 8
    (own.folder / "dear.yaml").write_text("version: 1\nmodels: {wan-3.0: {rates: {credits_per_second: {720p: 11}}}}\n")
    manifest.write_text(own_hold.replace("jobs:", "catalog: dear.yaml\njobs:"))
    (job,) = own.run("plan", manifest.name, "--json").json()["jobs"]
    assert job["reason"].startswith("its price changed before anything was bought: 55 credits by the manifest's own")
    assert (job["action"], job["credits"]["low"]) == ("render", 55)


def test_a_job_that_was_opened_and_not_bought_goes_where_the_manifest_says_now(own):
    manifest = own.folder / "moved.yaml"
    manifest.write_text(TWO_JOBS)
    assert own.run("run", manifest.name, "--max-credits", "0").code == 8
    manifest.write_text(TWO_JOBS.replace("jobs:", "output: elsewhere/{id}.mp4\njobs:"))
    assert own.run("run", manifest.name).code == 0
    assert (own.folder / "elsewhere" / "clip.mp4").exists()
