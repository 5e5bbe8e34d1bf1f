"""Jobs that wait for other jobs: their order, circles, lengths, and what a plan makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
import json
from typing import Any

from hypothesis import given, strategies as st
import pytest

from batchrunner import places
from batchrunner.core import (
    assets as holding,
    awaited,
    chain,
    config,
    edits,
    emit,
    events,
    expand,
    footage,
    job as machine,
    pins as pinning,
    priced,
    reader,
)
from batchrunner.core.facts import Facts
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job, State
from batchrunner.core.plan import Do, Plan, Wishes, make_plan
from batchrunner.core.retry import Failure
from batchrunner.core.selection import Selection
from batchrunner.core.spec import Asset, Output, Spec
from batchrunner.errors import ManifestError, UsageError
from tests.core.case_text import CATALOG, facts, fetching, listing, parse

LOOK = "style: {art_style: Ink, version: v2}"
CHAIN = f"""\
version: 1
jobs:
  - {{id: third, kind: video-to-video, input: {{job: second}}, end_seconds: end, {LOOK}, needs: [aside]}}
  - {{id: second, kind: video-to-video, input: {{job: first}}, start_seconds: 0.1, end_seconds: 2.4, {LOOK}}}
  - {{id: first, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p}}
  - {{id: aside, kind: image-to-video, input: a.png, end_seconds: 3, model: kling-3.0, resolution: 720p}}
