from dataclasses import replace
from datetime import UTC, datetime
import json
import random
from typing import Any, get_args

from hypothesis import given, settings, strategies as st
import pytest

from batchrunner.core import expand, findings, folder, outputs
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.findings import Findings
from batchrunner.core.folder import Folder, Found, Listing
from batchrunner.core.problem import Place
from batchrunner.errors import ManifestError
from tests.core.case_text import parse

NS = 1_000_000_000


def manifest_text(**job: Any) -> str:
    entry = {
        "id": "{relpath}.{ext}",
        "kind": "video-to-video",
        "end_seconds": "end",
        "style": {"art_style": "Ink", "version": "v2"},
        "input": {"glob": "**/*"},
        **job,
    }
    return json.dumps({"version": 1, "jobs": [entry]}, ensure_ascii=False)


def jobs_of(text: str, *files: Found) -> tuple[ResolvedJob, ...]:
    return expand.expand(parse(text), files={}, listing=Listing(files=files))


def found(path: str, size: int = 1, modified_s: int = 0) -> Found:
    return Found(path=path, size=size, modified_ns=modified_s * NS)


NAMES = st.text(alphabet="aAbé\u0301\u00fc 12._-~'\"\n\t\u202e\\x:*?<>|{}$", min_size=1, max_size=9).filter(
    lambda name: name not in {".", ".."}
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/".join(names) + ".mp4")
FILES = st.lists(
    st.builds(found, PATHS, st.integers(0, 5), st.integers(0, 5)), max_size=12, unique_by=lambda each: each.path
)


@settings(max_examples=200, deadline=None)
@given(
    files=FILES,
    seed=st.integers(0, 99),
    sort=st.sampled_from(get_args(folder.Sort)),
    limit=st.none() | st.integers(1, 4),
    template=st.sampled_from(["{stem}", "{relpath}", "{relpath}.{ext}", "{name}-{date}", "{index}"]),
)
def test_jobs_are_the_same_whatever_the_order_of_the_listing_and_unique_or_refused(
    files: list[Found], seed: int, sort: str, limit: int | None, template: str
) -> None:
    given_input = {"glob": "**/*", "sort": sort} | ({"limit": limit} if limit else {})
    text = manifest_text(input=given_input, id=template)
    shuffled = random.Random(seed).sample(files, len(files))
    results: list[Any] = []
    for listed in (files, shuffled):
        try:
            results.append(jobs_of(text, *listed))
        except ManifestError as error:
            results.append(error.problems)
    assert results[0] == results[1]
    jobs = results[0]
    if jobs and isinstance(jobs[0], ResolvedJob):
        assert len({outputs.collision_key(job.id) for job in jobs}) == len(jobs)
        assert len({outputs.collision_key(job.output) for job in jobs}) == len(jobs)
        for job in jobs:
            assert job.file is not None
            assert job.request["assets"]["video_file_path"] == job.file.path == job.inputs[0].value
            assert 0 < len(job.id) <= 200
            assert job.id.isprintable()
            assert all(len(part.encode()) <= 255 for part in job.output.split("/"))
            assert ".." not in job.output.split("/")


@settings(max_examples=100, deadline=None)
@given(files=FILES, more=st.builds(found, PATHS, st.just(1), st.integers(0, 5)))
def test_a_new_file_never_changes_another_files_job(files: list[Found], more: Found) -> None:
    try:
        before = {job.file.path: job for job in jobs_of(manifest_text(), *files) if job.file}
        after = {job.file.path: job for job in jobs_of(manifest_text(), *files, more) if job.file}
    except ManifestError:
        return
    assert all(after.get(path, job) == job for path, job in before.items() if path != more.path)


def test_what_does_not_differ_is_shared_between_the_jobs_of_a_folder() -> None:
    one, two = jobs_of(manifest_text(), found("a.mp4"), found("b.mp4"))
    assert one.request["style"] is two.request["style"]
    assert one.places is two.places


def test_a_hundred_thousand_files_are_ordinary() -> None:
    files = tuple(found(f"day {number % 50}/clip {number}.mp4") for number in range(100_000))
    jobs = jobs_of(manifest_text(id="{relpath}"), *files)
    assert len(jobs) == 100_000
    assert [job.id for job in jobs[:2]] == ["day 0/clip 0", "day 0/clip 50"]
    assert jobs[-1].id == "day 49/clip 99999"


def test_many_files_of_one_name_are_told_as_a_few_problems() -> None:
    files = tuple(found(f"{number}/clip.mp4") for number in range(3000))
    with pytest.raises(ManifestError) as caught:
        jobs_of(manifest_text(id="{stem}"), *files)
    assert len(caught.value.problems) <= findings.SHOWN + 1


def test_an_asked_for_folder_of_renders_is_an_input_like_any_other() -> None:
    text = manifest_text(input={"glob": "renders/*.mp4"}, id="{stem}-twice", output="renders/{id}.mp4")
    assert [job.id for job in jobs_of(text, found("renders/a.mp4"))] == ["a-twice"]


def test_renders_that_lie_beside_their_clips_are_left_out_though_another_entry_makes_them() -> None:
    entry = json.loads(manifest_text(id="{stem}", output="{stem}-ink.mp4", input={"glob": "*.mp4"}))["jobs"][0]
    other = entry | {"id": "2-{stem}", "output": "{stem}-again.mp4"}
    text = json.dumps({"version": 1, "jobs": [entry, other]})
    files = [found(name) for name in ("a.mp4", "a-ink.mp4", "a-again.mp4")]
    told = Findings()
    jobs = expand.expand(parse(text), files={}, listing=Listing(files=tuple(files)), found=told)
    assert [job.id for job in jobs] == ["a", "2-a"]
    assert [each.code for each in told.warnings()] == ["own-output", "own-output"]


@pytest.mark.parametrize(
    ("text", "seconds_ago"),
    [("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604_800), ("1w", 604_800), ("2026-11-20", 86_400)],
)
def test_newer_than_is_an_age_or_a_date_of_this_place(text: str, seconds_ago: int) -> None:
    now = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp())
    moment = folder.moment(text, now_ns=now * NS, local=lambda each: each.replace(tzinfo=UTC).timestamp())
    assert now * NS - moment == seconds_ago * NS


def test_a_date_with_an_offset_is_that_moment_everywhere() -> None:
    moment = folder.moment("2026-11-01T18:00+02:00", now_ns=0, local=datetime.timestamp)
    assert moment == int(datetime(2026, 11, 1, 16, tzinfo=UTC).timestamp()) * NS


@pytest.mark.parametrize("text", ["", "7", "7x", "d", "-1d", "2026-13-01", "yesterday"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever datetime says
        folder.moment(text, now_ns=0, local=datetime.timestamp)


FOLDER = Folder(
    globs=("clips/*.mp4",),
    field="video_file_path",
    media="video",
    extensions=("mp4",),
    place=Place(source="m.yaml", line=1, column=1),
    path="jobs[0].input.glob",
)


def test_why_a_file_gives_no_job_any_more() -> None:
    growing = replace(found("clips/d.mp4"), is_growing=True)
    listing = Listing(files=(found("clips/b.mp4"), found("clips/c.mp4"), growing))
    paths = ["clips/a.mp4", "clips/b.mp4", "clips/c.mp4", "clips/d.mp4", "elsewhere.mp4"]
    assert folder.absences([FOLDER], listing, paths, frozenset({"clips/c.mp4"})) == {
        "clips/a.mp4": folder.GONE,
        "clips/b.mp4": folder.LEFT_OUT,
        "clips/c.mp4": folder.UNREADY,
        "clips/d.mp4": folder.UNREADY,
    }
