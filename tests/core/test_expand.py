import json
from typing import Any

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import expand, inputs, outputs
from batchrunner.core.facts import Facts
from batchrunner.core.folder import Found, Listing
from batchrunner.core.inputs import Inspected
from batchrunner.core.manifest import Manifest
from batchrunner.errors import ManifestError
from tests.core.case_text import facts, parse


def manifest_of(jobs: list[dict[str, Any]], **head: Any) -> Manifest:
    return parse(json.dumps({"version": 1, **head, "jobs": jobs}, ensure_ascii=False))


def image_job(job_id: str, path: str = "a.png", **more: Any) -> dict[str, Any]:
    return {"id": job_id, "kind": "image-to-video", "end_seconds": 5, "input": path, **more}


def test_only_local_files_are_asked_for() -> None:
    read = manifest_of(
        [
            image_job("a", "one.png", assets={"end_image_file_path": "two.png"}),
            image_job("b", "https://example.com/three.png"),
            image_job("c", "api-assets/x/four.png"),
            image_job("d", "one.png"),
        ]
    )
    assert expand.local_paths(read) == {"one.png", "two.png"}


def test_the_request_is_what_was_written() -> None:
    read = manifest_of([image_job("a", model="kling-3.0", style={"prompt": "x"})])
    job = expand.expand(read, files=facts(read))[0]
    assert job.request == {
        "end_seconds": 5,
        "model": "kling-3.0",
        "style": {"prompt": "x"},
        "assets": {"image_file_path": "a.png"},
    }
    assert type(job.request["end_seconds"]) is int
    assert job.inputs == (
        expand.Input(
            field="image_file_path", source=expand.Source.LOCAL, value="a.png", media="image", extension="png"
        ),
    )


def test_the_hash_of_a_request_knows_values_but_not_their_order() -> None:
    one = expand.request_hash({"a": 1, "b": {"c": "é", "d": None}})
    assert one == expand.request_hash({"b": {"d": None, "c": "é"}, "a": 1})
    assert one != expand.request_hash({"a": 2, "b": {"c": "é", "d": None}})
    assert len(one) == 64


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("renders/{id}.mp4", "renders/day/one.mp4"),
        ("{kind}/{index}.mp4", "image-to-video/1.mp4"),
        ("{stem}-{id}.mp4", "hero shot-day/one.mp4"),
        ("x/{id}/final.mp4", "x/day/one/final.mp4"),
    ],
)
def test_placeholders_stand_for_parts_of_the_job(template: str, expected: Any) -> None:
    read = manifest_of([image_job("day/one", "stills/hero shot.PNG")], output=template)
    assert expand.expand(read, files=facts(read))[0].output == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("nul", "_nul"),
        ("CON.x", "_CON.x"),
        ("com¹", "_com¹"),
        ("console", "console"),
        ('a<>:"|?*b', "a_______b"),
        ("a\x1fb", "a_b"),
        ("end. .", "end"),
        ("...", "_"),
        ("cafe\u0301", "café"),
        ("x" * 300 + ".mp4", "x" * 185 + "~"),
    ],
)
def test_every_part_of_an_output_is_safe_on_every_system(part: str, expected: Any) -> None:
    rendered = outputs.render("{id}", {"id": part})
    assert rendered.startswith(expected)
    assert len(rendered.encode()) <= outputs.MAX_COMPONENT_BYTES
    assert outputs.render("{id}", {"id": rendered}) == rendered


@given(st.text(alphabet="aZ0._- :é", min_size=1, max_size=8))
def test_a_name_is_mended_where_it_must_be_and_else_left_as_it_is(part: str) -> None:
    assert outputs.render("{stem}", {"stem": part}) == (part.replace(":", "_").rstrip(" .") or "_")


def test_names_that_are_cut_at_the_same_place_stay_different() -> None:
    one, two = (outputs.render("{id}", {"id": "x" * 300 + end + ".mp4"}) for end in "ab")
    assert one != two
    assert one.endswith(".mp4")