"""


def jobs_of(text: str) -> tuple[expand.ResolvedJob, ...]:
    read = parse(text)
    return expand.expand(read, files=facts(read))


# --- order -----------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [f"j{number}" for number in range(draw(st.integers(1, 12)))]
    links = {name: draw(st.lists(st.sampled_from([*names, "elsewhere"]), max_size=3, unique=True)) for name in names}
    return {name: links[name] for name in draw(st.permutations(names))}


def reaches(links: Mapping[str, Sequence[str]], start: str) -> set[str]:
    found: set[str] = set()
    open_ = list(links[start])
    while open_:
        here = open_.pop()
        if here in links and here not in found:
            found.add(here)
            open_.extend(links[here])
    return found


@given(graphs())
def test_each_comes_after_what_it_waits_for_and_every_circle_is_a_circle(links: dict[str, list[str]]) -> None:
    order = chain.order_of(links)
    assert sorted(order) == sorted(links)
    in_circles = {name for name in links if name in reaches(links, name)}
    caught = {name for name in links if name in in_circles or reaches(links, name) & in_circles}
    place = {name: number for number, name in enumerate(order)}
    for name in set(links) - caught:
        assert all(place[other] < place[name] for other in links[name] if other in links)
    assert all(place[name] >= len(links) - len(caught) for name in caught)

    circles = list(chain.circles(links))
    assert bool(circles) == bool(in_circles)
    for circle in circles:
        for here, following in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert following in links[here]
    told = {name for circle in circles for name in circle}
    for name in in_circles:
        assert told & ({name} | reaches(links, name)), "of each part that hangs together one is told"


@given(graphs())
def test_order_stays_as_it_stands_where_nothing_waits(links: dict[str, list[str]]) -> None:
    assert chain.order_of(dict.fromkeys(links, ())) == list(links)


def test_a_chain_of_a_hundred_thousand_is_no_deeper_than_one_of_two() -> None:
    links = {f"j{number}": [f"j{number + 1}"] for number in range(100_000)}
    assert chain.order_of(links) == [*reversed(links)]
    assert list(chain.circles(links)) == []
    links["j99999"] = ["j0"]
    (circle,) = chain.circles(links)
    assert len(circle) == 100_000


def test_a_long_circle_is_named_by_its_first_jobs() -> None:
    jobs = [
        f"  - {{id: j{n}, kind: image-to-video, input: a.png, end_seconds: 5, needs: j{(n + 1) % 50}}}"
        for n in range(50)
    ]
    with pytest.raises(ManifestError) as refused:
        jobs_of("version: 1\njobs:\n" + "\n".join(jobs) + "\n")
    (problem,) = refused.value.problems
    assert problem.message.endswith('"j6" -> "j7" -> … 42 more -> "j0"')
    assert (problem.place.line, problem.path) == (3, "jobs[0].needs")


def test_what_is_missing_for_an_error_of_its_own_is_not_told_twice() -> None:
    text = CHAIN.replace("end_seconds: 3", "end_second: 3", 1)
    reading = reader.read(text, source="m", name="m", catalog=CATALOG, around=reader.Around())
    files = facts(reading.manifest, left=reading.left)
    with pytest.raises(ManifestError) as refused:
        expand.expand(reading.manifest, files=files, left=reading.left, found=reading.found)
    assert {problem.code for problem in refused.value.problems} == {"unknown-key", "missing"}


def codes_of(text: str) -> list[str]:
    """Return the codes of all that is wrong with a manifest, in the order of the lines."""
    reading = reader.read(text, source="m", name="m", catalog=CATALOG, around=reader.Around(fetch=fetching({})))
    files = facts(reading.manifest, left=reading.left)
    lying = listing("clips | missing", expand.folders_of(reading.manifest))
    with pytest.raises(ManifestError) as refused:
        expand.expand(reading.manifest, files=files, listing=lying, left=reading.left, found=reading.found)
    return [problem.code for problem in refused.value.problems]


def test_an_unknown_job_is_told_beside_the_errors_of_others() -> None:
    text = CHAIN.replace("end_seconds: 3", "end_second: 3", 1)
    assert codes_of(text.replace("needs: [aside]", "needs: [besides]")) == ["unknown-job", "missing", "unknown-key"]
    itself = text.replace("needs: [aside]", "needs: [nobody], nonsense: 1")
    assert sorted(codes_of(itself)) == ["missing", "unknown-job", "unknown-key", "unknown-key"]


def test_a_circle_through_jobs_with_errors_is_told() -> None:
    text = CHAIN.replace("input: a.png, end_seconds: 3", "input: a.png, end_second: 3, needs: [third]", 1)
    assert sorted(codes_of(text)) == ["circle", "missing", "unknown-key"]


FOLDER = '  - {id: "of-{stem}", kind: image-to-video, input: {glob: "clips/*.png"}, end_seconds: 3, model: kling-3.0}\n'


@pytest.mark.parametrize(
    "broken",
    [
        "  - a word\n",
        "  - {kind: image-to-video, input: a.png, end_seconds: 3}\n",
        '  - {id: "x-{nothing}", kind: image-to-video, input: a.png, end_seconds: 3}\n',
        "  - {id: x, kind: image-to-video, input: a.png, end_seconds: 3, matrix: 1}\n",
        '  - {id: "{index}", kind: image-to-picture, input: a.png, end_seconds: 3}\n',
        FOLDER,
        FOLDER.replace("end_seconds", "end_second"),
        "  - {id: x, kind: image-to-video, input: a.png, end_seconds: [\n",
        "include: nowhere.yaml\n",
    ],
)
def test_a_job_that_may_be_one_with_an_unreadable_name_is_not_told_as_unknown(broken: str) -> None:
    text = CHAIN.replace("needs: [aside]", "needs: [besides]")
    assert codes_of(text) == ["unknown-job"]
    assert "unknown-job" not in codes_of(text + broken)


# --- lengths ---------------------------------------------------------------------------------------------------------


def test_the_end_of_a_render_is_what_its_job_asks_for() -> None:
    jobs = {job.id: job for job in expand.with_ends(jobs_of(CHAIN), {})}
    assert jobs["third"].request["end_seconds"] == 2.3
    assert jobs["third"].seconds == 2.3
    assert list(jobs) == ["third", "second", "first", "aside"], "in the manifest's order"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("end_seconds: 3.5", 'end_seconds is 3.5, but the render of "first" is only 3.000 seconds long'),
        (
            "start_seconds: 3, end_seconds: 4",
            'start_seconds is 3, but the render of "first" is only 3.000 seconds long',
        ),
    ],
)
def test_a_range_beyond_the_render_is_refused_before_anything_is_rendered(written: str, said: str) -> None:
    text = CHAIN.replace("start_seconds: 0.1, end_seconds: 2.4", written).replace("end_seconds: end", "end_seconds: 1")
    jobs = expand.with_ends(jobs_of(text), {})
    local = {"a.png": LOOKED["a.png"]}
    with pytest.raises(ManifestError) as refused:
        footage.check(jobs, local, CATALOG, tier=None)
    assert [problem.message for problem in refused.value.problems] == [said]
    assert refused.value.problems[0].place.line == 4


LOOKED = {
    "a.png": Inspected(
        path="a.png",
        size=10,
        modified_ns=1,
        sha256="a" * 64,
        facts=Facts(width=64, height=36, codec="png"),
    )
}


# --- the plan --------------------------------------------------------------------------------------------------------


def specs_of(
    text: str = CHAIN, *, looked: Mapping[str, Inspected] = LOOKED, before: Mapping[str, Spec] | None = None
) -> dict[str, Spec]:
    jobs = expand.with_ends(jobs_of(text), {})
    asked: dict[str, Spec] = {}
    specs = priced.Specs(looked, places.load_catalog(None, None, {}), tier=None, history={})
    for job in chain.ordered(jobs):
        known = None if before is None else before[job.id]
        asked[job.id] = specs.of(job, asked=asked, before=known)
    return {job.id: asked[job.id] for job in jobs}


PAINTED = {"a.png": replace(LOOKED["a.png"], sha256="b" * 64)}


@pytest.mark.parametrize(
    ("text", "looked", "moved"),
    [
        (CHAIN, LOOKED, set()),
        (CHAIN, PAINTED, {"third", "second", "first", "aside"}),
        (CHAIN.replace("Ink", "Watercolor"), LOOKED, {"third", "second"}),
        (CHAIN.replace("end_seconds: 2.4", "end_seconds: 2.3"), LOOKED, {"third", "second"}),
        (
            CHAIN.replace(
                "{id: first, kind: image-to-video, input: a.png, end_seconds: 3",
                "{id: first, kind: image-to-video, input: a.png, end_seconds: 5",
            ),
            LOOKED,
            {"third", "second", "first"},
        ),
    ],
    ids=["nothing", "an input's content", "a style", "a length", "the first of a chain"],
)
def test_what_is_on_record_hides_no_change(text: str, looked: Mapping[str, Inspected], moved: set[str]) -> None:
    before = specs_of()
    after = specs_of(text, looked=looked, before=before)
    assert after == specs_of(text, looked=looked)
    assert {job for job, spec in after.items() if spec.fingerprint != before[job].fingerprint} == moved


def done(job_id: str, spec: Spec, *, project: str | None = None, made_from: str | None = None, attempt: int = 1) -> Job:
    opened = replace(
        machine.advance(None, events.Opened(at=1.0, id=job_id, attempt=1, spec=spec)),
        attempt=attempt,
        state=State.DONE,
        project_id=project or f"p-{job_id}",
        charged=10,
    )
    if made_from is None:
        return opened
    return replace(opened, assets=(holding.by_address("video_file_path", made_from, now=1.0),))


def all_done(asked: Mapping[str, Spec]) -> dict[str, Job]:
    return {
        job_id: done(job_id, spec, made_from=f"p-{spec.source}" if spec.source else None)
        for job_id, spec in asked.items()
    }


def planned(asked: Mapping[str, Spec], known: Mapping[str, Job], **wishes: Any) -> Plan:
    return make_plan(asked.items(), known, Wishes(**wishes))


def told(made: Plan) -> dict[str, tuple[Do, str]]:
    return {entry.id: (entry.action, entry.reason) for entry in made.entries}


def test_the_whole_chain_is_priced_and_bought_in_one_plan() -> None:
    made = planned(specs_of(), {})
    assert told(made)["third"] == (Do.RENDER, "new, after second, aside")
    assert [entry.id for entry in made.entries] == ["third", "second", "first", "aside"]
    assert made.bill().jobs == 4
    assert made.bill().hold == sum(spec.hold or 0 for spec in specs_of().values()) > 0
    assert made.permitted() == {("third", 1), ("second", 1), ("first", 1), ("aside", 1)}


def test_the_fingerprint_follows_what_is_asked_upstream_and_nothing_that_is_rendered() -> None:
    before = specs_of()
    after = specs_of(CHAIN.replace("resolution: 720p", "resolution: 1080p", 1))
    assert before["third"].fingerprint != after["third"].fingerprint
    assert before["aside"].fingerprint == after["aside"].fingerprint
    renamed = specs_of(CHAIN.replace("first", "one"))
    assert before["third"].fingerprint == renamed["third"].fingerprint, "an id is no content"
    assert pinning.pins(planned(before, {})) != pinning.pins(planned(after, {}))


def test_when_all_is_done_nothing_is_to_do() -> None:
    asked = specs_of()
    assert {action for action, _ in told(planned(asked, all_done(asked), rerender=True)).values()} == {Do.SKIP}


def test_a_new_project_upstream_changes_what_was_made_from_the_old_one_and_so_on() -> None:
    asked = specs_of()
    known = all_done(asked) | {"first": done("first", asked["first"], project="p-again", attempt=2)}
    made = planned(asked, known)
    rest = "; --rerender buys it again"
    assert told(made)["first"] == (Do.SKIP, "done")
    assert told(made)["second"][1] == f"done, but changed since (its input, job first, was rendered again){rest}"
    assert told(made)["third"][1] == f"done, but changed since (its input, job second, is out of date){rest}"
    assert [entry.id for entry in made.left_behind()] == ["third", "second"]
    assert made.bill().jobs == 0
    assert told(planned(asked, known, rerender=True))["third"] == (
        Do.RERENDER,
        "changed: its input, job second, is rendered again",
    )


def test_what_this_plan_renders_again_changes_the_rest_though_it_is_not_selected() -> None:
    asked = specs_of()
    made = planned(asked, all_done(asked), redo=frozenset({"first"}), selection=Selection(only=("first",)))
    assert told(made)["first"] == (Do.RERENDER, "redo: the same again")
    assert told(made)["second"] == (Do.SKIP, "not selected")
    assert [entry.id for entry in made.left_behind()] == ["third", "second"]


def test_an_attempt_that_is_tried_again_before_anything_was_made_of_it_is_no_change() -> None:
    asked = specs_of()
    opened = {
        job_id: machine.advance(None, events.Opened(at=1.0, id=job_id, attempt=1, spec=spec))
        for job_id, spec in asked.items()
    }
    failed = replace(opened["first"], state=State.FAILED, trouble=Failure(code="nsfw", message="no"), charged=0)
    made = planned(asked, opened | {"first": failed}, retry_failed=True)
    assert told(made)["first"] == (Do.RETRY, "failed: nsfw")
    assert told(made)["second"] == (Do.RESUME, "not submitted yet")
    assert made.permitted() >= {("first", 2), ("second", 1), ("third", 1)}


def test_what_was_brought_of_an_older_render_is_opened_anew() -> None:
    asked = specs_of()
    known = all_done(asked)
    brought = replace(known["second"], state=State.UPLOADED, project_id=None)
    new = done("first", asked["first"], project="p-again", attempt=2)
    made = planned(asked, {"first": new, "second": brought})
    assert told(made)["second"] == (
        Do.RENDER,
        "changed before anything was bought: its input, job first, was rendered again",
    )


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.FAILED, "waits for first, which failed: nsfw; `retry` tries it again"),
        (State.CANCELED, "waits for first, which canceled: nsfw; `retry` tries it again"),
        (State.UNCERTAIN, "waits for first, which is uncertain: a person must decide"),
    ],
)
def test_what_does_not_come_is_not_waited_for_with_credits(state: State, words: str) -> None:
    asked = specs_of()
    first = replace(done("first", asked["first"]), state=state, trouble=Failure(code="nsfw", message="no"))
    made = planned(asked, {"first": first})
    assert told(made)["second"] == (Do.SKIP, words)
    assert told(made)["third"] == (Do.SKIP, "waits for second, which waits, too")
    assert [entry.id for entry in made.waiting()] == ["third", "second"]
    assert made.permitted() == {("aside", 1)}


@pytest.mark.parametrize("state", [State.RENDERING, State.RENDERED, State.SUBMITTING])
def test_what_was_bought_is_waited_for_whether_it_is_selected_or_not(state: State) -> None:
    asked = specs_of()
    first = replace(done("first", asked["first"]), state=state)
    made = planned(asked, {"first": first}, selection=Selection(only=("second",)))
    assert told(made)["second"] == (Do.RENDER, "new, after first")
    assert planned(asked, {}, selection=Selection(only=("second",))).permitted() == frozenset()


def test_a_lost_submission_is_not_bought_again_when_its_input_does_not_come() -> None:
    asked = specs_of()
    lost = replace(all_done(asked)["second"], state=State.SUBMITTING, project_id=None)
    failed = replace(done("first", asked["first"]), state=State.FAILED, trouble=Failure(code="nsfw", message="no"))
    (entry,) = (each for each in planned(asked, {"first": failed, "second": lost}).entries if each.id == "second")
    assert (entry.action, entry.may_start_over) == (Do.RESUME, False)
    assert "waits for first, which failed: nsfw" in entry.reason


def test_another_order_is_no_change_of_what_is_done_and_one_of_what_is_not() -> None:
    asked = specs_of()
    other = specs_of(CHAIN.replace("needs: [aside]", "needs: [first]"))
    assert told(planned(other, all_done(asked)))["third"] == (Do.SKIP, "done")
    opened = machine.advance(None, events.Opened(at=1.0, id="third", attempt=1, spec=asked["third"]))
    assert told(planned(other, {"third": opened}))["third"] == (
        Do.RENDER,
        "what it needs changed before anything was bought: aside -> first",
    )


def test_a_take_from_a_file_waits_for_no_job_and_a_take_has_no_other_source() -> None:
    (third,) = (job for job in expand.with_ends(jobs_of(CHAIN), {}) if job.id == "third")
    manifest = edits.manifest_of(third, [edits.read("input=b.mp4", third)], CATALOG, allow_unlisted=False)
    assert manifest.jobs[0].fields["assets"]["video_file_path"] == "b.mp4"
    assert [link.job for link in manifest.jobs[0].links] == ["aside"]
    for text in ("input.job=first", "needs=first"):
        with pytest.raises(UsageError):
            edits.read(text, third)


# --- reading back ----------------------------------------------------------------------------------------------------


def meaning(jobs: Sequence[expand.ResolvedJob]) -> list[Any]:
    return [(job.id, dict(job.request), [(link.job, link.is_input) for link in job.links]) for job in jobs]


def test_a_job_that_is_written_out_alone_takes_the_file_of_what_it_was_made_from() -> None:
    third, second, *_ = jobs_of(CHAIN)
    alone = emit.apart(third, frozenset({"third", "aside"}), {"second": "renders/second.mp4"})
    values = emit.values_of(alone, path=lambda name: f"../{name}")
    assert (values["assets"]["video_file_path"], values["needs"]) == ("../renders/second.mp4", ["aside"])
    assert "input" not in values
    assert emit.apart(second, frozenset({"first", "second"}), {}) == second
    with pytest.raises(UsageError):
        emit.apart(third, frozenset({"third"}), {})


def test_what_is_written_out_reads_back_as_the_same_chain() -> None:
    text = CHAIN.replace("id: second,", 'id: "two{{2}}",').replace("job: second}", 'job: "two{{2}}"}')
    jobs = jobs_of(text)
    assert jobs[0].source == "two{2}"
    opened = reader.opened(text, source="m.yaml", catalog=CATALOG, around=reader.Around())
    printed = "\n".join(config.as_yaml(opened, name="m", origin=True))
    assert meaning(jobs_of(printed)) == meaning(jobs)
    emitted = emit.text_of({"version": 1}, [emit.values_of(job, path=str) for job in jobs])
    assert meaning(jobs_of(emitted)) == meaning(jobs)


# --- what is there ---------------------------------------------------------------------------------------------------


def test_an_input_must_be_rendered_and_a_need_must_be_done() -> None:
    asked = specs_of()
    job = machine.advance(None, events.Opened(at=1.0, id="third", attempt=1, spec=asked["third"]))
    rendered = {name: replace(done(name, asked[name]), state=State.RENDERED) for name in ("second", "aside")}
    assert list(awaited.missing(job, {})) == ["second", "aside"]
    assert list(awaited.missing(job, rendered)) == ["aside"]
    assert list(awaited.missing(job, rendered, by_file=True)) == ["second", "aside"]
    assert list(awaited.missing(job, all_done(asked), by_file=True)) == []
    assert awaited.words(job, {}) == "waits for second, which was never begun and 1 more"
    assert awaited.words(job, rendered) == "waits for aside, which is rendered"
    assert awaited.words(job, all_done(asked)) is None


def test_the_library_address_is_quoted_and_told_from_a_file() -> None:
    asset = holding.by_address("video_file_path", "a b&c=d/é", now=5.0)
    assert asset.file_path == "https://magichour.ai/my-library?videoId=a%20b%26c%3Dd%2F%C3%A9"
    assert holding.is_by_address(asset)
    assert not holding.is_by_address(Asset(field="x", file_path="api-assets/a.mp4", expires_at=1.0))
    local = holding.as_file(Output(path="r/a.mp4", bytes=3, sha256="ab"), "video_file_path")
    assert (local.path, local.size, local.sha256, local.media) == ("r/a.mp4", 3, "ab", "video")


@pytest.mark.parametrize(
    ("status", "message", "is_doubted"),
    [
        (422, "Unable to create", True),
        (404, "Not found", True),
        (400, "Invalid value for assets.video_file_path", True),
        (400, "Invalid URL", True),
        (400, "Invalid value for style.art_style", False),
        (402, "Out of credits", False),
        (429, "Too many", False),
        (500, "File", False),
    ],
)
def test_which_refusals_may_be_about_the_address(status: int, message: str, *, is_doubted: bool) -> None:
    asset = holding.by_address("video_file_path", "p", now=1.0)
    failure = Failure(code="x", message=message, status=status)
    assert holding.may_be_gone(failure, (asset,), now=1.0) is is_doubted


def test_records_from_before_there_were_chains_can_be_read() -> None:
    from batchrunner.core import record

    asked = specs_of()
    job = all_done(asked)["third"]
    assert record.job_from_text(record.job_to_text(job)) == job
    old = json.loads(record.job_to_text(done("aside", asked["aside"])))
    del old["spec"]["needs"]
    for each in old["spec"]["inputs"]:
        del each["job"], each["made_from"]
    assert record.job_from_text(json.dumps(old)) == done("aside", asked["aside"])
