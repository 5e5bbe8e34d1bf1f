from pathlib import Path
import re
from typing import Any

from hypothesis import example, given, settings, strategies as st
import pytest
import yaml

from batchrunner.core import expand, findings, manifest, reader
from batchrunner.core.problem import Problem, Severity
from batchrunner.errors import ManifestError
from tests.core.case_text import CASES, CATALOG, facts, listing, outcome, parse, read_case

EXAMPLES = Path(manifest.__file__).parents[2] / "manifests"


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        parse(text)
    return caught.value.problems


@pytest.mark.parametrize("path", sorted(CASES.glob("*.case")), ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = read_case(path)
    assert outcome(case) == case.expected


def test_there_are_enough_cases() -> None:
    assert len(list(CASES.glob("*.case"))) >= 115


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_manifests_are_valid(path: Path) -> None:
    read = reader.parse(path.read_text(encoding="utf-8"), source=path.name, name=path.stem, catalog=CATALOG)
    assert read.warnings == ()
    lying = listing("".join(f"{each.globs[0].partition('*')[0]}one.mp4\n" for each in expand.folders_of(read)))
    assert expand.expand(read, files=facts(read), listing=lying)


@pytest.mark.parametrize("style", CATALOG.art_styles)
def test_every_art_style_is_accepted(style: str) -> None:
    version = CATALOG.forced_versions.get(style, "default")
    text = yaml.safe_dump(
        {
            "version": 1,
            "jobs": [
                {
                    "id": "a",
                    "kind": "video-to-video",
                    "end_seconds": 5,
                    "input": "a.mp4",
                    "style": {"art_style": style, "version": version},
                }
            ],
        }
    )
    assert parse(text).jobs[0].fields["style"]["art_style"] == style


@pytest.mark.parametrize("name", CATALOG.model_names)
def test_every_model_is_accepted_with_all_it_can_do(name: str) -> None:
    jobs = []
    for model in CATALOG.possible_models(name)[-1:]:
        for resolution in model.resolutions:
            for seconds in sorted(model.durations):
                job = {"kind": "image-to-video", "end_seconds": seconds, "input": "a.png", "model": name}
                jobs.append({"id": f"{resolution}-{seconds}", "resolution": resolution, **job})
    assert jobs
    read = parse(yaml.safe_dump({"version": 1, "jobs": jobs}))
    assert len(read.jobs) == len(jobs)


def test_the_name_and_the_limits_have_defaults() -> None:
    read = reader.parse(
        "version: 1\njobs: [{id: a, kind: image-to-video, end_seconds: 5, input: a.png}]",
        source="x/night.yaml",
        name="night",
        catalog=CATALOG,
    )
    assert (read.name, read.source, read.version, read.output) == ("night", "x/night.yaml", 1, "renders/{id}.mp4")
    assert read.limits == manifest.Limits(in_flight=20, uploads=4, downloads=4)


def test_places_tell_where_the_inputs_stand() -> None:
    text = """\
version: 1
defaults:
  image-to-video: {assets: {end_image_file_path: end.png}}
jobs:
  - {id: a, kind: image-to-video, end_seconds: 5, input: a.png}
"""
    job = parse(text).jobs[0]
    assert str(job.place) == "m.yaml:5:5"
    assert {field: str(place) for field, place in job.places.items()} == {
        "image_file_path": "m.yaml:5:58",
        "end_image_file_path": "m.yaml:3:50",
    }


def test_all_problems_are_sorted_and_the_rest_is_counted() -> None:
    jobs = "".join(f"  - {{id: j{n}, kind: image-to-video, end_seconds: 5, input: a.pn{n}}}\n" for n in range(3000))
    problems = problems_of("version: 1\njobs:\n" + jobs)
    assert len(problems) == findings.SHOWN + 1
    assert [problem.place.line for problem in problems[:-1]] == list(range(3, 3 + findings.SHOWN))
    assert problems[-1].message == f"and {3000 - findings.SHOWN:,} more problems after this one"


def test_warnings_are_counted_too() -> None:
    jobs = "".join(
        f"  - {{id: j{n}, kind: image-to-video, end_seconds: 5, input: a.png, height: {n}}}\n" for n in range(300)
    )
    warnings = parse("version: 1\njobs:\n" + jobs).warnings
    assert len(warnings) == findings.SHOWN + 1
    assert {warning.severity for warning in warnings} == {Severity.WARNING}


@pytest.mark.parametrize(("text", "code"), [("version: 1\x00\n", "not-text"), ("version: \udce9\n", "not-text")])
def test_bytes_that_are_no_text_are_a_problem(text: str, code: str) -> None:
    assert [problem.code for problem in problems_of(text)] == [code]


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    text = "version: 1\njobs:\n  - id: a\n    kind: image-to-video\n    end_seconds: 5\n    input: a.png\n"
    assert parse("\ufeff" + text.replace("\n", "\r\n")) == parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 1\njobs: []\n", None),
        ("catalog: ours.yaml\njobs: []\n", "ours.yaml"),
        ("version: 1\njobs:\n  - {id: catalog}\ncatalog: ../ours.yaml\n", "../ours.yaml"),
        ("jobs:\n  - {id: a, catalog: x.yaml}\n", None),
        ("catalog: [a]\n", None),
        ("catalog: 5\n", None),
        ("catalog: {", None),
        ("- catalog: a\n", None),
        ("", None),
    ],
)
def test_the_catalogue_a_manifest_names_is_read_before_anything_else(text: str, expected: str | None) -> None:
    assert reader.catalog_of(text, source="m.yaml") == expected


