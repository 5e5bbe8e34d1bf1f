"""The night plan at the command line: when may be bought, when it will be done, and what is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
import re
import signal
import subprocess
import sys

import pytest

from batchrunner import statefile, statelock
from tests.cli.test_advice import advised

STILL = "kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p"
JOBS = f"""\
jobs:
  - {{id: s1, {STILL}, input: a.png, style: {{prompt: one}}}}
  - {{id: s2, {STILL}, input: b.png, style: {{prompt: two}}}}
"""
PAST = "2020-01-01T06:00"


def ahead(seconds: float) -> str:
    """A date and time in UTC, so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def batch(own):
    (own.folder / "m.yaml").write_text(f"version: 1\n{JOBS}")
    return own


def with_window(batch, text: str) -> None:
    (batch.folder / "m.yaml").write_text(f"version: 1\nwindow: {text}\n{JOBS}")


def test_a_window_that_is_over_buys_nothing_and_says_what_is_left(batch):
    ended = batch.run("run", "m.yaml", "--stop-at", PAST)
    assert ended.code == 10, ended.err
    assert batch.provider.creates("m") == []
    assert "left, since the window is over: 2 jobs, 288 credits at the most" in ended.err
    assert advised(ended) == ["run", "m.yaml"], "a date that has passed is not advised again"
    assert batch.run("run", "m.yaml").code == 0
    assert batch.provider.creates_by_job("m") == {"s1": 1, "s2": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{start: "9999-12-31T23:59"}', "a date of the year 9999"),
        ('{stop: "0001-01-01T00:00", timezone: Asia/Tokyo}', "a date of the year 0001"),
        ('{start: "2030-11-02T02:00Z", stop: "2030-11-02T01:30", timezone: UTC}', "the window ends before it starts"),
        ('{start: "2030-11-02T02:00", stop: "02:00"}', "the window ends before it starts"),
    ],
)
def test_a_window_that_can_never_be_open_is_refused_by_plan_and_run(batch, text, words):
    with_window(batch, text)
    for command in ("plan", "run"):
        ended = batch.run(command, "m.yaml")
        assert (ended.code, words in ended.err) == (2, True), ended.err
    assert batch.provider.creates("m") == []


def test_a_date_that_no_clock_reckons_with_is_refused(batch):
    ended = batch.run("run", "m.yaml", "--stop-at", "9999-12-31T23:59")
    assert (ended.code, "a date of the year 9999; write one between 2000 and 2200" in ended.err) == (2, True)


def test_it_begins_when_it_is_told_to_and_asks_first(batch):
    ended = batch.run("run", "m.yaml", "--start-at", ahead(1))
    assert ended.code == 0, ended.err
    assert batch.provider.creates_by_job("m") == {"s1": 1, "s2": 1}


def test_while_it_waits_it_says_until_when_and_can_be_interrupted(batch):
    run = batch.start("run", "m.yaml", "--start-at", ahead(3600))
    assert run.stderr is not None
    first, second = run.stderr.readline(), run.stderr.readline()
    assert first.startswith("to buy: 2 jobs"), "what is to be agreed to is asked first"
    assert re.search(r"buying begins at .*\d\d:\d\d.*, in (59 min|1 h 0 min)", second), second
    assert not statelock.lock_of(statefile.path_for(batch.folder / "m.yaml")).exists(), "others can work meanwhile"
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 130
    assert batch.provider.creates("m") == []


def test_what_would_not_be_there_in_time_is_not_bought(batch):
    ended = batch.run("run", "m.yaml", "--finish-by", ahead(20))
    assert ended.code == 10, ended.err
    assert batch.provider.creates("m") == []
    assert batch.run("run", "m.yaml", "--finish-by", ahead(3600)).code == 0


def test_the_manifest_s_window_holds_and_flags_stand_over_it(batch):
    with_window(batch, f"{{stop: {PAST}, timezone: Europe/Berlin}}")
    ended = batch.run("run", "m.yaml")
    assert ended.code == 10, ended.err
    with_window(batch, "{start: 2090-01-01T22:00}")
    assert batch.run("run", "m.yaml", "--start-at", "now").code == 0
    assert batch.provider.creates_by_job("m") == {"s1": 1, "s2": 1}


