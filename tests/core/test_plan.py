"""What a run would do, and why."""

from __future__ import annotations

from dataclasses import replace
import json
from typing import Any

import pytest

from batchrunner import places
from batchrunner.core import events, job as machine, pricing
from batchrunner.core.differences import what_changed
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.pins import pins
from batchrunner.core.plan import Do, Wishes, make_plan
from batchrunner.core.priced import Specs, fingerprint, history_of
from batchrunner.core.remarks import far_dearer
from batchrunner.core.retry import Failure
from batchrunner.core.selection import Selection
from batchrunner.core.spec import Input, Spec

CATALOG = places.load_catalog(None, None, {})

REQUEST = {"end_seconds": 5, "style": {"prompt": "slow"}, "assets": {"image_file_path": "a.png"}}


def spec(request: dict[str, Any] | None = None, sha256: str = "aa", kind: Kind = Kind.IMAGE_TO_VIDEO) -> Spec:
    body = request or REQUEST
    inputs = (Input(field="image_file_path", media="image", path="a.png", sha256=sha256, size=3),)
    return Spec(
        kind=kind,
        request=json.dumps(body),
        inputs=inputs,
        output="a.mp4",
        seconds=5,
        fingerprint=fingerprint(kind, body, inputs),
    )


CHANGED = spec(REQUEST | {"style": {"prompt": "fast"}})


def known(state: State, **changes: object) -> Job:
    opened = machine.advance(None, events.Opened(at=1.0, id="a", attempt=1, spec=spec()))
    return replace(opened, state=state, **changes)  # type: ignore[arg-type]


def decide(asked: Spec | None, job: Job | None, **wishes: Any) -> tuple[Do, str]:
    specs = [("a", asked)] if asked else []
    (entry,) = make_plan(specs, {"a": job} if job else {}, Wishes(**wishes)).entries
    return entry.action, entry.reason


NSFW = Failure(code="nsfw", message="no")


@pytest.mark.parametrize(
    ("job", "asked", "wishes", "action", "words"),
    [
        (None, spec(), {}, Do.RENDER, "new"),
        (known(State.READY), spec(), {}, Do.RESUME, "not submitted"),
        (known(State.UPLOADED), CHANGED, {}, Do.RENDER, 'style.prompt: "slow" -> "fast"'),
        (known(State.SUBMITTING), spec(), {}, Do.RESUME, "checked whether it was charged"),
        (known(State.RENDERING, project_id="p9"), spec(), {}, Do.RESUME, "p9"),
        (known(State.RENDERING, project_id="p9"), CHANGED, {}, Do.RESUME, "collected as it was"),
        (known(State.RENDERED), spec(), {}, Do.RESUME, "paid for"),
        (known(State.UNCERTAIN), spec(), {}, Do.SKIP, "a person"),
        (known(State.UNCERTAIN), CHANGED, {"rerender": True}, Do.SKIP, "a person"),
        (known(State.DONE), spec(), {}, Do.SKIP, "done"),
        (known(State.DONE), spec(), {"rerender": True}, Do.SKIP, "done"),
        (known(State.DONE), CHANGED, {}, Do.SKIP, "--rerender"),
        (known(State.DONE), CHANGED, {"rerender": True}, Do.RERENDER, "style.prompt"),
        (known(State.DONE), spec(sha256="bb"), {}, Do.SKIP, "content of a.png"),
        (known(State.FAILED, trouble=NSFW), spec(), {}, Do.SKIP, "nsfw"),
        (known(State.FAILED, trouble=NSFW), spec(), {"retry_failed": True}, Do.RETRY, "nsfw"),
        (known(State.FAILED, trouble=NSFW), CHANGED, {}, Do.RENDER, "style.prompt"),
        (known(State.CANCELED), spec(), {"retry_failed": True}, Do.RETRY, "canceled"),
        (known(State.RENDERING), None, {}, Do.RESUME, "no longer in the manifest"),
        (known(State.DONE), None, {}, Do.SKIP, "no longer in the manifest"),
        (known(State.READY), None, {}, Do.SKIP, "no longer in the manifest"),
        (known(State.UNCERTAIN), None, {}, Do.SKIP, "no longer in the manifest"),
    ],
)
def test_an_action_and_its_reason(job, asked, wishes, action, words):
    decided, reason = decide(asked, job, **wishes)
    assert decided is action
    assert words in reason


ONLY_A = Selection(only=("a",))
ONLY_OTHERS = Selection(exclude=("a",))


