"""A state file that was damaged, moved, copied or cut short: told, mended where that is safe, never made worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
import os
from pathlib import Path
import secrets
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest

from batchrunner import statecheck, statefile, store
from batchrunner.core import events, job as machine
from batchrunner.core.lostlog import Lost
from batchrunner.errors import StateUnusable
from tests.test_store import a_history

KILLED = (
    "import os, signal, sys; from pathlib import Path; from batchrunner import store\n"
    "from tests.test_store import a_history\n"
    "held = store.open_for_run(Path(sys.argv[1]), run_id='r0', now=1.0)\n"
    "held.append_now(a_history()); os.kill(os.getpid(), signal.SIGKILL)"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file with one job of two attempts, left in good order."""
    path = tmp_path / "night.state.db"
    with open_run(path) as opened:
        opened.append_now(a_history())
        opened.end_run(at=9.0, exit_code=0)
    return path


@pytest.fixture
def cut_short(tmp_path: Path) -> Path:
    """A state file as a run that was killed leaves it."""
    path = tmp_path / "cut.state.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[1], check=False)
    assert statefile.size_of(statefile.log_of(path))
    return path


def open_run(path: Path) -> store.Store:
    return store.open_for_run(path, run_id=secrets.token_hex(6), now=1.0)


def mend(path: Path, *, accepts_lost_log_of: list[str] | None = None) -> list[str] | None:
    copy = path.with_name("copy.db")
    return statecheck.mend(path, now=50.0, copy=copy, also=list, accepts_lost_log_of=accepts_lost_log_of)


def count(path: Path) -> int:
    with store.open_to_read(path) as view:
        return len(list(view.events())) if view else 0


