"""What jobs of a matrix share that differ by keys of its own alone, and that each is as if it stood there alone."""

from typing import Any

import pytest

from batchrunner.core import expand, footage, reader
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.facts import Facts
from batchrunner.core.inputs import Inspected
from batchrunner.core.manifest import JobEntry, Manifest, first_of_each
from batchrunner.core.once import Once
from batchrunner.core.priced import Specs
from batchrunner.core.spec import Spec
from batchrunner.errors import ManifestError
from tests.core.case_text import CATALOG, facts, parse

JOB = """\
version: 1
jobs:
  - id: {id}
    kind: video-to-video
    input: clips/a.mp4
    style: {{art_style: Ink, version: v2}}
    end_seconds: {end}
    {more}
    matrix: {matrix}
"""

CLIP = Inspected(
    path="clips/a.mp4",
    size=10,
    modified_ns=1,
    sha256="a" * 64,
    facts=Facts(width=64, height=36, codec="h264", seconds=2.5, fps=24.0),
)


def text_of(matrix: str, *, job_id: str = "j-{take}", end: str = "1", more: str = "priority: 0") -> str:
    return JOB.format(id=f'"{job_id}"', end=end, more=more, matrix=matrix)


def read(matrix: str, **more: Any) -> Manifest:
    return parse(text_of(matrix, **more))


def told(entry: JobEntry) -> Any:
    """Everything of a job, with what has a part in its places."""
    places = [entry.place, *entry.places.values(), *(link.place for link in entry.links)]
    return entry, [place.via for place in places]


@pytest.mark.parametrize(
    ("matrix", "job_id", "more"),
    [
        ("{style.art_style: [Ink, Comic],\n      take: [%s]}", "j-{style.art_style}-{take}", "priority: 0"),
        ("{take: [%s],\n      end_seconds: [1, 2]}", "j-{end_seconds}-{take}", 'output: "{take}/{id}.mp4"'),
        ("{take: [%s],\n      seed: [1, 2]}", "{stem}-{kind}-{seed}-{take}", "tags: [x]"),
        ("[{take: [%s]},\n      {take: x, end_seconds: 2}]", "j-{end_seconds}-{take}", "hold: 5"),
        ("{take: [%s],\n      style.prompt: ['{a}', 'b/c']}", "j-{style.prompt}-{take}", "priority: 1"),
        ("{take: [%s],\n      end_seconds: [1, 2]}", "j-{end_seconds}-{take}", 'needs: "other-{take}"'),
        (
            "{take: [%s],\n      end_seconds: [1, 2]}",
            "j-{end_seconds}-{take}",
            'needs: ["{style.art_style}-{take}", z]',
        ),
    ],
)
def test_a_job_of_a_matrix_is_as_if_its_own_keys_had_no_other_value(matrix: str, job_id: str, more: str) -> None:
    """Each key stands on a line of its own, so that one's values move nothing else."""
    values = ["1", "b", "'x/y'", "'{z}'"]

    def jobs_with(takes: str) -> dict[str, Any]:
        opened = reader.opened(
            text_of(matrix % takes, job_id=job_id, more=more),
            source="m.yaml",
            catalog=CATALOG,
            around=reader.Around(),
        )
        return {each.entry.id: told(each.entry) for each in opened.reads()}

    alone: dict[str, Any] = {}
    for value in values:
        alone |= jobs_with(value)
    assert len(alone) >= len(values)
    assert jobs_with(", ".join(values)) == alone


def test_jobs_that_differ_by_keys_of_their_own_alone_share_what_they_ask_for() -> None:
    jobs = read("{take: [1, 2, 3], end_seconds: [1, 2]}", job_id="j-{end_seconds}-{take}").jobs
    assert [job.id for job in jobs] == ["j-1-1", "j-2-1", "j-1-2", "j-2-2", "j-1-3", "j-2-3"]
    assert [job.ask is jobs[0].ask for job in jobs] == [True, False, True, False, True, False]
    assert [job.id for job in first_of_each(jobs)] == ["j-1-1", "j-2-1"]