@pytest.mark.parametrize(
    ("job", "asked", "wishes", "action", "words"),
    [
        (None, spec(), {"selection": ONLY_OTHERS}, Do.SKIP, "not selected"),
        (known(State.UPLOADED), spec(), {"selection": ONLY_OTHERS}, Do.SKIP, "not selected"),
        (known(State.FAILED), spec(), {"selection": ONLY_OTHERS, "retry_failed": True}, Do.SKIP, "not selected"),
        (known(State.RENDERING, project_id="p9"), spec(), {"selection": ONLY_OTHERS}, Do.RESUME, "p9"),
        (known(State.RENDERED), spec(), {"selection": Selection(states=("new",))}, Do.RESUME, "paid for"),
        (known(State.DONE), CHANGED, {"selection": ONLY_A}, Do.RERENDER, "changed"),
        (known(State.DONE), CHANGED, {"selection": Selection(only=("?",))}, Do.SKIP, "--rerender"),
        (known(State.DONE), CHANGED, {"redo": frozenset("a")}, Do.RERENDER, 'redo: style.prompt: "slow" -> "fast"'),
        (known(State.DONE), spec(), {"redo": frozenset("a")}, Do.RERENDER, "redo: the same again"),
        (known(State.FAILED), spec(), {"redo": frozenset("a")}, Do.RETRY, "redo: the same again"),
        (known(State.RENDERING), spec(), {"redo": frozenset("a")}, Do.RESUME, "rendering"),
    ],
)
def test_what_is_selected_is_done_and_what_was_bought_is_always_collected(job, asked, wishes, action, words):
    decided, reason = decide(asked, job, **wishes)
    assert decided is action
    assert words in reason


def test_a_job_is_selected_by_the_tags_of_now_and_by_those_on_record_when_it_is_gone():
    now, then = replace(spec(), tags=("now",)), known(State.FAILED, spec=replace(spec(), tags=("then",)))
    for tag, picked in (("now", "a"), ("then", "b")):
        made = make_plan(
            [("a", now)], {"a": then, "b": replace(then, id="b")}, Wishes(selection=Selection(tags=(tag,)))
        )
        assert [entry.id for entry in made.entries if entry.is_selected] == [picked]


def test_jobs_that_are_gone_take_no_place_in_a_limit():
    gone = known(State.FAILED, spec=replace(spec(), priority=9))
    made = make_plan([("b", spec()), ("c", spec())], {"a": gone}, Wishes(selection=Selection(limit=1)))
    assert [entry.id for entry in made.entries if entry.action is Do.RENDER] == ["b"]


TAKE = replace(CHANGED, asked=spec().fingerprint, edits=("style.prompt=fast",), output="a.2.mp4")


@pytest.mark.parametrize(
    ("asked", "state", "action", "words"),
    [
        (spec(), State.DONE, Do.SKIP, "done, with style.prompt=fast (set by redo)"),
        (spec(), State.READY, Do.RESUME, "not submitted yet, with style.prompt=fast (set by redo)"),
        (spec(), State.RENDERING, Do.RESUME, "rendering as project None"),
        (CHANGED, State.DONE, Do.SKIP, "done"),
        (spec(sha256="bb"), State.DONE, Do.SKIP, "done, but changed since (content of a.png"),
    ],
)
def test_another_take_is_no_change_as_long_as_the_manifest_stays_the_same(asked, state, action, words):
    specs = Specs({}, CATALOG, tier="creator", history={})
    made = specs.standing(spec(), known(State.DONE, spec=TAKE))
    job = known(state, spec=made)
    stands = specs.standing(asked, job)
    (entry,) = make_plan([("a", stands)], {"a": job}, Wishes()).entries
    assert (entry.action, entry.reason[: len(words)]) == (action, words)


def test_a_take_that_failed_is_tried_again_as_it_was_at_the_price_of_now():
    job = known(State.FAILED, spec=replace(TAKE, hold=3))
    stands = Specs({}, CATALOG, tier="creator", history={}).standing(spec(), job)
    assert (stands.body(), stands.output, stands.asked) == (CHANGED.body(), "a.2.mp4", spec().fingerprint)
    assert (stands.hold, stands.model) == (240, "kling-3.0")
    (entry,) = make_plan([("a", stands)], {"a": job}, Wishes(retry_failed=True)).entries
    assert (entry.action, entry.spec) == (Do.RETRY, stands)


