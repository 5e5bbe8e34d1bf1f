"""Which jobs a command is for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import events, job as machine, record
from batchrunner.core.job import State
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Failure
from batchrunner.core.selection import NEW, OPEN, STATES, Facts, Selection, code_of, facts_of
from tests.core.test_plan import spec

CLIP, STILL = Kind.VIDEO_TO_VIDEO, Kind.IMAGE_TO_VIDEO

JOBS = (
    Facts(id="intro", kind=CLIP, tags=("night", "hero"), state="done"),
    Facts(id="intro-2", kind=CLIP, tags=("night",), state="failed", code="nsfw"),
    Facts(id="a[1]", kind=STILL, tags=("day",), priority=5),
    Facts(id="a1", kind=STILL, state="failed", code="unknown_error"),
    Facts(id="sub/x", kind=STILL, tags=("day",), priority=5, state="canceled", code="canceled"),
)


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({}, "intro intro-2 a[1] a1 sub/x"),
        ({"only": ("intro",)}, "intro"),
        ({"only": ("intro*",)}, "intro intro-2"),
        ({"only": ("a[1]",)}, "a[1] a1"),
        ({"only": ("a[[]1]",)}, "a[1]"),
        ({"only": ("intro", "sub/*")}, "intro sub/x"),
        ({"only": ("INTRO",)}, ""),
        ({"exclude": ("intro",)}, "intro-2 a[1] a1 sub/x"),
        ({"exclude": ("*",)}, ""),
        ({"only": ("intro*",), "exclude": ("*-2",)}, "intro"),
        ({"tags": ("night",)}, "intro intro-2"),
        ({"tags": ("hero", "day")}, "intro a[1] sub/x"),
        ({"kinds": (CLIP,)}, "intro intro-2"),
        ({"kinds": (CLIP, STILL)}, "intro intro-2 a[1] a1 sub/x"),
        ({"states": (NEW,)}, "a[1]"),
        ({"states": ("failed", "canceled")}, "intro-2 a1 sub/x"),
        ({"codes": ("nsfw", "canceled")}, "intro-2 sub/x"),
        ({"states": ("failed",), "kinds": (STILL,)}, "a1"),
        ({"tags": ("day",), "states": ("done",)}, ""),
        ({"limit": 1}, "a[1]"),
        ({"limit": 3}, "a[1] sub/x intro"),
        ({"limit": 99}, "intro intro-2 a[1] a1 sub/x"),
        ({"limit": 1, "kinds": (CLIP,)}, "intro"),
        ({"sample": 99}, "intro intro-2 a[1] a1 sub/x"),
    ],
)
def test_what_is_selected(asked, ids):
    assert Selection(**asked).choose(JOBS) == set(ids.split())


@pytest.mark.parametrize(
    ("asked", "slips"),
    [
        ({}, []),
        ({"only": ("intro", "i*")}, []),
        ({"only": ("intor", "x*")}, [("--only", "intor"), ("--only", "x*")]),
        ({"exclude": ("nobody",)}, [("--exclude", "nobody")]),
        ({"tags": ("nigth", "day")}, [("--tag", "nigth")]),
        ({"tags": ("n*",)}, [("--tag", "n*")]),
        ({"codes": ("nsfw", "nope")}, [("--code", "nope")]),
        ({"states": ("uncertain",), "kinds": (CLIP,), "limit": 1}, []),
        ({"only": ("intro",), "exclude": ("intro",)}, []),
    ],
)
def test_a_word_that_fits_nothing_is_told(asked, slips):
    assert [(slip.option, slip.word) for slip in Selection(**asked).unmatched(JOBS)] == slips


def test_what_there_is_is_told_with_a_slip():
    (slip,) = Selection(tags=("nigth",)).unmatched(JOBS)
    assert slip.among == ("night", "hero", "day")


jobs_of = st.lists(
    st.builds(
        Facts,
        id=st.text(min_size=1, max_size=4),
        kind=st.sampled_from(Kind),
        tags=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
        priority=st.integers(-3, 3),
        state=st.sampled_from(STATES),
    ),
    unique_by=lambda job: job.id,
    max_size=25,
)
selections = st.builds(
    Selection,
    exclude=st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
    tags=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
    kinds=st.lists(st.sampled_from(Kind), max_size=1).map(tuple),
    states=st.lists(st.sampled_from(STATES), max_size=4).map(tuple),
    limit=st.none() | st.integers(1, 9),
    sample=st.none() | st.integers(1, 9),
    seed=st.integers(0, 5),
)


@given(jobs=jobs_of, asked=selections)
def test_nothing_is_chosen_that_does_not_fit_and_as_many_as_may_be(jobs, asked):
    chosen = asked.choose(jobs)
    fitting = [job for job in jobs if asked.picks(job)]
    assert chosen <= {job.id for job in fitting}
    most = min(each for each in (asked.limit, asked.sample, len(fitting)) if each is not None)
    assert len(chosen) == most


@given(jobs=jobs_of, asked=selections, shuffled=st.randoms(use_true_random=False))
def test_a_sample_is_the_same_in_whatever_order_the_jobs_are_listed(jobs, asked, shuffled):
    asked = replace(asked, limit=None)
    others = list(jobs)
    shuffled.shuffle(others)
    assert asked.choose(jobs) == asked.choose(others)


@given(jobs=jobs_of, limit=st.integers(1, 9))
def test_a_limit_takes_the_first_by_priority_and_order(jobs, limit):
    chosen = Selection(limit=limit).choose(jobs)
    ranked = [job.id for _, job in sorted(enumerate(jobs), key=lambda pair: (-pair[1].priority, pair[0]))]
    assert chosen == set(ranked[:limit])


@given(jobs=jobs_of, more=jobs_of, size=st.integers(1, 9))
def test_jobs_that_are_added_take_the_place_of_others_in_a_sample_and_never_bring_one_in(jobs, more, size):
    known = {job.id for job in jobs}
    asked = Selection(sample=size)
    added = [job for job in more if job.id not in known]
    assert asked.choose([*jobs, *added]) & known <= asked.choose(jobs)


def test_seeds_draw_differently_and_evenly():
    jobs = [Facts(id=f"j{number}", kind=STILL) for number in range(20)]
    drawn = Counter(job for seed in range(400) for job in Selection(sample=5, seed=seed).choose(jobs))
    assert len(drawn) == 20
    assert all(60 < count < 140 for count in drawn.values()), drawn  # 100 each would be even


def test_a_selection_by_state_goes_on_with_what_it_opened():
    asked = Selection(only=("a*",), states=("failed",), codes=("nsfw",), limit=3)
    assert asked.going_on() == Selection(only=("a*",), states=OPEN, limit=3)
    assert Selection(only=("a*",)).going_on() == Selection(only=("a*",))


def test_tags_are_on_record_and_records_from_before_have_none():
    tagged = replace(spec(), tags=("night",), priority=3, asked="ff", edits=("style.prompt=x",))
    job = machine.advance(None, events.Opened(at=1.0, id="a", attempt=1, spec=tagged))
    text = record.job_to_text(job)
    assert record.job_from_text(text) == job
    assert facts_of(job) == Facts(id="a", kind=STILL, tags=("night",), priority=3, state="ready")
    old = text
    for added in (',"tags":["night"]', ',"priority":3', ',"asked":"ff"', ',"edits":["style.prompt=x"]'):
        assert added in old
        old = old.replace(added, "")
    assert facts_of(record.job_from_text(old)) == Facts(id="a", kind=STILL, state="ready")


def test_only_what_came_to_nothing_has_a_reason():
    job = machine.advance(None, events.Opened(at=1.0, id="a", attempt=1, spec=spec()))
    trouble = Failure(code="unreachable", message="no")
    assert facts_of(replace(job, trouble=trouble)).code is None
    assert facts_of(replace(job, state=State.FAILED, trouble=trouble)).code == "unreachable"
    assert code_of(replace(job, state=State.CANCELED)) == "canceled"
