"""A manifest written from its jobs reads back as those jobs; fields set by hand are checked as the manifest is."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st
import pytest

from batchrunner.core import config, edits, emit, expand, reader
from batchrunner.core.edits import Edit
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.includes import Around
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import Manifest
from batchrunner.errors import ManifestError, UsageError
from tests.core.case_text import CASES, CATALOG, facts, listing, parse, read_case

HEAD = """\
version: 1
name: night
output: x/{id}.mp4
limits: {in_flight: 3, per_kind: {image-to-video: 2}}
budget: {credits: 500, warn_at: 0.5, unpriced: allow}
defaults:
  image-to-video: {resolution: 720p}
jobs:
  - {id: a, kind: image-to-video, input: a.png, end_seconds: 5, model: kling-3.0}
"""


def resolved(text: str) -> tuple[ResolvedJob, ...]:
    read = parse(text, allow_unlisted=True)
    return expand.expand(read, files=facts(read))


def asked(jobs: tuple[ResolvedJob, ...]) -> list[tuple[Any, ...]]:
    return [(job.id, job.kind, job.request, job.inputs, job.seconds, job.tags, job.priority, job.hold) for job in jobs]


def written(jobs: tuple[ResolvedJob, ...], head: dict[str, Any] | None = None) -> str:
    return emit.text_of({"version": 1, **(head or {})}, [emit.values_of(job, path=str) for job in jobs])


def test_the_head_is_kept_as_it_stands() -> None:
    head = config.head(reader.opened(HEAD, source="m.yaml", catalog=CATALOG, around=Around()), name="m")
    assert head == {
        "version": 1,
        "name": "night",
        "output": "x/{id}.mp4",
        "limits": {"in_flight": 3, "per_kind": {"image-to-video": 2}},
        "budget": {"credits": 500, "warn_at": 0.5, "unpriced": "allow"},
    }
    old, new = parse(HEAD), parse(written(resolved(HEAD), head))
    assert (new.name, new.limits, new.budget) == (old.name, old.limits, old.budget)


@pytest.mark.parametrize("path", sorted(CASES.glob("ok-*.case")), ids=lambda path: path.stem)
def test_every_good_manifest_survives_being_written(path) -> None:
    case = read_case(path)
    read = parse(case.manifest, allow_unlisted=True, around=case.around())
    lying = listing(case.listing, expand.folders_of(read))
    jobs = expand.expand(read, files=facts(read, case.files), listing=lying)
    assert asked(resolved(written(jobs))) == asked(jobs)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    prompt=texts.filter(lambda text: "${" not in text),
    tags=st.lists(texts.filter(lambda text: "${" not in text), max_size=2),
    seconds=st.sampled_from([3, 5, 10]) | st.floats(0.5, 9).map(lambda x: round(x, 4)),
    hold=st.none() | st.integers(1, 9999),
    priority=st.integers(-1000, 1000),
)
def test_whatever_a_job_says_reads_back(prompt, tags, seconds, hold, priority) -> None:
    values: dict[str, Any] = {
        "id": "a",
        "kind": "video-to-video",
        "input": "clips/é [1] #2: x.mp4",
        "end_seconds": seconds,
        "style": {"art_style": "Ink", "prompt": prompt},
        "tags": tags,
        "priority": priority,
    }
    if hold is not None:
        values["hold"] = hold
    jobs = resolved(emit.text_of({"version": 1}, [values]))
    assert jobs[0].request["style"]["prompt"] == prompt
    assert list(jobs[0].tags) == tags
    assert asked(resolved(written(jobs))) == asked(jobs)


# --- fields that are set by hand -----------------------------------------------------------------------------------

(STILL,) = resolved(HEAD)
(CLIP,) = resolved(
    "version: 1\njobs: [{id: c, kind: video-to-video, input: a.mp4, end_seconds: 2, style: {art_style: Ink}}]\n"
)


def checked(job: ResolvedJob, *sets: str, **more: bool) -> Manifest:
    read = [edits.read(text, job) for text in sets]
    return edits.manifest_of(job, read, CATALOG, allow_unlisted=more.get("allow_unlisted", False))


@pytest.mark.parametrize(
    ("job", "sets", "fields"),
    [
        (STILL, (), {}),
        (STILL, ("end_seconds=8",), {"end_seconds": 8}),
        (STILL, ("style.prompt=slow push in",), {"style": {"prompt": "slow push in"}}),
        (STILL, ("style.prompt=a=b: {c} #d",), {"style": {"prompt": "a=b: {c} #d"}}),
        (STILL, ('style.prompt="5"',), {"style": {"prompt": "5"}}),
        (STILL, ("audio=true", "resolution=1080p"), {"audio": True, "resolution": "1080p"}),
        (STILL, ("input=b.png",), {"assets": {"image_file_path": "b.png"}}),
        (CLIP, ("style.art_style=Comic",), {"style": {"art_style": "Comic"}}),
        (CLIP, ("end_seconds=end",), {"end_seconds": "end"}),
        (CLIP, ("style.prompt=x", "style.prompt="), {}),
    ],
)
def test_a_field_is_set_and_the_others_stay(job, sets, fields) -> None:
    (entry,) = checked(job, *sets).jobs
    assert entry.fields == {**job.request, **fields}


def test_a_field_is_taken_away() -> None:
    (entry,) = checked(STILL, "resolution=").jobs
    assert "resolution" not in entry.fields
    assert "resolution" in STILL.request


@pytest.mark.parametrize(
    ("job", "sets", "said"),
    [
        (CLIP, ("style.art_style=Inc",), ['--set style.art_style=Inc:1:17: "Inc" is not a listed art_style']),
        (CLIP, ("style.prompt=5",), ["--set style.prompt=5:1:14: text is expected"]),
        (CLIP, ("end_seconds=-1", "style.art_style=Inc"), ["--set end_seconds=-1:1:13:", "--set style.art_style=Inc"]),
        (CLIP, ("style.nonsense=1",), ["--set style.nonsense=1:1:16: "]),
        (CLIP, ("end_seconds=",), ["--set end_seconds=:1:13: end_seconds is missing"]),
        (STILL, ("model=wan-2.2", "audio=true"), ["--set audio=true:1:7: wan-2.2 has no audio"]),
        (STILL, ("input=b.txt",), ["--set input=b.txt:1:7: .txt is not an image format"]),
    ],
)
def test_what_is_set_is_checked_and_told_at_its_place(job, sets, said) -> None:
    with pytest.raises(ManifestError) as caught:
        checked(job, *sets)
    told = str(caught.value).splitlines()
    assert len(told) == len(said)
    for line, words in zip(told, said, strict=True):
        assert words in line


def test_what_the_catalogue_does_not_know_may_be_let_through() -> None:
    assert checked(CLIP, "style.art_style=Newest", allow_unlisted=True).jobs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("style.prompt", "FIELD=VALUE"),
        ("=x", "FIELD=VALUE"),
        ("style..prompt=x", "FIELD=VALUE"),
        ("id=b", "the job's own"),
        ("output=b.mp4", "the job's own"),
        ("end_second=3", "no field end_second"),
    ],
)
def test_what_cannot_be_set(text, words) -> None:
    with pytest.raises(UsageError, match=words):
        edits.read(text, CLIP)


def test_a_value_is_read_as_yaml_reads_a_word() -> None:
    values = {
        text: edits.read(f"style.prompt={text}", STILL).value for text in ("5", "0.5", "true", "no", "", '"5"', '"')
    }
    assert values == {"5": 5, "0.5": 0.5, "true": True, "no": "no", "": None, '"5"': "5", '"': '"'}
    assert edits.read("input=x", CLIP) == Edit(text="input=x", path=("assets", "video_file_path"), value="x")
    assert CLIP.kind is Kind.VIDEO_TO_VIDEO


def test_what_is_beneath_a_plain_value_cannot_be_set() -> None:
    with pytest.raises(UsageError, match="no fields of its own"):
        checked(CLIP, "end_seconds.x=3")


def test_a_written_manifest_holds_nothing_that_could_steer_a_terminal() -> None:
    text = written(resolved(HEAD.replace("kling-3.0}", 'kling-3.0, style: {prompt: "\\e[2J\\u202e\\uFEFF"}}')))
    assert text.isascii()
    assert resolved(text)[0].request["style"] == {"prompt": "\x1b[2J\u202e\ufeff"}