def test_jobs_made_from_several_renders_share_nothing() -> None:
    written = text_of("{take: [1, 2]}").replace("input: clips/a.mp4", 'input: {job: "s-{take}"}')
    sources = (
        "  - {id: 's-{n}', kind: video-to-video, input: clips/a.mp4, style: {art_style: Ink, version: v2},"
        " end_seconds: 1, matrix: {n: [1, 2]}}\n"
    )
    one, two, *_ = parse(written + sources).jobs
    assert one.ask is not two.ask
    assert [job.fields["assets"]["video_file_path"] for job in (one, two)] == [{"job": "s-1"}, {"job": "s-2"}]


def test_what_is_wrong_with_some_is_told_as_often_as_without_sharing() -> None:
    with pytest.raises(ManifestError) as caught:
        parse(
            text_of("{take: [1, 2, 3], end_seconds: [0.1, 1, 2]}", job_id="j-{end_seconds}", more="start_seconds: 0.5")
        )
    said = [(problem.code, problem.place.via, problem.hint) for problem in caught.value.problems]
    assert said == [
        ("duplicate-id", None, 'write id: "j-{end_seconds}-{take}"'),
        ("unknown-key", None, 'use it: id: "…-{take}"'),
        ("out-of-range", "with take=1, end_seconds=0.1", None),
    ]


def test_what_is_known_of_those_that_are_wrong_is_that_of_each() -> None:
    text = text_of(
        "{take: [1, 2, 3], end_seconds: [0.1, 1]}", job_id="j-{end_seconds}-{take}", more="start_seconds: 0.5"
    )
    reading = reader.read(text, source="m.yaml", name="m", catalog=CATALOG, around=reader.Around())
    assert [job.id for job in reading.manifest.jobs] == ["j-1-1", "j-1-2", "j-1-3"]
    assert [job.id for job in reading.left.jobs] == ["j-0.1-1", "j-0.1-2", "j-0.1-3"]
    assert {each.value for each in reading.left.files} == {"clips/a.mp4"}


def resolved(manifest: Manifest) -> tuple[ResolvedJob, ...]:
    return expand.expand(manifest, files=facts(manifest))


def test_the_end_of_a_clip_is_put_in_once_and_shared() -> None:
    jobs = resolved(read("{take: [1, 2]}", end="end", more="start_seconds: 0.5"))
    one, two = expand.with_ends(jobs, {"clips/a.mp4": CLIP})
    assert one.ask is two.ask
    assert (one.request["end_seconds"], one.seconds) == (2.5, 2.0)


def test_a_range_beyond_the_clip_is_told_once_for_all_that_share_it() -> None:
    jobs = resolved(read("{take: [1, 2], end_seconds: [1, 9]}", job_id="j-{end_seconds}-{take}"))
    with pytest.raises(ManifestError) as caught:
        footage.check(expand.with_ends(jobs, {"clips/a.mp4": CLIP}), {"clips/a.mp4": CLIP}, CATALOG, tier=None)
    assert [problem.code for problem in caught.value.problems] == ["beyond-clip"]


def test_specs_share_the_price_and_have_each_its_own_output_and_needs() -> None:
    text = text_of("{take: [1, 2]}", more='needs: "s-{take}"') + (
        "  - {id: 's-{n}', kind: video-to-video, input: clips/a.mp4, style: {art_style: Ink, version: v2},"
        " end_seconds: 1, matrix: {n: [1, 2]}}\n"
    )
    jobs = resolved(parse(text))
    assert jobs[0].ask is jobs[1].ask

    def specs_of(some: tuple[ResolvedJob, ...]) -> list[Spec]:
        specs = Specs({"clips/a.mp4": CLIP}, CATALOG, tier=None, history={})
        return [specs.of(job) for job in some]

    together = specs_of(jobs)
    assert together == [spec for job in jobs for spec in specs_of((job,))]
    assert [spec.needs for spec in together] == [("s-1",), ("s-2",), (), ()]
    assert [spec.output for spec in together] == [f"renders/{job.id}.mp4" for job in jobs]


def test_results_are_kept_by_the_very_value_they_are_of() -> None:
    worked: list[list[int]] = []
    known: Once[list[int], int] = Once()

    def total(value: list[int]) -> int:
        def work_out() -> int:
            worked.append(value)
            return sum(value)

        return known.of(value, work_out)

    values = [[1, 2], [1, 2], [3]]
    assert [total(value) for value in [*values, *values]] == [3, 3, 3, 3, 3, 3]
    assert worked == values, "equal ones each for itself, and each once"
    assert [total([number]) for number in range(1000)] == list(range(1000)), "none is taken for one that is gone"
