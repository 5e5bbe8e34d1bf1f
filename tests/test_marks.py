"""How far state files have come, as it is noted apart from them."""

from __future__ import annotations

import os
from pathlib import Path
import secrets
import shutil
import stat

import pytest

from batchrunner import statecheck, statefile, store
from batchrunner.errors import StateUnusable
from batchrunner.marks import NOWHERE, Marks
from batchrunner.stateview import View
from tests.test_store import a_history


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "states")


def run_of(path: Path, marks: Marks, *, buys: bool = True) -> None:
    """A run that notes how far it comes."""
    with store.open_for_run(path, run_id=secrets.token_hex(6), now=1.0) as opened:
        marks.refuse_older(opened, now=2.0)
        marks.note(opened, at=2.0)
        if buys and not opened.jobs():
            opened.append_now(a_history())
        opened.end_run(at=9.0, exit_code=0)
        marks.note(opened, at=9.0)


def is_older(path: Path, marks: Marks) -> bool:
    return statecheck.examine(path, marks=marks)[0].is_older


def copied(path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name(f"copy of {path.name}")))


def put_back(copy: Path, path: Path) -> None:
    """As a person does, from a backup."""
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    shutil.copy(copy, path)


def test_a_copy_is_older_when_another_run_followed(tmp_path: Path, marks: Marks) -> None:
    path = tmp_path / "night.state.db"
    run_of(path, marks, buys=False)
    copy = copied(path)
    run_of(path, marks)
    newest = Path(shutil.copy(path, tmp_path / "newest"))
    assert not is_older(path, marks)
    put_back(copy, path)
    assert is_older(path, marks)
    with pytest.raises(StateUnusable, match="older copy"):
        run_of(path, marks)
    put_back(newest, path)
    assert not is_older(path, marks)
    run_of(path, marks)


def test_a_copy_in_another_place_is_a_batch_of_its_own(tmp_path: Path, marks: Marks) -> None:
    path = tmp_path / "night.state.db"
    run_of(path, marks, buys=False)
    copy = copied(path)
    for each in (path, copy, path, copy):
        run_of(each, marks)
        assert not is_older(path, marks)
        assert not is_older(copy, marks)


def test_a_copy_that_was_made_in_the_middle_of_the_last_run_is_older(tmp_path: Path, marks: Marks) -> None:
    path = tmp_path / "night.state.db"
    with store.open_for_run(path, run_id=secrets.token_hex(6), now=1.0) as opened:
        marks.note(opened, at=1.0)
        copy = copied(path)
        opened.append_now(a_history())
        marks.note(opened, at=9.0)
    assert not is_older(path, marks)
    put_back(copy, path)
    with statefile.connected_to_read(path) as connection:
        assert marks.ahead_of(View(path, connection)) is not None


def test_another_state_file_under_the_same_name_is_no_copy(tmp_path: Path, marks: Marks) -> None:
    path = tmp_path / "night.state.db"
    run_of(path, marks)
    for each in tmp_path.glob("night.*"):
        each.unlink()
    run_of(path, marks)
    assert not is_older(path, marks)


def test_an_older_copy_is_accepted_once_and_what_may_have_been_bought_is_noted(tmp_path: Path, marks: Marks) -> None:
    path = tmp_path / "night.state.db"
    run_of(path, marks, buys=False)
    copy = copied(path)
    run_of(path, marks)
    put_back(copy, path)
    told = statecheck.mend(
        path, now=50.0, copy=tmp_path / "kept.db", also=list, accepts_lost_log_of=["a", "new"], marks=marks
    )
    assert told is not None
    assert "another copy had come further" in told[0]
    assert not is_older(path, marks)
    with store.open_to_read(path) as view:
        assert view is not None
        lost = view.lost_log()
    assert lost is not None
    assert dict(lost.open) == {"a": 1, "new": 1}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 1}', '{"run": "x", "events": "many", "at": 0}', "[" * 9000])
def test_a_damaged_mark_refuses_nothing(tmp_path: Path, marks: Marks, text: str) -> None:
    path = tmp_path / "night.state.db"
    run_of(path, marks)
    (mark,) = (tmp_path / "states").iterdir()
    mark.write_text(text)
    assert not is_older(path, marks)
    run_of(path, marks)


def test_where_nothing_can_be_noted_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "night.state.db"
    (tmp_path / "file").touch()
    for marks in (NOWHERE, Marks(tmp_path / "file" / "states")):
        run_of(path, marks)
        assert not is_older(path, marks)


def test_nobody_else_may_read_a_mark(tmp_path: Path, marks: Marks) -> None:
    before = os.umask(0)
    try:
        run_of(tmp_path / "night.state.db", marks)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "states", *(tmp_path / "states").iterdir())]
    assert modes == [0o700, 0o600]
