"""The schema for editors against the reader: nothing refused that the reader takes, and little else let through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings, strategies as st
from jsonschema import Draft7Validator
import pytest
import yaml

from batchrunner.core import catalog as catalogue, jsonschema, manifest, yamltext
from batchrunner.core.kind import Kind
from batchrunner.core.problem import Problem
from batchrunner.errors import ManifestError
from tests.core.case_text import CASES, CATALOG, parse, read_case

EXAMPLES = sorted(Path(manifest.__file__).parents[2].joinpath("manifests").glob("*.yaml"))
SCHEMA = jsonschema.json_schema(CATALOG)
STRICT = Draft7Validator(SCHEMA)
LENIENT = Draft7Validator(jsonschema.json_schema(CATALOG, allow_unlisted=True))

# What only the reader can know: of YAML itself, of files, of defaults and jobs together, of the text of a value.
BEYOND = {
    "bad-chain-circle",
    "bad-chain-names",
    "bad-chain-unknown",
    "bad-complex-key",
    "bad-default-meets-job",
    "bad-duplicate-ids",
    "bad-duplicate-keys",
    "bad-duplicate-top",
    "bad-file-in-a-matrix",
    "bad-files",
    "bad-include-in-a-circle",
    "bad-included-file",
    "bad-included-paths",
    "bad-inputs",
    "bad-matrix-ids",
    "bad-matrix-keys-that-are-placeholders",
    "bad-matrix-too-large",
    "bad-merge",
    "bad-missing-in-image",
    "bad-missing-in-video",
    "bad-output-after-cleaning",
    "bad-output-collision",
    "bad-output-collision-over-files",
    "bad-output-is-input",
    "bad-prompts",
    "bad-templates",
    "bad-value-of-a-variable",
    "bad-var-for-nothing",
    "bad-variables",
    "bad-variables-as-lists-that-grow",
    "bad-variables-in-a-circle",
    "bad-variables-that-grow",
    "bad-window-of-no-time",
    "bad-youtube",
}

# What lies in a folder, what a pattern fits, and what a template comes to.
BEYOND |= {
    f"bad-folder-{name}"
    for name in (
        "and-matrix",
        "id-taken",
        "missing",
        "no-parent",
        "output-is-input",
        "outputs-collide",
        "patterns",
        "same-but-for-case",
        "same-stem",
        "templates",
        "unreadable",
    )
}


def values_in(text: str) -> Any:
    """What stands in a text; None where it is no YAML."""
    node = yamltext.document(text, source="m.yaml", report=lambda _: None)
    return yamltext.plain(node) if node is not None else None


def refused(values: Any, validator: Draft7Validator = STRICT) -> set[str]:
    """Where the schema refuses something, as the reader writes a path."""
    return {_path(error) for error in validator.iter_errors(values)}


def _path(error: Any) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)[1:]


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        parse(text)
    except ManifestError as error:
        return error.problems
    return ()


def test_it_is_a_schema_of_draft_07() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_manifests_fit(path: Path) -> None:
    assert refused(values_in(path.read_text(encoding="utf-8"))) == set()


@pytest.mark.parametrize("path", sorted(CASES.glob("[ow]*.case")), ids=lambda path: path.stem)
def test_every_good_case_fits(path: Path) -> None:
    case = read_case(path)
    validator = LENIENT if "allow_unlisted" in case.options else STRICT
    assert refused(values_in(case.manifest), validator) == set()


@pytest.mark.parametrize("path", sorted(CASES.glob("bad-*.case")), ids=lambda path: path.stem)
def test_every_bad_case_is_refused_unless_only_the_reader_can_know(path: Path) -> None:
    case = read_case(path)
    values = values_in(case.manifest)
    if values is None:
        return
    validator = LENIENT if "allow_unlisted" in case.options else STRICT
    assert bool(refused(values, validator)) == (path.stem not in BEYOND)


VIDEO = "id: a, kind: video-to-video, end_seconds: 5, input: a.mp4"
IMAGE = "id: a, kind: image-to-video, end_seconds: 5, input: a.png"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("version: 2", "version"),
        ("jobss: []", ""),
        ("limits: {in_flight: 0}", "limits.in_flight"),
        ("limits: {per_kind: {video: 1}}", "limits.per_kind"),
        ("budget: {cutoff: gentle}", "budget.cutoff"),
        ("budget: {per_model: {kling-3: 5}}", "budget.per_model"),
        ("webhooks: {host: localhost}", "webhooks"),
        ("retry: {upload: {for: 2 days}}", "retry.upload.for"),
        ("retry: {upload: {first_wait: 5000}}", "retry.upload.first_wait"),
        ("retry: {render: {file_too_large: 1}}", "retry.render.file_too_large"),
        ("output: renders/{id}.mov", "output"),
        ("defaults: {video: {}}", "defaults"),
        ("defaults: {video-to-video: {style: {art_style: Inc}}}", "defaults.video-to-video.style.art_style"),
        ("defaults: {image-to-video: {id: a}}", "defaults.image-to-video"),
        ("jobs: []", "jobs"),
        ("jobs: [a]", "jobs[0]"),
        ("jobs: [{id: a}]", "jobs[0]"),
        ("jobs: [{id: a, kind: video}]", "jobs[0].kind"),
        (f"jobs: [{{{VIDEO}, resolution: 720p}}]", "jobs[0]"),
        (f"jobs: [{{{IMAGE}, end_seconds: end}}]".replace("end_seconds: 5, ", ""), "jobs[0].end_seconds"),
        (f"jobs: [{{{VIDEO}, tags: one}}]", "jobs[0].tags"),
        (f"jobs: [{{{VIDEO}, priority: 2000}}]", "jobs[0].priority"),
        (f"jobs: [{{{VIDEO}, fps_resolution: half}}]", "jobs[0].fps_resolution"),
        (f"jobs: [{{{VIDEO}, assets: {{youtube_url: 'https://youtu.be/a'}}}}]", "jobs[0].assets"),
        (f"jobs: [{{{VIDEO}, style: {{art_style: Studio Ghibli, version: v1}}}}]", "jobs[0].style.version"),
        (f"jobs: [{{{IMAGE}, model: kling-4.0}}]", "jobs[0].model"),
        (f"jobs: [{{{IMAGE}, model: sora-2}}]", "jobs[0].end_seconds"),
        (f"jobs: [{{{IMAGE}, model: kling-3.0, resolution: 480p}}]", "jobs[0].resolution"),
        (f"jobs: [{{{IMAGE}, model: wan-2.2, audio: true}}]", "jobs[0].audio"),
        (
            f"jobs: [{{{IMAGE}, model: wan-2.2, assets: {{end_image_file_path: b.png}}}}]",
            "jobs[0].assets",
        ),
        (
            f"jobs: [{{{IMAGE}, model: kling-2.6, resolution: 720p, assets: {{end_image_file_path: b.png}}}}]",
            "jobs[0].resolution",
        ),
    ],
)
def test_one_slip_is_refused_at_its_place(text: str, where: str) -> None:
    good = {"version": 1, "jobs": [yaml.safe_load(f"{{{IMAGE}}}")]}
    assert refused(good) == set()
    assert refused(good | yaml.safe_load(text)) == {where}


def test_a_catalogue_of_ones_own_is_in_it() -> None:
    patch = catalogue.parse_catalog_patch("version: 1\nvideo_to_video: {art_styles: [Fresco]}\n", source="ours.yaml")
    corrected = Draft7Validator(jsonschema.json_schema(catalogue.merge(CATALOG, patch)))
    values = {"version": 1, "jobs": [yaml.safe_load(f"{{{VIDEO}, style: {{art_style: Fresco}}}}")]}
    assert refused(values) == {"jobs[0].style.art_style"}
    assert refused(values, corrected) == set()


def test_every_key_is_described() -> None:
    assert [path for path, schema in _keys(SCHEMA, "") if "description" not in schema] == []


def _keys(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every key that a person can write, except names of models, kinds and error codes; not the rules beside them."""
    for key, inner in schema.get("properties", {}).items():
        if not isinstance(inner, dict) or (path, key) in {("jobs", "id"), ("jobs", "kind")}:
            continue
        if not path.endswith(("per_model", "render")) and key not in {*Kind}:
            yield f"{path}.{key}", inner
        yield from _keys(inner, f"{path}.{key}")
    items = schema.get("items", {})
    if items:
        yield from (found for rule in items.get("allOf", ()) for found in _keys(rule["then"], path))