def test_where_a_file_lies_is_no_change_and_what_is_in_it_is():
    moved = replace(spec().inputs[0], path="elsewhere/a.png")
    request = REQUEST | {"assets": {"image_file_path": "elsewhere/a.png"}}
    assert fingerprint(Kind.IMAGE_TO_VIDEO, request, [moved]) == spec().fingerprint
    assert spec(sha256="bb").fingerprint != spec().fingerprint


def test_differences_are_told_as_a_person_would():
    longer = REQUEST | {"end_seconds": 8, "audio": True}
    text = what_changed(spec(), spec(longer))
    assert text == "end_seconds: 5 -> 8; audio: unset -> true"


@pytest.mark.parametrize(
    ("request_", "tier", "expected"),
    [
        ({"model": "kling-3.0", "resolution": "720p", "end_seconds": 8}, "creator", 384),
        ({"model": "veo3.1", "resolution": "720p", "end_seconds": 8}, "creator", 768),
        ({"model": "sora-2", "resolution": "720p", "end_seconds": 8}, "creator", 960),
        ({"model": "seedance-2.5", "resolution": "720p", "end_seconds": 8}, "creator", 4608),
        ({"model": "kling-3.0", "resolution": "4k", "end_seconds": 5, "audio": True}, "pro", 5 * 288),
        ({"model": "seedance-1.5", "resolution": "1080p", "end_seconds": 4, "audio": True}, "pro", 4 * 180),
        ({"model": "veo3.1-audio", "resolution": "720p", "end_seconds": 8}, "pro", 8 * 120),
        ({"model": "seedance", "resolution": "480p", "end_seconds": 5}, "pro", 150),
        ({"end_seconds": 5}, "creator", 240),
        ({"model": "wan-3.0", "resolution": "720p", "end_seconds": 5}, "creator", None),
        ({"model": "something-new", "end_seconds": 5}, "creator", None),
        ({"model": "wan-2.2", "end_seconds": 5, "style": {"quality_mode": "studio"}}, None, 360),
    ],
)
def test_image_to_video_costs_what_the_benchmark_was_charged(request_, tier, expected):
    price = pricing.estimate(Kind.IMAGE_TO_VIDEO, request_, CATALOG, tier=tier)
    assert (price.hold if price else None) == expected
    assert price is None or tier is None or price.low == price.hold


@pytest.mark.parametrize(("rate", "hold", "expected"), [("FULL", 300, 240), ("HALF", 150, 120), (None, 150, 120)])
def test_video_to_video_is_held_at_thirty_frames(rate, hold, expected):
    request = {"start_seconds": 0, "end_seconds": 5} | ({"fps_resolution": rate} if rate else {})
    price = pricing.estimate(Kind.VIDEO_TO_VIDEO, request, CATALOG, tier=None)
    assert price is not None
    assert (price.hold, price.expected) == (hold, expected)


def settled(number: int, *, held: int, charged: int) -> Job:
    request = {"start_seconds": 0, "end_seconds": 5, "style": {"art_style": "Ink"}}
    made = replace(spec(request, kind=Kind.VIDEO_TO_VIDEO), hold=held)
    opened = machine.advance(None, events.Opened(at=1.0, id=f"s{number}", attempt=1, spec=made))
    return replace(opened, state=State.DONE, held=held, charged=charged)


def test_the_likely_price_is_learned_from_what_was_charged_and_the_hold_stays():
    request = {"start_seconds": 0, "end_seconds": 10, "style": {"art_style": "Comic"}}
    price = pricing.estimate(Kind.VIDEO_TO_VIDEO, request, CATALOG, tier=None, fps=24)
    assert price is not None
    sort = pricing.sort_of(Kind.VIDEO_TO_VIDEO, request, CATALOG, tier=None, model="default")
    few = history_of([settled(n, held=150, charged=147) for n in range(2)], CATALOG, tier=None)
    assert pricing.calibrated(price, sort, few) == (price, None)
    enough = history_of([settled(n, held=150, charged=147) for n in range(38)], CATALOG, tier=None)
    learned, basis = pricing.calibrated(price, sort, enough)
    assert (learned.expected, learned.hold, learned.low) == (294, price.hold, price.low)
    assert basis == "38 settled renders: 0.98 of the hold"


def test_an_exact_price_needs_no_learning():
    request = {"end_seconds": 5, "model": "kling-3.0", "resolution": "720p"}
    price = pricing.estimate(Kind.IMAGE_TO_VIDEO, request, CATALOG, tier="creator")
    assert price is not None
    sort = pricing.sort_of(Kind.IMAGE_TO_VIDEO, request, CATALOG, tier=None, model="kling-3.0")
    assert pricing.calibrated(price, sort, {sort: pricing.Experience(renders=9, held=9, settled=5)}) == (price, None)


