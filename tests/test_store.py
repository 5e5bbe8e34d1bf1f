"""The state file: durable, append-only, one writer, refused when it cannot be trusted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
import gc
import os
from pathlib import Path
import platform
import sqlite3
import subprocess
import sys
from tempfile import TemporaryDirectory
import threading

from filelock import FileLock
from hypothesis import given, settings
import pytest

from batchrunner import statefile, statelock, stateview, store
from batchrunner.core import events, job as machine
from batchrunner.core.assets import Key, Sent
from batchrunner.core.events import Event
from batchrunner.core.evidence import Baseline, Quiet, is_loose_elsewhere
from batchrunner.core.facts import Facts
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job, State
from batchrunner.core.retry import GiveUp
from batchrunner.errors import StateLocked, StateUnusable
from batchrunner.stateview import RunRecord
from tests.core.test_job import FAILURE, SPEC, histories, opened


def a_history() -> list[tuple[Event, Job]]:
    log: list[Event] = [
        opened(),
        events.Uploaded(at=2, assets=()),
        events.SubmitStarted(at=3, name="m/a [1-77]"),
        events.Accepted(at=4, project_id="p1", credits=240),
        events.RenderFailed(at=5, failure=FAILURE, credits=0, verdict=GiveUp()),
        events.Opened(at=6, id="a", attempt=2, spec=SPEC),
        events.Uploaded(at=7, assets=()),
        events.SubmitStarted(at=8, name="m/a [2-78]"),
        events.Accepted(at=9, project_id="p2", credits=240),
    ]
    entries = []
    job = None
    for event in log:
        job = machine.advance(job, event)
        entries.append((event, job))
    return entries


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.state.db"


def open_run(path: Path) -> store.Store:
    return store.open_for_run(path, run_id="r1", now=1.0)


def test_the_last_run_is_the_one_that_began_last_whatever_the_clock_said(path):
    store.open_for_run(path, run_id="before", now=8000.0).close()
    with store.open_for_run(path, run_id="after the clock was set back", now=1.0) as opened_store:
        found = opened_store.last_run()
        assert found is not None
        assert (found.id, found.is_going_on) == ("after the clock was set back", True)


def test_what_was_appended_is_there_after_reopening(path):
    entries = a_history()
    with open_run(path) as opened_store:
        for entry in entries:
            opened_store.append_now([entry])
    with store.open_to_read(path) as view:
        assert view is not None
        assert view.jobs() == [entries[-1][1]]
        assert [job.attempt for job in view.attempts("a")] == [1, 2]
        assert [event for _, _, event in view.events("a")] == [event for event, _ in entries]
        assert view.ledger() == 240
        assert view.totals() == store.Totals(held=480, charged=240, refunded=240)


@settings(max_examples=25)
@given(histories())
def test_what_is_unsettled_lacks_no_attempt_whose_charge_may_change(history):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "night.state.db"
        with open_run(path) as opened_store:
            job, entries = None, []
            for event in history:
                job = machine.advance(job, event)
                entries.append((event, job))
            opened_store.append_now(entries)
        with store.open_to_read(path) as view:
            assert view is not None
            loose = {job.attempt for job in view.all_attempts() if is_loose_elsewhere(job)}
            assert loose <= {job.attempt for job in view.unsettled()}


def test_a_job_that_somebody_holds_is_read_once_and_anew_when_it_changed(path):
    before, (_, after) = a_history()[:-1], a_history()[-1]
    with open_run(path) as opened_store:
        opened_store.append_now(before)
        (held,) = opened_store.jobs()
        with store.open_to_read(path) as view:
            assert view is not None
            assert view.jobs()[0] is held
            assert any(each is held for each in view.all_attempts())
        opened_store.append_now(a_history()[-1:])
        assert opened_store.jobs() == [after]
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE job SET body = 'x', checksum = checksum + 1 WHERE is_current = 1")
    with store.open_to_read(path, is_known=True) as view:
        assert view is not None
        with pytest.raises(StateUnusable, match="its jobs cannot be read"):
            view.jobs()


def test_a_row_that_is_damaged_meanwhile_leaves_no_reading_open(path):
    with open_run(path) as opened_store:
        opened_store.append_now([renamed(entry, name) for name in "abc" for entry in a_history()])
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE job SET body = 'x', checksum = checksum + 1 WHERE id = 'a'")
        other.close()
        with pytest.raises(StateUnusable, match="its jobs cannot be read") as kept:
            opened_store.jobs()
        opened_store.append_now([renamed(entry, "d") for entry in a_history()])
        del kept
    assert [each.name for each in path.parent.glob(f"{path.name}-*")] == [], "nothing is left of its log"


def test_jobs_come_in_the_order_in_which_they_were_first_opened_whoever_holds_them(path):
    names = ["c", "a", "d", "b"]
    lives = {name: [renamed(entry, name) for entry in a_history()] for name in names}
    with open_run(path) as opened_store:
        opened_store.append_now([entry for name in names for entry in lives[name][:1]])
        opened_store.append_now([entry for name in sorted(names) for entry in lives[name][1:]])
    with closing(sqlite3.connect(path)) as other, other:
        columns = "is_current, state, project_id, held, charged, updated_at, last_event, checksum"
        copied = 'replace(body, \'"id":"a"\', \'"id":"\' || ? || \'"\')'
        for stranger in "zy":  # the log knows nothing of these
            other.execute(
                f"INSERT INTO job (id, attempt, {columns}, body) SELECT ?, attempt, {columns}, {copied} FROM job"
                " WHERE id = 'a' AND is_current = 1",
                (stranger, stranger),
            )
    with store.open_to_read(path) as view:
        assert view is not None
        held = view.jobs()
        assert [job.id for job in held] == ["y", "z", *names]
        assert [job.id for job in view.jobs()] == ["y", "z", *names], "as they are held"
        assert [job.id for job in view.jobs_not_done()] == [job.id for job in held if job.state is not State.DONE]


def renamed(entry, name):
    event, job = entry
    return (replace(event, id=name) if isinstance(event, events.Opened) else event), replace(job, id=name)


def test_a_job_that_nobody_holds_is_not_kept(path):
    with open_run(path) as opened_store:
        opened_store.append_now(a_history())
        held = opened_store.all_attempts()
        mine = {key for key in stateview._READ if key[0] == str(opened_store.path)}
        assert len(mine) == len(held) == 2
        held.clear()
        gc.collect()
        assert not mine & set(stateview._READ)


def test_one_transaction_or_many_lead_to_the_same(path, tmp_path):
    entries = a_history()
    with open_run(path) as at_once:
        at_once.append_now(entries)
    with open_run(tmp_path / "b.state.db") as one_by_one:
        for entry in entries:
            one_by_one.append_now([entry])
        with store.open_to_read(path) as view:
            assert view is not None
            assert view.jobs() == one_by_one.jobs()
            assert view.attempts("a") == one_by_one.attempts("a")


def test_a_transaction_that_fails_leaves_nothing(path):
    with open_run(path) as opened_store:
        bad = a_history()[0]
        opened_store._db.execute("CREATE TRIGGER no BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'full'); END")
        with pytest.raises(StateUnusable, match="full"):
            opened_store.append_now([bad])
        assert list(opened_store.events()) == []


def test_the_log_can_neither_be_changed_nor_deleted(path):
    with open_run(path) as opened_store:
        opened_store.append_now(a_history())
    db = sqlite3.connect(path)
    for statement in ("UPDATE event SET body = '{}'", "DELETE FROM event"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    db.close()


def test_intents_are_synced_to_the_disk(path):
    with open_run(path) as opened_store:
        assert opened_store._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert opened_store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_run_is_refused_and_told_who_is_first(path):
    with open_run(path), pytest.raises(StateLocked, match="pid"):
        open_run(path)
    store.open_for_run(path, run_id="r2", now=2.0).close()


def test_a_run_begins_though_somebody_looks_in_that_very_moment(path, monkeypatch):
    monkeypatch.setattr(statelock, "LONGEST_LOOK_S", 30.0)
    looker = FileLock(statelock.lock_of(path), thread_local=False)
    looker.acquire()
    looked = threading.Timer(0.02, looker.release)
    looked.start()
    with open_run(path):
        assert statelock.is_locked(path)
    looked.join()


def test_the_lock_dies_with_its_owner(path):
    script = (
        "import os, signal, sys; from pathlib import Path; from batchrunner import store\n"
        "held = store.open_for_run(Path(sys.argv[1]), run_id='r0', now=1.0)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(StateLocked, match=f"pid {owner.pid}"):
            open_run(path)
        owner.kill()
    open_run(path).close()


def test_readers_are_welcome_while_a_run_writes(path):
    with open_run(path) as opened_store:
        opened_store.append_now(a_history()[:3])
        with store.open_to_read(path) as view:
            assert view is not None
            assert view.jobs()[0].state is machine.State.SUBMITTING
            opened_store.append_now(a_history()[3:4])
            assert view.jobs()[0].state is machine.State.RENDERING


def test_reading_changes_nothing_and_makes_nothing(path):
    with store.open_to_read(path) as view:
        assert view is None
    assert not path.exists()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_file_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(StateUnusable, match="cannot be used"):
        open_run(path)
    with pytest.raises(StateUnusable), store.open_to_read(path):
        pass
    assert path.read_bytes() == content


def test_a_snapshot_that_cannot_be_read_is_damage(path):
    with open_run(path) as opened_store:
        opened_store.append_now(a_history())
        opened_store._db.execute("UPDATE job SET body = '{}'")
        with pytest.raises(StateUnusable, match=r"(?m)a job in it makes no sense \(field 'id'\)$"):
            opened_store.jobs()


def test_text_that_is_none_is_told_in_words(path):
    with open_run(path) as opened_store:
        opened_store._db.execute("INSERT INTO fact VALUES ('account', CAST(x'ff6e' AS TEXT))")
        with pytest.raises(StateUnusable, match=r"(?m)it holds text that cannot be read$"):
            opened_store.fact("account")


def test_a_file_of_a_newer_version_is_refused(path):
    open_run(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StateUnusable, match="newer version"):
        open_run(path)


def test_a_database_of_another_program_is_refused(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(StateUnusable, match="another program"):
        open_run(path)


def test_an_empty_file_is_damage_and_its_log_is_left_alone(path):
    """SQLite would delete the log beside an empty file, and with it the last submissions."""
    path.touch()
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(b"what was committed last")
    with pytest.raises(StateUnusable, match="empty"), store.open_to_read(path):
        pass
    with pytest.raises(StateUnusable, match="empty"):
        open_run(path)
    assert log.read_bytes() == b"what was committed last"


def test_migrations_are_numbered_without_gaps():
    folder = Path(store.__file__).parent / "data" / "migrations"
    numbers = [int(script.name[:4]) for script in sorted(folder.glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(statefile.migrations()) == len(numbers)


def test_baselines_and_files_are_remembered(path):
    facts = Facts(width=3, height=2, codec="h264", seconds=1.5, fps=24.0)
    record = Inspected(path="a.mp4", size=3, modified_ns=7, sha256="aa", facts=facts)
    with open_run(path) as opened_store:
        assert opened_store.baseline() is None
        assert not opened_store.balance_moves()
        opened_store.append_now([], quiet=Quiet(baseline=Baseline(at=1, credits=10, ledger=0), moves=False))
        opened_store.append_now([], quiet=Quiet(baseline=Baseline(at=2, credits=20, ledger=5), moves=True))
        opened_store.remember_files([record])
    with store.open_to_read(path) as view:
        assert view is not None
        assert view.baseline() == Baseline(at=2, credits=20, ledger=5)
        assert view.balance_moves()
        assert view.files() == {"a.mp4": record}


def test_a_folder_that_cannot_be_written_is_an_error_of_its_own(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StateUnusable, match="folder of the state file"):
        store.open_for_run(blocked / "x.state.db", run_id="r", now=1.0)


KILLED_WHILE_CREATING = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("CREATE TABLE half (made TEXT)")
db.executemany("INSERT INTO half VALUES (?)", [("x" * 3000,)] * 100)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_creation_that_was_killed_half_way_is_taken_back(tmp_path):
    path = tmp_path / "m.state.db"
    unfinished = tmp_path / "m.state.db.new"
    subprocess.run([sys.executable, "-c", KILLED_WHILE_CREATING, str(unfinished)], check=False)
    assert unfinished.with_name("m.state.db.new-journal").exists()
    with store.open_to_read(path) as view:
        assert view is None
    with store.open_for_run(path, run_id="r", now=1.0) as opened_store:
        assert opened_store.jobs() == []
    assert not list(tmp_path.glob("*.new*"))


async def test_uploads_are_on_disk_with_what_is_written_next(tmp_path: Path):
    path = tmp_path / "m.state.db"
    keys = [Key(sha256=str(number), media="video", extension="mp4") for number in range(20)]
    with store.open_for_run(path, run_id="r", now=1.0) as opened_store:
        statements: list[str] = []
        opened_store._db.set_trace_callback(statements.append)
        event = opened()
        job = machine.advance(None, event)
        for key in keys[:10]:
            opened_store.note_upload(key, SENT)
        assert opened_store.uploads() == {}
        await opened_store.append([(event, job)])
        assert opened_store.uploads().keys() == set(keys[:10])
        await opened_store.settle()
        assert statements.count("BEGIN IMMEDIATE") == 1
        opened_store.note_upload(keys[10], SENT)
        await opened_store.settle()
        assert opened_store.uploads().keys() == set(keys[:11])
        opened_store.note_upload(keys[11], SENT)
    with store.open_to_read(path) as view:
        assert view is not None
        assert view.uploads().keys() == set(keys[:12])
        assert [each.id for each in view.jobs()] == [job.id]


async def test_an_upload_is_not_lost_with_the_transaction_that_took_it_along(tmp_path: Path):
    path = tmp_path / "m.state.db"
    with store.open_for_run(path, run_id="r", now=1.0) as opened_store:
        event = opened()
        job = machine.advance(None, event)
        key = Key(sha256="0", media="video", extension="mp4")
        await opened_store.append([(event, job)])
        opened_store._db.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON main.event BEGIN SELECT raise(ABORT, 'no room'); END"
        )
        opened_store.note_upload(key, SENT)
        with pytest.raises(StateUnusable):
            await opened_store.append([(event, job)])
        assert opened_store.uploads() == {}
        await opened_store.settle()
        assert opened_store.uploads().keys() == {key}


def test_what_cannot_be_noted_at_the_end_does_not_keep_the_file_from_being_closed(tmp_path: Path):
    path = tmp_path / "m.state.db"
    with store.open_for_run(path, run_id="r", now=1.0) as opened_store:
        opened_store._db.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON main.upload BEGIN SELECT raise(ABORT, 'no room'); END"
        )
        opened_store.note_upload(Key(sha256="0", media="video", extension="mp4"), SENT)
    with store.open_for_run(path, run_id="s", now=2.0) as opened_store:
        assert opened_store.uploads() == {}


SENT = Sent(file_path="api-assets/a.mp4", sent_at=1.0)


def test_a_history_that_is_read_while_a_run_goes_on_is_of_one_moment(path):
    *_, (_, job) = entries = a_history()
    with open_run(path) as opened_store:
        opened_store.append_now(entries)

        def go_on(statement: str) -> None:
            nonlocal job
            if "FROM event" in statement:
                event = events.Looked(at=job.updated_at + 1, status=f"at {job.updated_at}", credits=240)
                job = machine.advance(job, event)
                opened_store.append_now([(event, job)])

        with store.open_to_read(path, is_known=True) as view:
            assert view is not None
            view._db.set_trace_callback(go_on)
            told = [(run, event) for run, event, _ in view.history("a")]
    assert told[:-1] == [("r1", event) for event, _ in entries]
    assert isinstance(told[-1][1], events.Looked)


def test_a_history_that_cannot_have_happened_is_a_damaged_file(path):
    with open_run(path) as opened_store:
        opened_store.append_now([a_history()[0], a_history()[2]])
        with pytest.raises(StateUnusable, match="cannot have happened"):
            list(opened_store.history("a"))


def a_record(*, pid: int, host: str | None = None, ended_at: float | None = None) -> RunRecord:
    return RunRecord(id="r1", started_at=1.0, ended_at=ended_at, pid=pid, host=host or platform.node())


def test_whether_a_run_goes_on_is_told_by_its_process_where_that_can_be_seen():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert (a_record(pid=os.getpid()).is_alive, a_record(pid=os.getpid()).is_going_on) == (True, True)
    assert (a_record(pid=gone.pid).is_alive, a_record(pid=gone.pid).is_going_on) == (False, False)
    assert (a_record(pid=gone.pid, host="there").is_alive, a_record(pid=gone.pid, host="there").is_going_on) == (
        None,
        True,
    )
    assert not a_record(pid=os.getpid(), ended_at=2.0).is_going_on


def test_a_number_that_no_process_can_have_is_of_no_run_that_goes_on():
    assert not a_record(pid=2**60).is_going_on
