"""What a report tells of what is on record."""

from __future__ import annotations

import pytest

from batchrunner.core import totals
from batchrunner.core.ledger import MONEY
from batchrunner.report.model import Origin
from batchrunner.report.read import read
from tests.support.nights import START, Advice, done, failed, record_of, report_of, spec_of, uncertain


def test_the_figures_are_those_of_status_and_ledger():
    lives = (done("a", credits=240), failed("b"), uncertain("c"), failed("d", left=240))
    record, report = record_of(*lives), report_of(*lives)
    assert report.totals == totals.totals_of(record.jobs)
    assert report.totals.charged == 480
    assert report.totals.refunded == 240
    assert report.by_state == {"done": 1, "failed": 2, "uncertain": 1}
    assert report.estimated == 4 * 240
    net = sum(line.credits for line in record.lines if line.move in MONEY)
    assert report.spend[-1][1] == net == report.totals.charged


def test_every_attempt_counts_and_the_card_shows_them_all():
    lives = (failed("a", left=0), done("a", attempt=2, at=START + 100, credits=300), done("b"))
    report = report_of(*lives)
    card = next(card for card in report.cards if card.id == "a")
    assert [attempt.number for attempt in card.earlier] == [1]
    assert (card.now.number, card.state, card.credits) == (2, "done", 300)
    assert card.earlier[0].code == "nsfw"
    assert report.groups == ()  # what failed before and is done now needs nobody


def test_failures_are_grouped_by_code_with_the_command_that_tries_them_again():
    report = report_of(
        failed("a", code="nsfw"),
        failed("b", code="nsfw", message="other"),
        failed("c", code="unknown_error"),
        done("d"),
    )
    nsfw, unknown = report.groups
    assert (nsfw.code, nsfw.ids, set(nsfw.messages)) == ("nsfw", ("a", "b"), {"flagged", "other"})
    assert nsfw.command == "batchrunner retry night.yaml --code nsfw"
    assert unknown.ids == ("c",)


def test_suspects_refunds_and_uncertain_submissions():
    report = report_of(done("a", suspect="it is black"), failed("b", left=240), uncertain("c"), done("d"))
    assert [card.id for card in report.suspects] == ["a"]
    assert [(due.job, due.credits, due.error) for due in report.due] == [("a", 240, "suspect"), ("b", 240, "nsfw")]
    (one,) = report.uncertain
    assert (one.id, one.sent_as, one.is_paid) == ("c", "night/c [1]", True)
    assert one.adopt.endswith("adopt night.yaml c PROJECT_ID")
    assert (report.broken, report.odd) == (1, 3)


def test_what_was_in_flight_and_what_a_model_took():
    report = report_of(
        done("a", at=START, took_s=60),
        done("b", at=START + 30, took_s=100, spec=spec_of(model="ltx-2.3"), credits=120),
        failed("c", at=START + 40, spec=spec_of(model="ltx-2.3")),
    )
    assert max(count for _, count in report.in_flight) == 3
    assert report.in_flight[-1][1] == 0
    by_name = {model.name: model for model in report.models}
    assert (by_name["kling-3.0"].typical_s, by_name["kling-3.0"].per_second) == (60, 48)
    assert (by_name["ltx-2.3"].typical_s, by_name["ltx-2.3"].per_second, by_name["ltx-2.3"].done) == (100, 24, 1)


def test_every_text_passes_what_takes_secrets_out():
    seen: list[str] = []

    def clean(text: str) -> str:
        seen.append(text)
        return text.replace("geheim", "…")

    record = record_of(
        done("geheim-1", spec=spec_of(prompt="geheim", tags=("geheim",), model="geheim"), suspect="geheim"),
        failed("b", message="geheim", code="geheim"),
        uncertain("geheim-2"),
    )
    origin = Origin(manifest="m", state_file="s", version="v", made_at=START)
    report = read(record, origin=origin, cap=None, words=Advice(), clean=clean)
    shown = repr(report).replace("renders/geheim-1.mp4", "")  # where the file lies is needed to link to it
    assert "geheim" not in shown


@pytest.mark.parametrize("lives", [(), (done("a"),)])
def test_a_batch_of_nothing_or_of_one(lives):
    report = report_of(*lives, cap=None)
    assert len(report.cards) == len(lives)
    assert report.origin.first_at == (START if lives else None)