def test_a_charge_above_the_catalogue_raises_what_must_be_assumed():
    request = {"start_seconds": 0, "end_seconds": 10, "style": {"art_style": "Comic"}}
    price = pricing.estimate(Kind.VIDEO_TO_VIDEO, request, CATALOG, tier=None, fps=24)
    assert price is not None
    dear = replace(settled(1, held=150, charged=300), held=300)
    history = history_of([dear, settled(2, held=150, charged=120)], CATALOG, tier=None)
    learned, basis = pricing.calibrated(
        price, pricing.sort_of(Kind.VIDEO_TO_VIDEO, request, CATALOG, tier=None, model="default"), history
    )
    assert (learned.hold, learned.expected) == (2 * price.hold, 2 * price.hold)
    assert basis == "a charge of 2.00 times the catalogue's hold"


def test_a_job_not_bought_yet_is_planned_at_the_price_of_now():
    old = spec({"end_seconds": 5})
    opened = machine.advance(None, events.Opened(at=1.0, id="a", attempt=1, spec=replace(old, hold=100)))
    (entry,) = make_plan([("a", replace(old, hold=150))], {"a": opened}, Wishes()).entries
    assert (entry.action, entry.will_buy) == (Do.RENDER, True)
    assert entry.reason == "its price changed before anything was bought: 100 credits -> 150 credits"


def test_a_model_far_dearer_than_its_like_is_pointed_out_beside_another_kind():
    def bought(kind: Kind, hold: int) -> Spec:
        return replace(spec({"end_seconds": 5}, kind=kind), hold=hold, low=hold, expected=hold, seconds=5)

    clips = [(f"clip{n}", bought(Kind.VIDEO_TO_VIDEO, 300)) for n in range(4)]
    stills = [("a", 240), ("b", 240), ("c", 240), ("dear", 240 * 12)]
    made = make_plan(clips + [(name, bought(Kind.IMAGE_TO_VIDEO, hold)) for name, hold in stills], {}, Wishes())
    assert far_dearer(made) == {"dear": "a second of it costs 12 times what is usual for image-to-video in this batch"}
    assert far_dearer(make_plan(clips, {}, Wishes())) == {}


# --- jobs that a folder no longer asks for ---------------------------------------------------------------------------


def orphan(job: Job, **absences: str) -> tuple[Do, str]:
    (entry,) = make_plan([], {"a": job}, Wishes(rerender=True, retry_failed=True), absences=absences).entries
    return entry.action, entry.reason


def test_a_job_whose_file_is_gone_keeps_what_it_has() -> None:
    assert orphan(known(State.DONE), a="its file is gone") == (Do.SKIP, "its file is gone; its result is kept")
    assert orphan(known(State.FAILED, trouble=NSFW), a="its file is gone") == (Do.SKIP, "its file is gone (failed)")
    assert orphan(known(State.READY), a="its file is gone") == (Do.SKIP, "its file is gone (ready)")
    assert orphan(known(State.UNCERTAIN), a="its file is gone") == (Do.SKIP, "its file is gone (uncertain)")
    collected = (Do.RESUME, "its file is gone, but paid for; it is collected")
    assert orphan(known(State.RENDERING, project_id="p9"), a="its file is gone") == collected
    assert orphan(known(State.DONE)) == (Do.SKIP, "no longer in the manifest (done)")


def test_a_new_job_is_pointed_out_when_its_render_is_done_under_an_id_that_is_gone() -> None:
    done = known(State.DONE)
    new, gone = make_plan([("b", spec())], {"a": done}, Wishes()).entries
    assert (new.action, new.reason) == (
        Do.RENDER,
        "new; the same render is done as a, which is no longer asked for",
    )
    assert gone.action is Do.SKIP
    other, _ = make_plan([("b", CHANGED)], {"a": done}, Wishes()).entries
    assert other.reason == "new"
    both = make_plan([("a", spec()), ("b", spec())], {"a": done}, Wishes()).entries
    assert [entry.reason for entry in both] == ["done", "new"]
    unfinished, _ = make_plan([("b", spec())], {"a": known(State.FAILED, trouble=NSFW)}, Wishes()).entries
    assert unfinished.reason == "new"


PRICED = replace(spec({"end_seconds": 5}), hold=100, low=100, expected=100, model="m")


