"""A state file on a disk that is full: told as that, and whole again as soon as there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import os
from pathlib import Path
import secrets
import subprocess

import pytest

from batchrunner import statecheck, statefile, store
from batchrunner.errors import Exit, StateDiskFull, StateUnusable
from tests.support.disks import mounted
from tests.test_store import a_history


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    with mounted(tmp_path / "disk", kilobytes=400) as disk:
        yield disk


def resize(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)


def open_run(path: Path) -> store.Store:
    return store.open_for_run(path, run_id=secrets.token_hex(6), now=1.0)


def fill(disk: Path, *, but: int = 0) -> None:
    """Take what is free, in the pages of the file system."""
    with (disk / "others").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(disk / "others", max(0, (disk / "others").stat().st_size - but))


def run_until_full(path: Path) -> None:
    with open_run(path) as opened:
        for number in range(1000):
            opened.note_fact(f"x{number}", "y" * 1000)


@pytest.mark.parametrize("free", [0, 4096, 20_000])
@pytest.mark.parametrize("when", ["before it begins", "while it runs"])
def test_a_disk_that_is_full_is_no_damage(disk, when, free):
    path = disk / "night.state.db"
    with open_run(path) as opened:
        opened.append_now(a_history())
    if when == "before it begins":
        fill(disk, but=free)
    with suppress(StateDiskFull), open_run(path) as opened:
        fill(disk, but=free)
        for number in range(1000):
            opened.note_fact(f"x{number}", "y" * 1000)
        pytest.fail("the disk was never full")
    with store.open_to_read(path) as view:
        assert view is not None
        assert len(list(view.events())) == len(a_history()), "it can be read on a full disk, too"
    assert not statecheck.examine(path)[0].is_log_lost
    resize(disk, 4000)
    with open_run(path) as opened:
        assert len(list(opened.events())) == len(a_history())
    assert statecheck.mend(path, now=50.0, copy=disk / "copy.db", also=list) is not None


@pytest.mark.parametrize("kilobytes", range(4, 160, 24))
def test_a_first_run_without_room_begins_when_there_is_some(disk, kilobytes):
    resize(disk, kilobytes)
    path = disk / "night.state.db"
    with pytest.raises(StateDiskFull, match="is full") as caught:
        run_until_full(path)
    assert caught.value.exit_code is Exit.INCOMPLETE
    assert "make room" in (caught.value.hint or "")
    resize(disk, 4000)
    open_run(path).close()


def test_a_log_stays_where_the_file_could_not_be_marked_as_closed(tmp_path):
    """Without it, the file would say that a run goes on and lack its log, as if that were lost."""
    path = tmp_path / "night.state.db"
    opened = open_run(path)
    opened.append_now(a_history())
    opened._db.execute("CREATE TRIGGER no BEFORE DELETE ON fact BEGIN SELECT RAISE(ABORT, 'no room'); END")
    opened.close()
    assert statefile.size_of(statefile.log_of(path))
    assert {each.name for each in tmp_path.iterdir()} == {f"{path.name}{end}" for end in ("", "-wal", ".lock")}
    with open_run(path) as again:
        assert len(list(again.events())) == len(a_history())


def test_what_is_no_want_of_room_is_not_called_one(tmp_path):
    path = tmp_path / "night.state.db"
    with open_run(path) as opened:
        opened.note_fact("a", "b")
        with pytest.raises(StateUnusable) as caught:
            opened.note_fact("a", "b")
    assert not isinstance(caught.value, StateDiskFull)