@contextmanager
def changed(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def an_empty_one(path: Path) -> None:
    path.write_bytes(b"")


def half_of_it(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def a_few_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def a_hole(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xa5" * 4096
    path.write_bytes(content)


def a_newer_one(path: Path) -> None:
    with changed(path) as db:
        db.execute("PRAGMA user_version = 99")


def another_programs(path: Path) -> None:
    path.unlink()
    with changed(path) as db:
        db.execute("CREATE TABLE mine (x)")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def only_its_log(path: Path) -> None:
    path.unlink()
    statefile.log_of(path).write_bytes(b"what was committed last")


DAMAGES = [an_empty_one, half_of_it, a_few_bytes, noise, a_hole, a_newer_one, another_programs, a_folder, only_its_log]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_whatever_stands_in_its_place_is_refused_with_advice_and_left_alone(path, damage: Callable[[Path], None]):
    damage(path)
    before = {each.name: each.read_bytes() for each in path.parent.iterdir() if each.is_file()}
    with pytest.raises(StateUnusable) as caught:
        open_run(path)
    assert caught.value.hint
    facts, _ = statecheck.examine(path)
    assert facts.refused or facts.damage
    if path.exists():
        with pytest.raises(StateUnusable):
            mend(path)
    after = {each.name: each.read_bytes() for each in path.parent.iterdir() if each.is_file()}
    assert {name: after.get(name) for name in before} == before


def test_a_file_in_good_order_has_nothing_to_mend(path):
    facts, attempts = statecheck.examine(path)
    assert (facts.damage, facts.differing, facts.is_locked, facts.exposed) == ([], (), False, [])
    assert [job.attempt for job in attempts] == [1, 2]
    assert facts.holder is not None
    assert facts.holder.has_ended
    assert mend(path) == []


def test_a_run_that_was_cut_short_is_noted_as_over_and_its_log_is_copied_back(cut_short):
    facts, _ = statecheck.examine(cut_short)
    assert facts.holder is not None
    assert not facts.holder.has_ended
    assert facts.log_bytes
    assert not facts.is_log_lost
    done = mend(cut_short)
    assert done is not None
    assert any("is over" in text for text in done)
    assert not statefile.size_of(statefile.log_of(cut_short))
    assert count(cut_short) == len(a_history())


def test_a_copy_without_its_log_is_refused_until_a_person_accepts_it(cut_short, tmp_path):
    """What stood only in the log were the last submissions; without them they would be paid for again."""
    alone = tmp_path / "alone.state.db"
    shutil.copy(cut_short, alone)
    for _ in range(2):  # a look at it leaves an empty log beside it
        with pytest.raises(StateUnusable, match="cut short") as caught, store.open_to_read(alone):
            pass
        assert "--accept-lost-log" in (caught.value.hint or "")
    with pytest.raises(StateUnusable, match="cut short"):
        open_run(alone)
    facts, _ = statecheck.examine(alone)
    assert facts.is_log_lost
    with pytest.raises(StateUnusable, match="cut short"):
        mend(alone)
    with pytest.raises(StateUnusable, match="cut short"):
        open_run(alone)
    assert "accepted" in "".join(mend(alone, accepts_lost_log_of=["a", "b"]) or [])
    assert mend(alone) == []
    with open_run(alone) as opened:
        assert opened.lost_log() == Lost(at=50.0, open={"a": 3, "b": 1}, flying={"a": 2})
    with open_run(cut_short) as whole:
        assert len(list(whole.events())) == len(a_history())


def test_a_lost_log_whose_file_cannot_be_judged_stays_lost(path):
    """What may have been bought is found in the events; where they cannot be read, nothing is accepted."""
    with changed(path) as db:
        db.execute("DROP TRIGGER event_is_never_changed")
        db.execute("UPDATE event SET body = '{}' WHERE seq = 1")
        db.execute("INSERT INTO fact (name, value) VALUES (?, 'r0')", (statefile.IN_USE,))
    for _ in range(2):
        with pytest.raises(StateUnusable, match=r"(?m)an event 'Opened' in it makes no sense \(field 'at'\), of 'a'$"):
            mend(path, accepts_lost_log_of=[])
        with pytest.raises(StateUnusable, match="cut short"):
            open_run(path)


def test_snapshots_that_are_not_what_the_log_comes_to_are_rebuilt_and_a_copy_is_kept(path):
    with changed(path) as db:
        db.execute("UPDATE job SET charged = 7, body = '{}' WHERE attempt = 2")
        db.execute("UPDATE job SET state = 'done' WHERE attempt = 1")
    facts, _ = statecheck.examine(path)
    assert list(facts.differing) == ["a"]
    done = mend(path)
    assert done is not None
    assert any("rebuilt" in text for text in done)
    assert statecheck.examine(path)[0].differing == ()
    with store.open_to_read(path) as view:
        assert view is not None
        assert view.totals() == store.Totals(held=480, charged=240, refunded=240)
    copy = path.with_name("copy.db")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with changed(copy) as db:
        assert db.execute("SELECT charged FROM job WHERE attempt = 2").fetchone() == (7,)


FORGETTINGS = {
    "a row that is gone": "DELETE FROM job WHERE attempt = 2",
    "every row that is gone": "DELETE FROM job",
    "a state": "UPDATE job SET state = 'ready' WHERE attempt = 2",
    "a body": "UPDATE job SET body = replace(body, '\"rendering\"', '\"ready\"') WHERE attempt = 2",
    "a project": "UPDATE job SET project_id = NULL WHERE attempt = 2",
    "the current attempt": "UPDATE job SET is_current = 0",
    "a row of before": "UPDATE job SET last_event = 7, checksum = checksum - 1 WHERE attempt = 2",
    "another attempt": "UPDATE job SET is_current = (attempt = 1)",
}


@pytest.mark.parametrize("statement", FORGETTINGS.values(), ids=FORGETTINGS)
def test_a_snapshot_that_forgot_what_the_log_tells_is_not_bought_by(path, statement):
    """Each of these can be read, and would be bought again."""
    with changed(path) as db:
        db.execute("DROP INDEX job_current")
        db.execute(statement)
    with pytest.raises(StateUnusable, match="is not what the log in it led to") as caught:
        open_run(path)
    assert "doctor MANIFEST --fix" in (caught.value.hint or "")
    with pytest.raises(StateUnusable, match="is not what the log in it led to"), store.open_to_read(path):
        pass
    assert statecheck.examine(path)[0].differing
    mend(path)
    with open_run(path) as opened:
        assert [job.project_id for job in opened.attempts("a")] == ["p1", "p2"]
        assert [job.attempt for job in opened.jobs()] == [2]


def test_damage_is_told_before_what_it_led_to(path: Path) -> None:
    """Both are looked for at the same time."""
    with changed(path) as db:
        db.execute("UPDATE job SET state = 'ready' WHERE attempt = 2")
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'baseline'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 16)
    with pytest.raises(StateUnusable, match="cannot be used") as caught:
        open_run(path)
    assert "is not what the log in it led to" not in str(caught.value)


def test_a_snapshot_that_is_written_over_and_over_stays_what_its_log_led_to(path):
    """Late news of an earlier attempt, an attempt that follows another, and many events at once."""
    with open_run(path) as opened:
        first, second = opened.attempts("a")
        corrected = events.Corrected(at=10, credits=7)
        rendered = events.Rendered(at=11, status="complete", credits=240)
        opened.append_now(
            [(corrected, machine.advance(first, corrected)), (rendered, machine.advance(second, rendered))]
        )
        opened.append_now(a_history_of("b"))
        opened.append_now([entry for name in ("c", "d") for entry in a_history_of(name)])
    open_run(path).close()
    assert statecheck.examine(path)[0].differing == ()


def a_history_of(job_id: str) -> list[store.Entry]:
    return [
        (replace(event, id=job_id) if isinstance(event, events.Opened) else event, replace(job, id=job_id))
        for event, job in a_history()
    ]


def test_nothing_is_touched_while_a_run_holds_it(path):
    path.chmod(0o644)
    with open_run(path):
        assert mend(path) is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert statecheck.examine(path)[0].is_locked
    mend(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0, 0o777])
def test_every_file_is_private_whatever_the_umask(tmp_path, umask):
    script = (
        "import os, sys; from pathlib import Path; from batchrunner import private, store\n"
        "os.umask(int(sys.argv[2])); folder = Path(sys.argv[1])\n"
        "opened = store.open_for_run(folder / 'n.state.db', run_id='r', now=1.0)\n"
        "opened.note_fact('a', 'b'); private.write(folder / 'plan.json', '{}')\n"
        "print(*(f'{each.name} {each.stat().st_mode & 0o777:o}' for each in folder.iterdir()), sep=chr(10))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(umask)], capture_output=True, text=True, check=True
    )
    modes = dict(line.split() for line in ended.stdout.splitlines())
    assert {"n.state.db", "n.state.db-wal", "n.state.db.lock", "plan.json"} <= modes.keys()
    assert set(modes.values()) == {"600"}


def test_a_file_that_is_moved_while_it_is_used_is_noticed_before_the_next_write(path):
    """What is written to a file without a name is found by nobody: the next submission would be on no record."""
    opened = open_run(path)
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(StateUnusable, match="moved or deleted"):
        opened.note_fact("a", "b")
    opened.close()
    assert not path.exists()


def test_a_missing_folder_is_not_made_anew(tmp_path):
    with pytest.raises(StateUnusable, match="does not exist"):
        open_run(tmp_path / "gone" / "night.state.db")
    assert not (tmp_path / "gone").exists()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as nobody can write to it: by its mode, or for root, whom no mode stops, by a mount."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    made = [["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,bind,ro", str(folder)]]
    for command in made:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            subprocess.run(["umount", str(folder)], capture_output=True, check=False)
            pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["in good order", "cut short", "without its index"])