def test_a_rehearsal_does_not_wait_for_the_manifest_s_window(batch):
    with_window(batch, "{start: 2090-01-01T22:00}")
    assert batch.run("run", "m.yaml", "--sandbox", "--state", "rehearsal.db").code == 0


def test_retry_and_redo_keep_to_the_window(batch):
    assert batch.run("run", "m.yaml").code == 0
    with_window(batch, f"{{stop: {PAST}}}")
    ended = batch.run("redo", "m.yaml", "s1", "--yes")
    assert ended.code == 10, ended.err
    assert batch.provider.creates_by_job("m") == {"s1": 1, "s2": 1}


def test_times_of_day_are_advised_again(batch):
    with_window(batch, f"{{stop: {PAST}}}")
    ended = batch.run("run", "m.yaml", "--start-at", "now", "--finish-by", "06:30:00")
    assert ended.code == 10, ended.err
    assert advised(ended) == ["run", "m.yaml", "--start-at", "now", "--finish-by", "06:30"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--start-at", "25:00"), "this is no time"),
        (("--stop-at", "now"), "this is no time"),
        (("--start-at", "tonight"), "or now"),
        (("--start-at", "22:00", "--stop-at", "22:00"), "never open"),
        (("--start-at", "2026-11-02T22:00", "--finish-by", "2026-11-02T06:00"), "ends before it starts"),
        (("--wait-for", "gone.yaml"), "there is no gone.yaml to wait for"),
    ],
)
def test_a_slip_is_explained_and_nothing_is_bought(batch, flags, words):
    ended = batch.run("run", "m.yaml", *flags)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
    assert batch.provider.creates("m") == []


def test_a_zone_that_is_not_there_is_told_at_its_place(batch):
    with_window(batch, "{start: 22:00, timezone: Europe/Berlim}")
    ended = batch.run("run", "m.yaml")
    assert ended.code == 2
    assert 'm.yaml:2:34: there is no time zone "Europe/Berlim"' in ended.err
    assert "did you mean Europe/Berlin?" in ended.err


# --- the forecast ---


def test_plan_says_when_it_will_be_done_by_what_is_known_before_and_then_by_its_own(batch):
    before = batch.here("plan", "m.yaml", "--json").json()["forecast"]
    assert before["basis"] == "the moment that a sandbox takes"
    assert before["median"] <= before["nine_in_ten"]
    assert before["left"] == 0
    assert batch.run("run", "m.yaml", "--only", "s1").code == 0
    after = batch.here("plan", "m.yaml", "--json").json()["forecast"]
    assert after["basis"] == "this account's own 1 render"
    assert batch.run("run", "m.yaml").code == 0
    assert batch.here("plan", "m.yaml", "--json").json()["forecast"] is None


def test_a_new_manifest_learns_from_the_account_s_other_batches(batch):
    assert batch.run("run", "m.yaml").code == 0
    other = batch.folder / "other"
    other.mkdir()
    (other / "n.yaml").write_text((batch.folder / "m.yaml").read_text().replace("input: ", "input: ../"))
    planned = batch.here("plan", "other/n.yaml", "--json").json()
    assert planned["forecast"]["basis"] == "this account's own 2 renders"


def test_without_a_key_a_still_takes_as_long_as_the_provider_says(batch):
    batch.env = {"MAGIC_HOUR_API_KEY": ""}
    began = datetime.now(UTC)
    planned = batch.here("plan", "m.yaml", "--json").json()
    takes = datetime.fromisoformat(planned["forecast"]["median"]) - began
    assert timedelta(seconds=60) < takes < timedelta(seconds=160)
    told = batch.here("plan", "m.yaml").out
    assert "done by about" in told
    assert "in 9 of 10 cases by" in told
    assert "(by the provider's medians)" in told


