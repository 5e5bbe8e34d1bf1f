"""What holds for any manifest: variables, matrices, templates, and the expanded manifest that reads as the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import json
import re
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from batchrunner.core import config, expand, findings, outputs, reader, templates, yamlout, yamltext
from batchrunner.core.manifest import Manifest
from batchrunner.core.problem import Place, Problem
from batchrunner.core.reader import Around
from batchrunner.core.variables import Variables
from batchrunner.errors import ManifestError
from tests.core.case_text import CATALOG, facts, fetching, parse

BREAK = "\r\n|[\n\r\x85\u2028\u2029]"
NOWHERE = Place(source="", line=1, column=1)


def dumped(tree: Any) -> str:
    """Return a tree as YAML; JSON is YAML, but for its way of writing characters beyond the first plane."""
    return json.dumps(tree, ensure_ascii=False)


def emitted(text: str, around: Around) -> str:
    opened = reader.opened(text, source="m.yaml", catalog=CATALOG, around=around)
    return "".join(f"{line}\n" for line in config.as_yaml(opened, name="m", origin=True))


def meaning(read: Manifest) -> Manifest:
    """Return a manifest without where things stand."""
    jobs = tuple(
        replace(
            job,
            ask=replace(job.ask, place=NOWHERE, places={}, path=""),
            links=tuple(replace(each, place=NOWHERE, path="") for each in job.links),
        )
        for job in read.jobs
    )
    return replace(read, source="", warnings=(), jobs=jobs)


# --- values and text -----------------------------------------------------------------------------------------------

safe_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | safe_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(safe_text, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(safe_text.filter(lambda key: key != "<<"), plain_values, min_size=1, max_size=4))
def test_what_is_written_reads_back_as_the_same_values(values: dict[str, Any]) -> None:
    text = "\n".join(yamlout.lines(values, lambda path: f"# {path}"))
    problems: list[Problem] = []
    node = yamltext.document(text, source="x", report=problems.append)
    assert problems == []
    assert node is not None
    assert yamltext.plain(node) == values


@given(st.text())
def test_an_escaped_text_is_a_template_for_itself(text: str) -> None:
    assert templates.fill(templates.escaped(text), lambda name: name) == text


@given(st.text(st.sampled_from("ab{}"), max_size=12))
def test_any_text_is_a_template_or_has_a_flaw(text: str) -> None:
    is_template = templates.flaw_of(text, what="bad-output") is None
    assert is_template == (templates.parts_of(text) is not None)
    if is_template:
        some = templates.fill_some(text, lambda name: "{x}" if name == "a" else None)
        assert templates.fill(some, lambda _: "-") == templates.fill(text, lambda name: "{x}" if name == "a" else "-")


# --- slips ---------------------------------------------------------------------------------------------------------

RICH = """\
version: 1
include: [shared.yaml]
env: [CITY]
vars: {look: Ink, ends: [5, 6], deep: {style: {version: v2}}, again: "${look}"}
output: renders/{kind}/{id}.mp4
limits: {in_flight: "${n:-3}"}
defaults:
  all: {priority: 1, tags: [night]}
  video-to-video: {style: {art_style: "${look}", version: v2}}
  tags:
    night: {end_seconds: 5, image-to-video: {model: kling-3.0}}
jobs:
  - id: a-{style.art_style}-{take}
    kind: video-to-video
    input: ${CITY}/a.mp4
    output: "{style.art_style}/{take}/{id}.mp4"
    end_seconds: 5
    matrix:
      style.art_style: [Ink, Comic]
      take: [1, 2]
      exclude: [{take: 1, style.art_style: Ink}]
  - &b
    id: b-{end_seconds}
    kind: image-to-video
    input: b.png
    style: {prompt: "$$5 ${CITY:?which city}"}
    matrix: [{end_seconds: "${ends}"}, {end_seconds: 8, model: veo3.1}]
  - {<<: *b, id: "{{c}}", matrix: {resolution: [720p]}}
