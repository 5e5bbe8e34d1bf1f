"""How the render of one job is brought to the provider as the input of another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchrunner import feeding
from batchrunner.core import assets as holding
from batchrunner.core.job import Job, State
from batchrunner.core.spec import Asset, Input, Output
from batchrunner.errors import TransferError
from batchrunner.following import Following
from tests.test_engine import a_job
from tests.test_following import fed_by

FILE = Output(path="renders/j1.mp4", bytes=7, sha256="ab" * 32)


def source(state: State = State.DONE) -> Job:
    return a_job(1, state=state, project_id="p 1", outputs=(FILE,) if state is State.DONE else ())


@pytest.mark.parametrize("state", [State.RENDERED, State.DONE])
def test_it_is_named_by_its_address_as_soon_as_it_is_rendered(state):
    found = feeding.feed(fed_by(0, 1), Following([source(state)]), now=5.0)
    assert isinstance(found, Asset)
    assert (found.file_path, found.project_id) == ("https://magichour.ai/my-library?videoId=p%201", "p 1")
    assert holding.is_reliable(found.expires_at, now=5.0)


def test_it_is_sent_as_a_file_after_a_refusal_and_where_addresses_are_known_to_be_refused():
    following = Following([source()])
    wanted = Input(field="video_file_path", media="video", path=FILE.path, sha256=FILE.sha256, size=7)
    assert feeding.feed(fed_by(0, 1, is_renewed=True), following, now=5.0) == wanted
    following.refused_address()
    assert feeding.feed(fed_by(0, 1), following, now=5.0) == wanted
    assert feeding.local_inputs(fed_by(0, 1), following) == (wanted,)
    on_its_way = Following([source(State.RENDERED)])
    on_its_way.refused_address()
    assert isinstance(feeding.feed(fed_by(0, 1), on_its_way, now=5.0), Asset), "what is not on disk cannot be sent"


@pytest.mark.parametrize("state", [State.READY, State.RENDERING, State.FAILED, State.UNCERTAIN])
def test_what_is_not_rendered_is_never_sent(state):
    with pytest.raises(TransferError, match="j1, which it is made from, is not rendered"):
        feeding.feed(fed_by(0, 1), Following([source(state)]), now=5.0)
    with pytest.raises(TransferError, match="is not rendered"):
        feeding.feed(fed_by(0, 1), Following([]), now=5.0)


def test_a_refused_address_without_a_file_is_no_submission():
    with pytest.raises(TransferError, match="is not on disk"):
        feeding.feed(fed_by(0, 1, is_renewed=True), Following([source(State.RENDERED)]), now=5.0)


def test_only_a_file_that_was_taken_after_a_refusal_teaches_anything():
    file = Asset(field="video_file_path", file_path="api-assets/x.mp4", expires_at=9.0, project_id="p 1")
    address = holding.by_address("video_file_path", "p 1", now=5.0)
    own = replace(file, project_id=None)
    for renewed, asset, learns in (
        (False, file, False),
        (True, address, False),
        (True, own, False),
        (True, file, True),
    ):
        following = Following([])
        feeding.learn(fed_by(0, 1, is_renewed=renewed, assets=(asset,)), following)
        assert following.sends_files is learns