def test_a_read_only_folder_can_be_read_from_and_not_run_in(tmp_path, kind, request):
    source = request.getfixturevalue("path" if kind == "in good order" else "cut_short")
    folder = tmp_path / "archive"
    folder.mkdir()
    for each in (source, statefile.log_of(source), statefile.index_of(source)):
        if each.exists() and not (kind == "without its index" and each == statefile.index_of(source)):
            shutil.copy(each, folder)
    there = folder / source.name
    with read_only(folder):
        assert count(there) == len(a_history())
        facts, attempts = statecheck.examine(there)
        assert (facts.refused, len(attempts)) == (None, 2)
        with pytest.raises(StateUnusable, match="cannot write beside") as caught:
            open_run(there)
        assert "writable" in (caught.value.hint or "")


# --- a log that is there, and is not whole ---

ONE_BY_ONE = KILLED.replace("held.append_now(a_history())", "[held.append_now([each]) for each in a_history()]")


def flipped(log: bytes, at: int) -> bytes:
    return log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda log: bytes(len(log)),
    "the header": lambda log: bytes(4) + log[4:],
    "cut behind the header": lambda log: log[:32],
    "cut to a third": lambda log: log[: len(log) // 3],
    "a bit of the first frame": lambda log: flipped(log, 100),
    "a bit in the middle": lambda log: flipped(log, len(log) // 2),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_paid_for_does_not_stand_in_the_log_alone(tmp_path: Path, damage: str) -> None:
    """SQLite takes a damaged log for a shorter one, and says nothing; what stood behind would be bought again."""
    path = tmp_path / "cut.state.db"
    subprocess.run([sys.executable, "-c", ONE_BY_ONE, str(path)], cwd=Path(__file__).parents[1], check=False)
    log = statefile.log_of(path)
    log.write_bytes(DAMAGE[damage](log.read_bytes()))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    try:
        with open_run(path) as opened:
            (job,) = opened.jobs()
    except StateUnusable:
        return  # told, and nothing is bought
    assert (job.attempt, job.project_id) == (2, "p2")