"""
SHARED = "vars: {look: Comic}\ndefaults: {image-to-video: {end_seconds: 4}}\njobs: []\n"


def checked(text: str, shared: str) -> tuple[Problem, ...]:
    around = Around(environ={"CITY": "Rome"}, variables={}, fetch=fetching({"shared.yaml": shared}))
    try:
        reading = reader.read(text, source="m.yaml", name="m", catalog=CATALOG, around=around)
        files = facts(reading.manifest, "", reading.left)
        expand.expand(reading.manifest, files=files, left=reading.left, found=reading.found)
    except ManifestError as error:
        return error.problems
    for line in emitted(text, around).splitlines():
        assert line
    return reading.manifest.warnings


def test_the_rich_manifest_is_without_a_problem() -> None:
    assert checked(RICH, SHARED) == ()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_slip_is_explained_in_a_place_that_exists(data: st.DataObject) -> None:
    texts = [RICH, SHARED]
    at = data.draw(st.sampled_from([0, 0, 0, 1]))
    start = data.draw(st.integers(0, len(texts[at])))
    end = data.draw(st.integers(start, min(len(texts[at]), start + 8)))
    slips = [
        "\n",
        "  ",
        ": ",
        "{",
        "]",
        "${",
        "}",
        "$",
        "null",
        "*b",
        "- ",
        "[",
        "5",
        "a",
        "end",
        "shared.yaml",
        "<<: ",
    ]
    texts[at] = texts[at][:start] + data.draw(st.text(max_size=3) | st.sampled_from(slips)) + texts[at][end:]
    lines = {"m.yaml": re.split(BREAK, texts[0]), "shared.yaml": re.split(BREAK, texts[1])}
    for problem in checked(*texts):
        assert problem.message
        there = lines[problem.place.source]
        assert 1 <= problem.place.line <= len(there)
        assert 1 <= problem.place.column <= len(there[problem.place.line - 1]) + 1


# --- variables -----------------------------------------------------------------------------------------------------


def filled(text: str, **environ: str) -> tuple[Any, list[str]]:
    variables = Variables(source="m.yaml", environ=environ)
    node, refused = variables.fill(yamltext.ScalarNode(text, text, "m.yaml", 1, 1), "")
    return yamltext.plain(node), [each.problem.code for each in refused if each.problem is not None]


@given(st.text(st.sampled_from("ab$${}:-? "), max_size=16))
def test_any_text_is_filled_in_or_explained(text: str) -> None:
    value, codes = filled(text, a="one", b="two")
    assert len(codes) <= 1
    if not codes:
        assert "${a}" not in str(value)


@given(st.text())
def test_a_doubled_sign_is_the_sign_itself(text: str) -> None:
    assert filled(text.replace("$", "$$")) == (text, [])
    assert filled(yamlout.written(text)) == (text, [])


@given(st.text("abcxyz/\\\n", min_size=4, max_size=100), st.text(max_size=80), st.integers(20, 200))
def test_no_problem_shows_a_value_from_the_environment(secret: str, around: str, limit: int) -> None:
    secret = f"sk-{secret}"
    variables = Variables(source="m.yaml", environ={"KEY": secret})
    shown = variables.masked(f"{yamltext.quoted(secret + around, limit=limit)} {secret}{around}")
    if secret not in around:
        assert secret not in shown.replace(around, "")
        assert secret[: max(8, min(len(secret) - 1, limit - 1))] + "…" not in shown


def test_the_environment_is_seen_only_where_the_manifest_asks_for_it() -> None:
    text = dumped({"version": 1, "jobs": [{"id": "${HOME}", "kind": "image-to-video", "input": "a.png"}]})
    around = Around(environ={"HOME": "/home/somebody"})
    with pytest.raises(ManifestError) as caught:
        parse(text, around=around)
    assert "env: [HOME]" in str(caught.value)
    assert "somebody" not in str(caught.value)


# --- included files ------------------------------------------------------------------------------------------------


def test_files_inside_files_have_an_end() -> None:
    texts = {f"{n}.yaml": f"include: {n + 1}.yaml" for n in range(20)}
    with pytest.raises(ManifestError) as caught:
        parse("version: 1\ninclude: 0.yaml\njobs: []\n", around=Around(fetch=fetching(texts)))
    assert [problem.code for problem in caught.value.problems] == ["too-deep"]
    many = {f"{n}.yaml": "limits: {}" for n in range(200)}
    with pytest.raises(ManifestError) as caught:
        parse(dumped({"version": 1, "include": list(many), "jobs": []}), around=Around(fetch=fetching(many)))
    assert {problem.code for problem in caught.value.problems} == {"too-deep"}


def test_the_catalogue_may_be_named_by_a_variable() -> None:
    text = "version: 1\ncatalog: ${which}.yaml\nvars: {which: old}\njobs: []\n"
    assert reader.catalog_of(text, source="m.yaml") == "old.yaml"
    assert reader.catalog_of(text, source="m.yaml", around=Around(variables={"which": "new"})) == "new.yaml"
    assert reader.catalog_of(text.replace("which:", "other:"), source="m.yaml") is None


# --- a matrix ------------------------------------------------------------------------------------------------------

styles = st.lists(st.sampled_from(CATALOG.art_styles[:6]), min_size=1, max_size=4)
prompts = st.lists(safe_text.filter(str.strip), min_size=1, max_size=3)
axes: Mapping[str, st.SearchStrategy[list[Any]]] = {
    "style.art_style": styles,
    "style.prompt": prompts,
    "end_seconds": st.lists(st.sampled_from([5, 7.5, 9, "end"]), min_size=1, max_size=4),
    "start_seconds": st.lists(st.sampled_from([0, 1.5, 4]), min_size=1, max_size=3),
    "tags": st.lists(st.lists(st.sampled_from(["night", "day", "hero"]), max_size=2), min_size=1, max_size=3),
    "input": st.lists(st.sampled_from(["a.mp4", "b/c.mov", "https://youtu.be/x"]), min_size=1, max_size=3),
    "priority": st.lists(st.integers(-3, 3), min_size=1, max_size=3),
    "take": st.lists(st.integers(1, 3) | st.sampled_from(["x/y", "{z}", "no"]), min_size=1, max_size=4),
}
keys = st.lists(st.sampled_from(sorted(axes)), min_size=1, max_size=4, unique=True)
blocks = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-5, 5),
        "fps_resolution": st.sampled_from(["HALF", "FULL"]),
        "style": st.fixed_dictionaries({}, optional={"version": st.just("v2")}),
        "output": st.sampled_from(["{id}.mp4", "{{x}}/{kind}-{id}.mp4", "${v}/{style.art_style}/{id}.mp4"]),
        "hold": st.integers(1, 9),
    },
)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Return a manifest with a matrix, defaults in layers and variables, valid more often than not."""
    chosen = draw(keys)
    matrix = {key: draw(axes[key]) for key in chosen}
    placeholders = draw(st.lists(st.sampled_from([*chosen, "index", "stem", "kind"]), max_size=5, unique=True))
    job: dict[str, Any] = {
        "id": "-".join(["j", *(f"{{{name}}}" for name in placeholders)]),
        "kind": "video-to-video",
        "input": "${v}/a.mp4",
        "end_seconds": 10,
        "style": {"art_style": "Ink", "prompt_type": "custom", "prompt": "costs $$5 ${v}"},
        "matrix": matrix,
        **draw(blocks),
    }
    job["style"] = {"art_style": "Ink", "prompt_type": "custom", "prompt": "costs $$5 ${v}", **job["style"]}
    tags = {tag: draw(blocks) for tag in draw(st.lists(st.sampled_from(["night", "hero"]), unique=True))}
    return {
        "version": 1,
        "output": draw(st.sampled_from(["renders/{id}.mp4", "{index}.mp4", "{stem}.mp4"])),
        "vars": {"v": draw(st.sampled_from(["w", "$$", "1"]))},
        "limits": {"in_flight": draw(st.integers(1, 9))},
        "defaults": {"all": draw(blocks), "video-to-video": draw(blocks), "tags": tags},
        "jobs": [job, {**job, "id": "single", "matrix": {"take": [1]}, "output": "{take}{id}.mp4"}],
    }