@pytest.mark.parametrize(
    ("path", "attempt", "taken", "name"),
    [
        ("renders/hero.mp4", 2, [], "renders/hero.2.mp4"),
        ("renders/hero.mp4", 3, ["renders/hero.2.mp4"], "renders/hero.3.mp4"),
        ("renders/hero.mp4", 2, ["renders/Hero.2.MP4", "renders/hero.3.mp4"], "renders/hero.4.mp4"),
        ("a.mp4.mp4", 2, [], "a.mp4.2.mp4"),
    ],
)
def test_another_attempt_lies_beside_the_first(path: str, attempt: int, taken: list[str], name: str) -> None:
    assert outputs.of_attempt(path, attempt, {outputs.collision_key(each) for each in taken}) == name


def test_a_stem_brings_no_folder_of_its_own() -> None:
    assert outputs.render("{stem}.mp4", {"stem": "../../x"}) == ".._.._x.mp4"


@pytest.mark.parametrize(
    ("value", "source", "stem"),
    [
        ("clips/a.b.png", inputs.Source.LOCAL, "a.b"),
        ("C:\\clips\\a.png", inputs.Source.LOCAL, "a"),
        ("video/1/x.png", inputs.Source.LOCAL, "x"),
        ("api-assets/1/x.png", inputs.Source.UPLOADED, "x"),
        ("saved-items/1/2/x.png", inputs.Source.UPLOADED, "x"),
        ("http://127.0.0.1:8/y/z.png?a=b.c#d", inputs.Source.URL, "z"),
        ("https://magichour.ai/my-library?imageId=7", inputs.Source.LIBRARY, "my-library"),
    ],
)
def test_an_input_is_known_by_how_it_is_written(value: str, source: inputs.Source, stem: str) -> None:
    read = inputs.read_input(value, field="image_file_path", media="image", extensions=("png",))
    assert read.source is source
    assert read.value == value
    assert inputs.stem_of(read) == stem


nasty = st.text(st.sampled_from("aAbB./ :?é\u0301ßs\\~{}"), min_size=1, max_size=5)


@given(
    st.lists(nasty, min_size=1, max_size=6), st.sampled_from(["{id}.mp4", "x/{id}.mp4", "{stem}.mp4", "{index}.mp4"])
)
def test_outputs_are_unique_and_inside_the_folder_or_refused(ids: list[str], template: str) -> None:
    try:
        read = manifest_of([image_job(job_id) for job_id in ids], output=template)
        jobs = expand.expand(read, files=facts(read))
    except ManifestError:
        return
    assert len({outputs.collision_key(job.id) for job in jobs}) == len(ids)
    assert len({outputs.collision_key(job.output) for job in jobs}) == len(ids)
    for job in jobs:
        parts = job.output.split("/")
        assert not {"", ".", ".."}.intersection(parts)
        assert not set('\\:*?"<>|').intersection(job.output)
        assert job.output.endswith(".mp4")


@given(st.permutations([image_job(letter, f"{letter}.png") for letter in "abcde"]))
def test_expansion_is_deterministic_and_each_job_stands_for_itself(jobs: list[dict[str, Any]]) -> None:
    read = manifest_of(jobs)
    once, again = (expand.expand(read, files=facts(read)) for _ in range(2))
    assert once == again
    assert {job.id: expand.request_hash(job.request) for job in once} == {
        letter: expand.request_hash({"end_seconds": 5, "assets": {"image_file_path": f"{letter}.png"}})
        for letter in "abcde"
    }


# --- the clip's own end --------------------------------------------------------------------------------------------


def clip_job(job_id: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "id": job_id,
        "kind": "video-to-video",
        "style": {"art_style": "Ink"},
        "input": "a.mp4",
        "end_seconds": "end",
        **more,
    }


