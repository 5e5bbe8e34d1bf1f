"""What the ledger says about the account, in words that fit the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchrunner.cli.app import main
from batchrunner.cli.ledger import _drift_words
from batchrunner.core.ledger import Drift
from tests.support import nights

STANDS_STILL = "the balance does not move as the ledger explains, so it proves nothing"


@pytest.mark.parametrize(
    ("fell", "explains", "uncertain", "moves", "words"),
    [
        (7_200, 7_200, 0, True, "account fell by 7,200, ledger explains 7,200"),
        (
            18_624,
            18_240,
            1,
            True,
            "account fell by 18,624, ledger explains 18,240: 384 unexplained, 1 uncertain submission",
        ),
        (
            -43_300,
            7_200,
            0,
            True,
            "account rose by 43,300, ledger explains 7,200 taken: at least 50,500 were added from elsewhere",
        ),
        (
            0,
            960,
            0,
            False,
            "account fell by 0, ledger explains 960 taken: " + STANDS_STILL,
        ),
    ],
)
def test_what_the_account_did_is_told_as_it_was(fell, explains, uncertain, moves, words):
    drift = Drift(since=0, until=1, account_fell=fell, ledger_explains=explains)
    assert _drift_words(drift, uncertain, moves=moves) == words


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        (2, "by job: j1 101, j0 100"),
        (12, "by job: " + ", ".join(f"j{n} {100 + n}" for n in range(11, 1, -1)) + ", and 2 jobs with 201"),
    ],
)
def test_what_each_job_cost_is_told_the_dearest_first(tmp_path: Path, capsys, jobs, words):
    nights.write_state(tmp_path / "night.yaml", [nights.done(f"j{n}", credits=100 + n) for n in range(jobs)])
    assert main(["ledger", str(tmp_path / "night.yaml")]) == 0
    assert words in capsys.readouterr().out.splitlines()