@settings(max_examples=200, deadline=None)
@given(manifests())
def test_the_expanded_manifest_asks_for_the_same(tree: dict[str, Any]) -> None:
    text = dumped(tree)
    try:
        read = parse(text)
    except ManifestError:
        return
    again = emitted(text, Around())
    assert meaning(parse(again)) == meaning(read), again
    assert emitted(again, Around()).count("\n") == again.count("\n")


@settings(max_examples=200, deadline=None)
@given(manifests())
def test_ids_and_outputs_of_a_matrix_are_unique_or_refused(tree: dict[str, Any]) -> None:
    text = dumped(tree)
    try:
        read = parse(text)
        jobs = expand.expand(read, files=facts(read))
    except ManifestError:
        return
    assert jobs == expand.expand(parse(text), files=facts(read))
    assert len({outputs.collision_key(job.id) for job in jobs}) == len(jobs)
    assert len({outputs.collision_key(job.output) for job in jobs}) == len(jobs)


def test_most_of_the_drawn_manifests_are_valid_ones() -> None:
    """Else the two tests above would hold of nothing."""
    good = 0

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(manifests())
    def count(tree: dict[str, Any]) -> None:
        nonlocal good
        try:
            parse(dumped(tree))
        except ManifestError:
            return
        good += 1

    count()
    assert good > 10


def test_a_large_matrix_shares_what_its_jobs_have_in_common() -> None:
    takes = ", ".join(map(str, range(500)))
    read = parse(
        "version: 1\n"
        "jobs:\n"
        "  - id: a-{take}-{end_seconds}\n"
        "    kind: image-to-video\n"
        "    input: a.png\n"
        "    style: {prompt: x}\n"
        f"    matrix: {{end_seconds: [3, 4, 5, 6, 7, 8], take: [{takes}]}}\n"
    )
    assert len(read.jobs) == 3000
    assert len({id(job.fields["style"]) for job in read.jobs}) == 1
    assert {job.path for job in read.jobs} == {"jobs[0]"}


def test_a_matrix_with_one_wrong_value_is_not_told_a_thousand_times() -> None:
    takes = ", ".join(map(str, range(findings.SHOWN * 10)))
    with pytest.raises(ManifestError) as caught:
        parse(
            "version: 1\njobs:\n"
            "  - id: a-{take}-{end_seconds}\n    kind: image-to-video\n    input: a.png\n"
            f"    matrix: {{end_seconds: [5, 600], take: [{takes}]}}\n"
        )
    (problem,) = caught.value.problems
    assert (problem.place.line, problem.place.column, problem.place.via) == (6, 31, "with end_seconds=600, take=0")
