"""How long an upload is relied on, and which refusals are put down to it."""

from __future__ import annotations

import pytest

from batchrunner.core import assets, events, job as machine
from batchrunner.core.assets import ASSET_LIFE_S, Key, Sent
from batchrunner.core.job import State, advance
from batchrunner.core.retry import Again, Failure, GiveUp
from batchrunner.core.spec import Asset, Input
from tests.core.test_job import opened

NOW = 1_800_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("age_s", "is_reliable"),
    [(0, True), (6 * DAY, True), (6 * DAY + 1, False), (8 * DAY, False), (-DAY, True), (-DAY - 1, False)],
)
def test_an_upload_is_relied_on_for_six_days(age_s, is_reliable):
    """And one that seems to come from the future only if its true age cannot matter."""
    sent = Sent(file_path="api-assets/1.png", sent_at=NOW - age_s)
    assert assets.is_reliable(sent.expires_at, now=NOW) is is_reliable


def test_content_medium_and_extension_make_an_upload():
    def key(path: str, media: str = "video") -> Key:
        return assets.key_of(Input(field="video_file_path", media=media, path=path, sha256="ab", size=1))

    assert key("a.mp4") == key("elsewhere/b.MP4")
    assert len({key("a.mp4"), key("a.webm"), key("a.webm", "image")}) == 3


def asset(*, age_s: float, is_reused: bool) -> Asset:
    return Asset(
        field="image_file_path",
        file_path="api-assets/1.png",
        expires_at=NOW - age_s + ASSET_LIFE_S,
        is_reused=is_reused,
    )


@pytest.mark.parametrize(
    ("status", "message", "age_s", "is_reused", "is_blamed"),
    [
        (422, "The file api-assets/1.png does not exist", 60, True, True),
        (422, "Insufficient credits for this video file", 2 * DAY, True, False),
        (400, "HTTP 400: invalid image_file_path", 60, True, True),
        (404, "api-assets/1.png: not found", 60, True, True),
        (422, "Unable to create video", 2 * HOUR, True, True),
        (404, "not found", 2 * HOUR, True, True),
        (422, "Unable to create video", 2 * HOUR, False, True),
        (422, "Unable to create video", 60, True, False),
        (400, "end_seconds must be greater than start_seconds", 2 * HOUR, True, False),
        (422, "The file api-assets/1.png is not of the type image", 60, False, False),
        (403, "this file is not for your plan", 2 * HOUR, True, False),
        (402, "no credits for this upload", 2 * HOUR, True, False),
        (429, "too many uploads", 2 * HOUR, True, False),
        (503, "no file", 2 * HOUR, True, False),
        (None, "no file", 2 * HOUR, True, False),
    ],
)
def test_which_refusals_are_put_down_to_uploads(status, message, age_s, is_reused, is_blamed):
    failure = Failure(code="c", message=message, status=status)
    known = (asset(age_s=age_s, is_reused=is_reused),)
    assert assets.may_be_gone(failure, known, now=NOW) is is_blamed
    assert not assets.may_be_gone(failure, (), now=NOW)


def test_a_job_that_is_put_back_sends_its_inputs_anew_and_remembers_that_it_did():
    refused = Failure(code="c", message="no such file", status=422)
    job = advance(None, opened())
    job = advance(job, events.Uploaded(at=NOW, assets=(asset(age_s=0, is_reused=True),)))
    job = advance(job, events.SubmitStarted(at=NOW, name="m/a"))
    job = advance(job, events.Refused(at=NOW, failure=refused, verdict=Again(at=NOW), blames_inputs=True))
    assert (job.state, job.is_renewed) == (State.UPLOADED, True)
    assert machine.has_stale_assets(job, now=NOW)
    job = advance(job, events.AssetsExpired(at=NOW))
    assert (job.state, job.is_renewed, job.assets) == (State.READY, True, ())
    job = advance(job, events.Uploaded(at=NOW, assets=(asset(age_s=0, is_reused=False),)))
    job = advance(job, events.SubmitStarted(at=NOW, name="m/a"))
    job = advance(job, events.Refused(at=NOW, failure=refused, verdict=GiveUp()))
    assert job.state is State.FAILED
    assert not advance(job, events.Opened(at=NOW, id="a", attempt=2, spec=job.spec)).is_renewed