def test_defaults_are_those_that_hold() -> None:
    keys = SCHEMA["properties"]
    told = {name: each["default"] for name, each in keys["limits"]["properties"].items() if "default" in each}
    limits = parse(f"version: 1\njobs: [{{{IMAGE}}}]").limits
    assert told == {"in_flight": limits.in_flight, "uploads": limits.uploads, "downloads": limits.downloads}
    upload = {name: each["default"] for name, each in keys["retry"]["properties"]["upload"]["properties"].items()}
    assert upload == {"attempts": 8, "first_wait": 1, "longest_wait": 60, "for": 3600}
    assert keys["budget"]["properties"]["warn_at"]["default"] == 0.8
    assert keys["budget"]["properties"]["cutoff"]["default"] == "soft"


def test_editors_are_told_what_is_deprecated() -> None:
    image = SCHEMA["properties"]["defaults"]["properties"]["image-to-video"]["properties"]
    assert "resolution: 720p" in image["style"]["properties"]["high_quality"]["deprecationMessage"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("include: 5", "include"),
        ("env: HOME", "env"),
        ("defaults: {all: {modle: x}}", "defaults.all"),
        ("defaults: {all: {priority: high}}", "defaults.all.priority"),
        ("defaults: {tags: {night: {tags: [a]}}}", "defaults.tags.night"),
        (
            "defaults: {tags: {night: {image-to-video: {end_seconds: end}}}}",
            "defaults.tags.night.image-to-video.end_seconds",
        ),
        (f"jobs: [{{{IMAGE}, matrix: {{model: [kling-4.0]}}}}]", "jobs[0].matrix"),
        (f"jobs: [{{{IMAGE}, matrix: {{take: 1}}}}]", "jobs[0].matrix"),
        (f"jobs: [{{{IMAGE}, priority: 'x {{y}}'}}]", "jobs[0].priority"),
    ],
)
def test_one_slip_in_the_language_is_refused_at_its_place(text: str, where: str) -> None:
    good = {"version": 1, "jobs": [yaml.safe_load(f"{{{IMAGE}}}")]}
    assert refused(good | yaml.safe_load(text)) == {where}