def test_a_manifest_keeps_the_name_of_its_catalogue() -> None:
    job = "jobs: [{id: a, kind: image-to-video, end_seconds: 5, input: a.png}]\n"
    assert parse("version: 1\ncatalog: ours.yaml\n" + job).catalog == "ours.yaml"
    assert parse("version: 1\n" + job).catalog is None


# --- any text ------------------------------------------------------------------------------------------------------

VALID = """\
version: 1
name: night
output: renders/{id}.mp4
limits: {in_flight: 5}
defaults:
  video-to-video: &video {fps_resolution: HALF, style: {art_style: Ink, version: v2}}
jobs:
  - id: a
    kind: video-to-video
    tags: [x, y]
    start_seconds: 0
    end_seconds: 2.5
    assets: {video_source: file, video_file_path: clips/intro.mp4}
  - <<: *video
    id: b
    kind: video-to-video
    end_seconds: 5
    assets: {youtube_url: "https://youtu.be/abc"}
  - {id: c, kind: image-to-video, end_seconds: 5, model: kling-3.0, input: stills/hero.png}
"""


def problems_in(text: str) -> tuple[Problem, ...]:
    try:
        read = parse(text)
        expand.expand(read, files=facts(read))
    except ManifestError as error:
        return error.problems
    return read.warnings


def check_any(text: str) -> None:
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    for problem in problems_in(text):
        assert problem.message
        assert 1 <= problem.place.line <= len(lines)
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1


@given(st.text())
def test_any_text_is_a_manifest_or_explained(text: str) -> None:
    check_any(text)


@example(text="---")
@example(text="\n--- # nothing\n")
@given(st.text(st.sampled_from("ab:- \n\t\r&*<>{}[]\"'#!|%@`?,0\u2028\x85\\"), max_size=60))
def test_any_text_of_yaml_signs_is_a_manifest_or_explained(text: str) -> None:
    check_any(text)


@settings(max_examples=300)
@given(st.data())
def test_a_manifest_with_a_slip_is_a_manifest_or_explained(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(VALID)))
    end = data.draw(st.integers(start, min(len(VALID), start + 8)))
    put = data.draw(st.text(max_size=3) | st.sampled_from(["\n", "  ", ": ", "{", "]", "'", "null", "*video", "- "]))
    check_any(VALID[:start] + put + VALID[end:])


words = st.sampled_from(
    [
        "version",
        "name",
        "output",
        "limits",
        "defaults",
        "jobs",
        "id",
        "kind",
        "input",
        "tags",
        "priority",
        "start_seconds",
        "end_seconds",
        "style",
        "assets",
        "model",
        "resolution",
        "audio",
        "art_style",
        "prompt",
        "prompt_type",
        "video_source",
        "video_file_path",
        "youtube_url",
        "image_file_path",
        "in_flight",
        "video-to-video",
        "image-to-video",
        "default",
        "custom",
        "Ink",
        "file",
        "youtube",
        "a.mp4",
        "a.png",
        "720p",
        "kling-3.0",
        "{id}.mp4",
        "glob",
        "end",
    ]
)
values = st.recursive(
    words | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=6),
    max_leaves=20,
)
job_values = st.dictionaries(words, values, max_size=8)


@settings(max_examples=300)
@given(
    st.dictionaries(words, values, max_size=5), st.lists(job_values, max_size=3), st.sampled_from(["video", "image"])
)
def test_any_values_under_known_keys_are_a_manifest_or_explained(
    head: dict[str, Any], jobs: list[dict[str, Any]], kind: str
) -> None:
    tree = {**head, "version": 1, "jobs": [{"kind": f"{kind}-to-video", "id": "x", **job} for job in jobs]}
    check_any(yaml.safe_dump(tree, allow_unicode=True))