def seen(seconds: float | None) -> dict[str, Inspected]:
    facts = Facts(width=640, height=360, codec="h264", seconds=seconds, fps=24.0)
    return {"a.mp4": Inspected(path="a.mp4", size=1, modified_ns=1, sha256="0" * 64, facts=facts)}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(2.5, 2.5), (1.001, 1.001), (2.9999, 2.999), (1 / 3, 0.333), (3600.0005, 3600.0), (0.0, 0.0), (1e-5, 0.0)],
)
def test_end_is_the_clips_own_rounded_down_to_milliseconds(seconds: float, expected: float) -> None:
    read = manifest_of([clip_job()])
    (job,) = expand.with_ends(expand.expand(read, files=facts(read)), seen(seconds))
    assert (job.request["end_seconds"], job.seconds) == (expected, expected)
    assert job.request["end_seconds"] <= seconds
    assert not job.ends_with_clip


@given(st.floats(min_value=0, max_value=1e6, allow_nan=False))
def test_end_is_never_beyond_the_clip(seconds: float) -> None:
    read = manifest_of([clip_job()])
    (job,) = expand.with_ends(expand.expand(read, files=facts(read)), seen(seconds))
    assert seconds - 0.0011 < job.request["end_seconds"] <= seconds


def test_end_counts_from_the_start() -> None:
    read = manifest_of([clip_job(start_seconds=0.5)])
    (job,) = expand.with_ends(expand.expand(read, files=facts(read)), seen(2.5))
    assert (job.request["start_seconds"], job.request["end_seconds"], job.seconds) == (0.5, 2.5, 2.0)


def test_other_jobs_stay_as_they_are() -> None:
    read = manifest_of([clip_job(end_seconds=2), image_job("b")])
    jobs = expand.expand(read, files=facts(read))
    assert expand.with_ends(jobs, seen(2.5)) == jobs


def test_seconds_and_assets_have_a_place() -> None:
    read = manifest_of([clip_job(), image_job("b")])
    clip, still = expand.expand(read, files=facts(read))
    assert set(clip.places) == {"video_file_path", "start_seconds", "end_seconds"}
    assert clip.places["start_seconds"] == clip.place
    assert set(still.places) == {"image_file_path"}


def written_job(job_id: str, path: str, output: str) -> dict[str, Any]:
    style = {"art_style": "Ink", "version": "v2"}
    return {"id": job_id, "kind": "video-to-video", "end_seconds": 1, "input": path, "output": output, "style": style}


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([("in.mp4", "out/a.mp4"), ("in.mp4", "file:///night/out/a.mp4")], "is also the output of"),
        ([("in.mp4", "file:///night/out/A.mp4"), ("in.mp4", "out/a.mp4")], "is also the output of"),
        ([("in.mp4", "out/a.mp4"), ("other.mp4", "file:///night/in.mp4")], "is the input"),
        ([("/night/in.mp4", "out/a.mp4"), ("other.mp4", "in.mp4")], "is the input"),
        ([("../clips/in.mp4", "out/a.mp4"), ("other.mp4", "file:///clips/in.mp4")], "is the input"),
        ([("file:///clips/in.mp4", "out/a.mp4"), ("other.mp4", "file:///clips/in.mp4")], "is the input"),
        ([("in.mp4", "out/a.mp4"), ("in.mp4", "file:///nights/out/a.mp4")], None),
        ([("in.mp4", "out/a.mp4"), ("in.mp4", "s3://bucket/night/out/a.mp4")], None),
    ],
)
def test_one_file_under_two_spellings_is_one(jobs: list[tuple[str, str]], said: str | None) -> None:
    read = manifest_of([written_job(f"job{number}", *each) for number, each in enumerate(jobs)])
    if said is None:
        assert len(expand.expand(read, files=facts(read), root="/night")) == 2
        return
    with pytest.raises(ManifestError, match=said):
        expand.expand(read, files=facts(read), root="/night")


def test_renders_are_no_inputs_under_another_spelling_of_their_folder() -> None:
    job = written_job("{stem}", "", "file:///night/clips/done/{id}.mp4") | {"input": {"glob": "clips/**/*.mp4"}}
    files = tuple(Found(path=path, size=1, modified_ns=0) for path in ("clips/a.mp4", "clips/done/a.mp4"))
    (made,) = expand.expand(manifest_of([job]), files={}, listing=Listing(files=files), root="/night")
    assert made.id == "a"