@pytest.mark.parametrize(
    "text",
    [
        "limits: {in_flight: '${n}', per_kind: '${kinds}'}",
        "output: '${output}'",
        "defaults: {all: {end_seconds: end, model: kling-3.0, tags: '${tags}', style: {prompt: a, version: v2}}}",
        f"jobs: [{{{IMAGE}, model: '${{m}}', style: '${{s}}', priority: '${{p}}', height: '${{h}}'}}]",
        f"jobs: [{{{IMAGE}, matrix: {{model: [sora-2, '${{m}}'], end_seconds: '${{ends}}', take: [1, x]}}}}]",
        f"jobs: [{{{IMAGE}, matrix: [{{model: sora-2, end_seconds: [4, 8]}}]}}]",
        "{include: a.yaml, jobs: []}",
    ],
)
def test_the_language_is_taken(text: str) -> None:
    good = {"version": 1, "jobs": [yaml.safe_load(f"{{{IMAGE}}}")]}
    assert refused(good | yaml.safe_load(text)) == set()


# --- any values ------------------------------------------------------------------------------------------------------

ODD: list[Any] = [None, True, -1, 0, 1.5, "", "x", [], {}]


def some(*good: Any) -> st.SearchStrategy[Any]:
    """Mostly a good value, now and then one of another sort."""
    return st.sampled_from(good) | st.sampled_from(good) | st.sampled_from(good) | st.sampled_from([*good, *ODD])