def test_plan_tells_the_window_and_what_it_leaves(batch):
    batch.env = {"MAGIC_HOUR_API_KEY": ""}
    with_window(batch, "{start: 2090-01-01T22:00, stop: 2090-01-02T06:00, timezone: Europe/Berlin}")
    planned = batch.here("plan", "m.yaml", "--json").json()
    assert planned["window"] == {
        "opens_at": "2090-01-01T21:00:00Z",
        "stops_at": "2090-01-02T05:00:00Z",
        "finish_by": None,
    }
    assert planned["forecast"]["median"] > "2090-01-01T21:00:50Z"
    batch.env |= {"TZ": "UTC"}
    over = batch.run("plan", "m.yaml", "--start-at", "now", "--stop-at", PAST).out
    assert "the window ended at 2020-01-01 05:00: nothing is bought" in over
    assert "done by" not in over
    late = batch.run("plan", "m.yaml", "--start-at", "now", "--finish-by", ahead(20)).out
    assert "but for 2 jobs that the window leaves" in late


# --- waiting for another run ---


@contextmanager
def holding(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a state file as a run does, until it is told to end."""
    code = (
        "import sys, pathlib; from batchrunner import statelock;"
        f"lock = statelock.take_lock(pathlib.Path({str(state)!r})); print('held', flush=True); sys.stdin.readline()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.communicate("\n", timeout=30)


def test_it_waits_until_no_run_holds_the_other_manifest(batch):
    (batch.folder / "other.yaml").write_text(f"version: 1\n{JOBS}")
    with holding(statefile.path_for(batch.folder / "other.yaml")) as other:
        run = batch.start("run", "m.yaml", "--wait-for", "other.yaml")
        assert run.stderr is not None
        said = ""
        while "waiting: a run holds other.state.db" not in said:
            line = run.stderr.readline()
            assert line, said
            said += line
        assert "to buy: 2 jobs" in said, "what is to be agreed to is asked first"
        assert batch.provider.creates("m") == []
        assert other.poll() is None
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, said + err + out
    assert batch.provider.creates_by_job("m") == {"s1": 1, "s2": 1}


def test_it_waits_for_a_run_that_waits_itself_and_not_for_one_that_was_killed(batch):
    (batch.folder / "first.yaml").write_text(f"version: 1\n{JOBS}")
    first = batch.start("run", "first.yaml", "--start-at", ahead(3600), "--yes")
    assert first.stderr is not None
    assert next(line for line in first.stderr if "buying begins at" in line)
    second = batch.start("run", "m.yaml", "--wait-for", "first.yaml", "--yes")
    assert second.stderr is not None
    told = next(line for line in second.stderr if line.startswith("waiting: "))
    assert told == "waiting: a run of first.state.db waits itself; this one begins when it has ended\n"
    assert batch.provider.creates("m") == []
    first.kill()
    first.communicate()
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert batch.provider.creates_by_job("m") == {"s1": 1, "s2": 1}
    again = batch.run("run", "m.yaml", "--wait-for", "m.yaml")
    assert (again.code, "waiting" in again.err) == (0, False), "nobody waits for himself"


def test_another_manifest_that_nobody_runs_is_not_waited_for(batch):
    (batch.folder / "other.yaml").write_text(f"version: 1\n{JOBS}")
    ended = batch.run("run", "m.yaml", "--wait-for", "other.yaml", "--wait-for", "m.yaml")
    assert ended.code == 0
    assert "waiting" not in ended.err


def test_what_moved_while_it_waited_is_not_bought(batch):
    (batch.folder / "other.yaml").write_text(f"version: 1\n{JOBS}")
    with holding(statefile.path_for(batch.folder / "other.yaml")):
        run = batch.start("run", "m.yaml", "--wait-for", "other.yaml")
        assert run.stderr is not None
        while "waiting" not in run.stderr.readline():
            assert run.poll() is None
        (batch.folder / "a.png").write_bytes((batch.folder / "b.png").read_bytes())
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2, err
    assert "this is no longer what was agreed to" in err
    assert batch.provider.creates("m") == []
