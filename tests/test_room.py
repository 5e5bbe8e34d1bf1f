"""Whether there is room for a plan: on which disks, and when a run is refused."""

from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil

import pytest

from batchrunner import room
from batchrunner.core import events, job as machine
from batchrunner.core.kind import Kind
from batchrunner.core.plan import Do, Entry, Plan
from batchrunner.core.space import need_of
from batchrunner.core.spec import Spec
from batchrunner.errors import UsageError

SPEC = Spec(
    kind=Kind.IMAGE_TO_VIDEO,
    request=json.dumps({"resolution": "4k"}),
    inputs=(),
    output="not/there/yet/a.mp4",
    seconds=10,
    fingerprint="f",
)


def plan(*entries: tuple[Do, Spec | None, machine.Job | None]) -> Plan:
    return Plan(
        entries=tuple(
            Entry(id=str(number), kind=SPEC.kind, action=action, reason="", spec=spec, known=known)
            for number, (action, spec, known) in enumerate(entries)
        )
    )


def bought(spec: Spec) -> machine.Job:
    job = machine.advance(None, events.Opened(at=1, id="j", attempt=1, spec=spec))
    for event in (events.Uploaded(at=1, assets=()), events.SubmitStarted(at=1, name="n")):
        job = machine.advance(job, event)
    return machine.advance(job, events.Accepted(at=1, project_id="p", credits=1))


def test_what_is_to_come_is_added_up_by_disk(tmp_path: Path) -> None:
    made = plan((Do.RENDER, SPEC, None), (Do.RESUME, SPEC, bought(SPEC)), (Do.SKIP, SPEC, None), (Do.SKIP, None, None))
    [disk] = room.look(tmp_path, made)
    need = need_of(SPEC)
    assert (disk.folder, disk.least, disk.most) == (tmp_path, 2 * need.least, 2 * need.most)
    assert disk.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_another_disk_is_another_matter(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one disk")
    made = plan((Do.RENDER, SPEC, None), (Do.RENDER, replace(SPEC, output=f"{elsewhere}/a.mp4"), None))
    assert {disk.folder for disk in room.look(tmp_path, made)} == {tmp_path, elsewhere}


HUGE = replace(SPEC, seconds=1e12)


def test_what_surely_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"do not fit: .* has .* MB free, and they take at least .* MB"):
        room.refuse_if_too_small(tmp_path, plan((Do.RENDER, HUGE, None)))


@pytest.mark.parametrize("made", [plan((Do.RENDER, SPEC, None)), plan((Do.RESUME, None, bought(HUGE))), plan()])
def test_what_may_fit_or_is_bought_already_is_not(tmp_path: Path, made: Plan) -> None:
    room.refuse_if_too_small(tmp_path, made)


def in_the_way(place: Path, how: str) -> None:
    match how:
        case "a file":
            place.touch()
        case "a dead link":
            place.symlink_to("nowhere")
        case "not ours":
            place.mkdir(mode=0o500)


@pytest.mark.parametrize(
    ("how", "told"),
    [("a file", "is no folder"), ("a dead link", "is a link that leads nowhere"), ("not ours", "cannot be written")],
)
def test_nothing_is_bought_for_a_folder_that_takes_nothing(tmp_path: Path, how: str, told: str) -> None:
    if how == "not ours" and os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    in_the_way(tmp_path / "not", how)
    with pytest.raises(UsageError, match=f"no result can be put into .*not/there/yet: .*/not {told}"):
        room.refuse_if_closed(tmp_path, plan((Do.RENDER, SPEC, None)))
    # What is paid for is no matter of it: another folder may be open, and it can be collected later.
    other = replace(SPEC, output="open/a.mp4")
    room.refuse_if_closed(tmp_path, plan((Do.RENDER, other, None), (Do.RESUME, SPEC, bought(SPEC))))


def test_folders_that_are_there_or_can_be_made_take_results(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "not").symlink_to("real")
    for output in ("not/there/yet/a.mp4", "a.mp4", "new/a.mp4", f"file://{tmp_path}/b.mp4"):
        room.refuse_if_closed(tmp_path, plan((Do.RENDER, replace(SPEC, output=output), None)))
