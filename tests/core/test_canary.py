"""Which jobs are tried first, and what they say about the rest."""

from __future__ import annotations

from dataclasses import replace
import json

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import canary, events, job as machine
from batchrunner.core.canary import Mode, group_of
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Failure
from batchrunner.core.spec import Spec


def a_job(
    name: str, *, model: str = "kling-3.0", style: dict[str, str] | None = None, hold: int = 100, **changes: object
) -> Job:
    made = Spec(
        kind=Kind.IMAGE_TO_VIDEO,
        request=json.dumps({"style": style} if style is not None else {}),
        inputs=(),
        output=f"{name}.mp4",
        seconds=5,
        fingerprint=name,
        hold=hold,
        model=model,
    )
    opened = machine.advance(None, events.Opened(at=1.0, id=name, attempt=1, spec=made))
    return replace(opened, **changes)  # type: ignore[arg-type]


def test_a_group_has_one_style_and_any_prompt():
    ink = group_of(a_job("a", style={"art_style": "Ink", "prompt": "a cat"}))
    assert ink == group_of(a_job("b", style={"prompt": "a dog", "art_style": "Ink"}))
    assert ink != group_of(a_job("c", style={"art_style": "Comic"}))
    assert ink != group_of(a_job("d", style={"art_style": "Ink"}, model="veo3.1"))
    assert group_of(a_job("e")) == group_of(a_job("f", style={"prompt": "a cat"}))


NSFW = Failure(code="nsfw", message="no")


@pytest.mark.parametrize(
    ("jobs", "ids"),
    [
        ([], ""),
        ([a_job("a"), a_job("b"), a_job("c", model="veo3.1")], "a c"),
        ([a_job("a"), a_job("b", hold=99)], "b"),
        ([a_job("a", hold=1), a_job("b", state=State.RENDERING)], "b"),
        ([a_job("a", state=State.DONE), a_job("b")], ""),
        ([a_job("b"), a_job("a", state=State.DONE)], ""),
        ([a_job("a", state=State.DONE, suspect="too short"), a_job("b")], "b"),
        ([a_job("a", state=State.DONE, held=151, charged=151), a_job("b")], "b"),
        ([a_job("a", state=State.FAILED, trouble=NSFW), a_job("b")], "b"),
        ([a_job("a", state=State.UNCERTAIN), a_job("b")], "b"),
        ([a_job("a", state=State.UNCERTAIN)], ""),
        ([a_job("a", state=State.DONE), a_job("b", model="veo3.1", state=State.UPLOADED)], "b"),
    ],
)
def test_one_of_every_group_that_is_not_proved_yet_is_a_canary(jobs, ids):
    assert canary.choose(jobs, Mode.GO).ids == set(ids.split())


def test_the_rest_goes_when_every_canary_is_there():
    a, c, other = a_job("a"), a_job("c", model="veo3.1"), a_job("b", hold=200)
    canaries = canary.choose([a, c, other], Mode.GO)
    assert canaries.holds_back(other)
    assert not canaries.holds_back(a)
    canaries.saw(replace(a, state=State.DONE))
    canaries.saw(replace(c, state=State.RENDERED))
    assert (canaries.is_over, canaries.holds_back(other), canaries.stops) == (False, True, None)
    canaries.saw(replace(c, state=State.DONE))
    assert (canaries.is_over, canaries.holds_back(other), canaries.stops) == (True, False, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": State.FAILED, "trouble": NSFW}, "a failed: no"),
        ({"state": State.CANCELED}, "a canceled: canceled"),
        ({"state": State.DONE, "suspect": "2 s, not 5"}, "a is suspect: 2 s, not 5"),
        ({"state": State.UNCERTAIN}, "a is uncertain"),
        ({"state": State.RENDERING, "held": 151, "charged": 151}, "151"),
    ],
)
def test_a_canary_in_doubt_stops_the_rest_for_good(changes, words):
    a, b = a_job("a"), a_job("b")
    canaries = canary.choose([a, b], Mode.GO)
    canaries.saw(replace(a, **changes))
    assert words in (canaries.stops or "")
    canaries.saw(replace(b, state=State.DONE))
    assert canaries.holds_back(b)


def test_it_may_stop_for_a_look_when_all_is_well():
    canaries = canary.choose([a_job("a"), a_job("b")], Mode.STOP)
    before = canaries.stops
    canaries.saw(a_job("a", state=State.DONE))
    assert (before, canaries.stops) == (None, "the canary is there to be looked at")
    assert canaries.holds_back(a_job("b"))
    assert canary.choose([a_job("a", state=State.DONE), a_job("b")], Mode.STOP).stops is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "z"]),
            st.sampled_from(["Ink", "Comic"]),
            st.integers(1, 9),
            st.sampled_from(State),
        ),
        max_size=12,
    )
)
def test_every_group_to_be_bought_has_a_canary_or_a_good_render(drawn):
    jobs = [
        a_job(f"j{n}", model=model, style={"art_style": style}, hold=hold, state=state)
        for n, (model, style, hold, state) in enumerate(drawn)
    ]
    ids = canary.choose(jobs, Mode.GO).ids
    tried = [group_of(job) for job in jobs if job.id in ids]
    good = {group_of(job) for job in jobs if job.state is State.DONE}
    wanted = {group_of(job) for job in jobs if job.state in {State.READY, State.UPLOADED}}
    assert len(tried) == len(set(tried))
    assert wanted - good <= set(tried)
    assert good.isdisjoint(tried)
