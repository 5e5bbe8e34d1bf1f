"""State files with bytes changed at random: everything is read, or refused with an error of ours; never a write."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, suppress
import json
from pathlib import Path
import random
import sqlite3

import pytest

from batchrunner import statecheck, statefile, stateview, store
from batchrunner.core import pace
from batchrunner.core.assets import Key, Sent
from batchrunner.core.evidence import Baseline, Quiet
from batchrunner.core.facts import Facts
from batchrunner.core.inputs import Inspected
from batchrunner.errors import BatchrunnerError, StateUnusable
from tests.test_store import a_history

FACTS = Facts(width=640, height=360, codec="h264")

TRIES = 150
"""For each seed; each takes some milliseconds."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file with something in every table."""
    path = tmp_path / "night.state.db"
    with store.open_for_run(path, run_id="r1", now=1.0) as opened:
        opened.append_now(a_history())
        opened.note_fact("provider", "sandbox")
        opened.append_now([], quiet=Quiet(baseline=Baseline(at=1, credits=1_000, ledger=0), moves=True))
        opened.remember_files([Inspected(path="/in/a.mp4", size=7, modified_ns=8, sha256="ab" * 32, facts=FACTS)])
        opened._learn("pace", json.dumps({"at": 1.0, "in_flight": 3.0, "per_minute": 9.0}))
        key = Key(sha256="ab" * 32, media="video", extension="mp4")
        with opened._transaction() as db:
            values = (key.sha256, key.media, key.extension, "api-assets/x", 1.0)
            db.execute(
                "INSERT INTO upload (sha256, media, extension, file_path, sent_at) VALUES (?, ?, ?, ?, ?)", values
            )
        assert opened.uploads() == {key: Sent(file_path="api-assets/x", sent_at=1.0)}
        opened.end_run(at=9.0, exit_code=0)
    return path


def read_all(view: stateview.View) -> None:
    """Everything that a command asks a state file for."""
    view.jobs(), view.all_attempts(), view.attempts("a")
    view.finished(), view.earlier(), view.jobs_not_done("a")
    list(view.events()), view.book()
    view.ledger(), view.totals(), view.baselines(), view.baseline(), view.balance_moves()
    view.fact("account"), view.last_run(), view.files(), view.uploads(), view.learned("pauses")
    pace.from_learned(view.learned("pace"), most_in_flight=20, most_per_minute=None, now=2.0)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with a few bytes, or a few runs of bytes, that are others."""
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 8)):
        at = chance.choice([chance.randrange(len(changed)), chance.randrange(100), chance.randrange(4096)])
        length = 1 if chance.random() < 0.7 else chance.randrange(1, 200)
        changed[at : at + length] = chance.randbytes(len(changed[at : at + length]))
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_of_any_kind_are_read_or_refused_and_never_written_to(path, seed):
    chance = random.Random(seed)
    good = path.read_bytes()
    came_of_it: Counter[str] = Counter()
    for _ in range(TRIES):
        for each in path.parent.iterdir():
            each.unlink()
        path.write_bytes(damaged(good, chance))
        bad = path.read_bytes()
        if chance.random() < 0.2:
            statefile.log_of(path).write_bytes(chance.randbytes(chance.choice([1, 32, 5_000])))
        statecheck.examine(path)
        try:
            with store.open_to_read(path) as view:
                assert view is not None
                read_all(view)
            came_of_it["read"] += 1
        except BatchrunnerError:
            came_of_it["refused"] += 1
        assert path.read_bytes() == bad
        _open_and_read(path, bad)
    assert came_of_it["read"] > TRIES // 10
    assert came_of_it["refused"] > TRIES // 10


def _open_and_read(path: Path, bad: bytes) -> None:
    """As a run does; what is refused is left as it is."""
    try:
        opened = store.open_for_run(path, run_id="r2", now=2.0)
    except BatchrunnerError:
        assert path.read_bytes() == bad
        return
    with opened, suppress(BatchrunnerError):
        read_all(opened)


def _book(path: Path) -> None:
    with store.open_to_read(path) as view:
        assert view is not None
        view.book()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)


@pytest.mark.parametrize("facts", ['{"width": "x"}', "[]", "", "[" * 50_000])
def test_what_was_remembered_of_a_file_and_cannot_be_read_is_forgotten(path, facts):
    change(path, f"UPDATE file SET facts = '{facts}'")
    with store.open_to_read(path) as view:
        assert view is not None
        assert view.files() == {}


@pytest.mark.parametrize("body", ["[" * 50_000, "x", "[1]", '"x"', "7"])
def test_what_was_learned_and_cannot_be_read_is_forgotten(path, body):
    change(path, f"UPDATE learned SET body = '{body}'")
    with store.open_to_read(path) as view:
        assert view is not None
        assert view.learned("pace") is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET job = 'zzz' WHERE seq = 1",
        "UPDATE event SET job = 'zzz' WHERE seq = 2",
        "UPDATE event SET attempt = 2 WHERE seq = 1",
        "DELETE FROM event WHERE seq = 3",
    ],
)
def test_an_event_that_is_not_its_rows_makes_the_file_unusable(path, statement):
    change(path, statement)
    assert statecheck.examine(path)[0].unreadable
    with pytest.raises(StateUnusable):
        _book(path)
    with pytest.raises(StateUnusable):
        statecheck.mend(path, now=50.0, copy=path.with_name("copy.db"), also=list)
    assert not path.with_name("copy.db").exists()


def test_a_name_in_the_schema_that_is_no_text_makes_the_file_unusable(path):
    content = bytearray(path.read_bytes())
    content[content.find(b"job_by_project")] = 0xD5
    path.write_bytes(content)
    assert statecheck.examine(path)[0].refused
    with pytest.raises(StateUnusable, match=r"(?m)text that cannot be read$"):
        store.open_for_run(path, run_id="r2", now=2.0)
    assert path.read_bytes() == content