def block(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    named = {key.replace("_to_", "-to-"): value for key, value in keys.items()}
    return st.fixed_dictionaries({}, optional=named)


shared: dict[str, st.SearchStrategy[Any]] = {
    "tags": some(["a"], ["a", "b"]),
    "priority": some(5, -1000),
    "output": some("{id}.mp4", "a/{stem}.mp4", "a.mov"),
    "hold": some(5),
    "height": some(5, None),
}
video_keys = shared | {
    "start_seconds": some(0, 1.5),
    "end_seconds": some(5, 2.5, "end", 70),
    "fps_resolution": some("FULL", "HALF", "half"),
    "style": block(
        art_style=some("Ink", "Studio Ghibli", "Inc"),
        version=some("v1", "v2", "default"),
        prompt_type=some("default", "custom"),
        prompt=some("a", None),
    ),
    "assets": block(
        video_source=some("file", "youtube"),
        video_file_path=some("a.mp4", "https://example.com/a.mp4"),
        youtube_url=some("https://youtu.be/abc"),
    ),
}
image_keys = shared | {
    "end_seconds": some(5, 8, 3.5, 59, 61),
    "model": st.sampled_from(CATALOG.model_names) | some("kling-4.0"),
    "resolution": some("480p", "720p", "1080p", "4k", "8k"),
    "audio": some(True, False),
    "style": block(prompt=some("a"), quality_mode=some("quick"), high_quality=some(True)),
    "assets": block(image_file_path=some("a.png"), end_image_file_path=some("b.png")),
}


def job(kind: Kind, keys: dict[str, st.SearchStrategy[Any]], given: str) -> st.SearchStrategy[dict[str, Any]]:
    """Most jobs have what a job needs; the rest is drawn."""
    art: dict[str, Any] = {"style": {"art_style": "Ink"}} if kind is Kind.VIDEO_TO_VIDEO else {}
    needed = {"id": "a", "kind": str(kind), "end_seconds": 5, "input": given, **art}
    drawn = st.fixed_dictionaries({}, optional=keys | {"input": some(given)})
    slip = st.dictionaries(st.sampled_from(["colour", "resolution", "kind"]), st.just("x"), max_size=1)
    return st.builds(lambda own, odd: needed | own | odd, drawn, slip | st.just({}) | st.just({}))


manifests = st.fixed_dictionaries(
    {
        "version": st.sampled_from([1, 1, 1, 1, 1, 0, "1"]),
        "jobs": st.one_of(
            job(Kind.VIDEO_TO_VIDEO, video_keys, "a.mp4"), job(Kind.IMAGE_TO_VIDEO, image_keys, "a.png")
        ).map(lambda one: [one]),
    },
    optional={
        "name": some("night"),
        "output": some("{id}.mp4"),
        "limits": block(in_flight=some(5), per_model=some({"anything": 5}), submits_per_minute=some(0.5, 5)),
        "budget": block(credits=some(5), usd=some(0.5), per_model=some({"veo3.1": 5}), unpriced=some("allow")),
        "retry": block(
            upload=block(attempts=some(5), first_wait=some("2s", 5, "1h30m", "2 days"), longest_wait=some("1m", 90)),
            render=some({"nsfw": 1}, {"invalid_x": 0}, {"file_too_large": 1}),
        ),
        "webhooks": block(port=some(80), host=some("localhost")),
        "defaults": block(video_to_video=block(**video_keys), image_to_video=block(**image_keys)),
    },
)

TOLD_BY_BOTH = {"unknown-key", "wrong-type", "unlisted"}


@settings(max_examples=400, deadline=None)
@given(manifests)
def test_the_schema_takes_what_the_reader_takes_and_refuses_slips_of_keys_types_and_words(values: Any) -> None:
    problems = problems_of(yaml.safe_dump(values))
    if not problems:
        assert refused(values) == set()
    elif TOLD_BY_BOTH & {problem.code for problem in problems}:
        assert refused(values) != set()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CATALOG.model_names), st.integers(1, 60), st.sampled_from(CATALOG.resolutions), st.data())
def test_a_model_may_what_the_reader_lets_it(name: str, seconds: int, resolution: str, data: st.DataObject) -> None:
    one = {"id": "a", "kind": "image-to-video", "end_seconds": seconds, "model": name, "resolution": resolution}
    assets = {"image_file_path": "a.png"} | data.draw(st.sampled_from([{}, {"end_image_file_path": "b.png"}]))
    values = {"version": 1, "jobs": [one | {"audio": data.draw(st.booleans()), "assets": assets}]}
    taken = not problems_of(yaml.safe_dump(values))
    # What the default model is, depends on the account: that is left to the reader.
    assert refused(values) == set() if taken else name == "default" or refused(values) != set()


def test_a_model_whose_seconds_have_gaps_lists_them() -> None:
    model = replace(CATALOG.models["kling-3.0"], name="m", durations=frozenset({5, 10}))
    made = Draft7Validator(jsonschema.json_schema(replace(CATALOG, models={"m": model})))
    for seconds, fits in ((5, True), (7, False), (10, True), (10.5, False)):
        values = {"version": 1, "jobs": [{"id": "a", "kind": "image-to-video", "end_seconds": seconds, "model": "m"}]}
        assert (refused(values, made) == set()) is fits