@pytest.mark.parametrize(
    ("asked", "wishes", "words"),
    [
        (PRICED, {}, None),
        (replace(PRICED, hold=300), {}, "price changed: 100 credits -> 300 credits"),
        (replace(PRICED, model="n"), {}, "model changed: m -> n"),
        (replace(PRICED, output="b.mp4"), {}, "output changed"),
        (replace(PRICED, fingerprint="other", request='{"end_seconds": 9}'), {}, "end_seconds: 5 -> 9"),
        (PRICED, {"selection": Selection(only=("b",))}, "not selected"),
        (None, {}, "not bought again"),
    ],
)
@pytest.mark.parametrize("state", [State.SUBMITTING, State.RENDERING])
def test_what_was_submitted_may_be_bought_again_only_as_it_is_asked_for(state, asked, wishes, words):
    job = replace(known(state), spec=PRICED, attempt=3)
    made = make_plan([("a", asked)] if asked else [], {"a": job}, Wishes(**wishes))
    (entry,) = made.entries
    assert entry.action is Do.RESUME, "what was paid for is collected in any case"
    assert made.permitted() == ({("a", 3)} if words is None else set())
    in_question = words is None and state is State.SUBMITTING
    bill = made.bill()
    assert [bill.jobs, bill.in_question, bill.hold] == ([1, 1, 100] if in_question else [0, 0, 0])
    assert list(pins(made)) == (["a"] if in_question else [])
    if state is State.SUBMITTING:
        assert (words or "if not, it is bought") in entry.reason
        assert "paid for" not in entry.reason


def test_a_new_attempt_is_permitted_and_no_other():
    failed = replace(known(State.FAILED), spec=PRICED, attempt=3)
    assert make_plan([("a", PRICED)], {"a": failed}, Wishes(retry_failed=True)).permitted() == {("a", 4)}
    assert make_plan([("a", PRICED)], {}, Wishes()).permitted() == {("a", 1)}
    assert make_plan([("a", PRICED)], {"a": failed}, Wishes()).permitted() == set()


def test_an_attempt_that_was_opened_without_its_model_is_opened_anew():
    opened = replace(known(State.UPLOADED), spec=replace(PRICED, model=None))
    (entry,) = make_plan([("a", PRICED)], {"a": opened}, Wishes()).entries
    assert entry.action is Do.RENDER
    assert "its model changed before anything was bought: not recorded -> m" in entry.reason


def still(request: dict[str, Any], model: str, *, hold: int, charged: int, is_priced: bool = True) -> Job:
    made = replace(spec(request), hold=hold, low=hold, model=model, is_priced=is_priced)
    opened = machine.advance(None, events.Opened(at=1.0, id="s", attempt=1, spec=made))
    return replace(opened, state=State.DONE, held=charged, charged=charged)


STUDIO = CATALOG.quality_mode_resolutions["studio"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"model": "kling-3.0"}, {"model": "kling-3.0", "resolution": "720p"}),
        ({"model": "kling-3.0", "resolution": "720p"}, {"resolution": "720p"}),
        ({"model": "wan-2.2", "style": {"quality_mode": "studio"}}, {"model": "wan-2.2", "resolution": STUDIO}),
        ({"model": "veo3.1-audio"}, {"model": "veo3.1", "audio": True}),
    ],
)
def test_a_charge_above_the_hold_is_known_however_the_same_is_asked_for(one, other):
    """By what is rendered: what a tier's default, a quality, an alias come down to."""
    one, other = ({"end_seconds": 4, **request} for request in (one, other))
    price = pricing.estimate(Kind.IMAGE_TO_VIDEO, one, CATALOG, tier="creator")
    assert price is not None
    model = CATALOG.renders(Kind.IMAGE_TO_VIDEO, one, tier="creator")
    history = history_of([still(one, model, hold=price.hold, charged=2 * price.hold)], CATALOG, tier="creator")
    model = CATALOG.renders(Kind.IMAGE_TO_VIDEO, other, tier="creator")
    sort = pricing.sort_of(Kind.IMAGE_TO_VIDEO, other, CATALOG, tier="creator", model=model)
    assert pricing.calibrated(price, sort, history)[0].hold == 2 * price.hold


def test_what_had_no_price_when_it_was_bought_counts_once_it_has_one():
    request = {"model": "kling-3.0", "resolution": "720p", "end_seconds": 5}
    dear = still(request, "kling-3.0", hold=1, charged=480, is_priced=False)
    sort = pricing.sort_of(Kind.IMAGE_TO_VIDEO, request, CATALOG, tier="creator", model="kling-3.0")
    known_of = history_of([dear], CATALOG, tier="creator")[sort]
    assert known_of.dearest == 2
    assert known_of.renders == 0
