"""Examining a state file, and mending what can be mended without losing anything."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
import os
from pathlib import Path
import sqlite3

from batchrunner import private, snapshots, stateerrors, statefile, statelock, stateview
from batchrunner.core import job as machine, lostlog, record
from batchrunner.core.doctor import Holder, StateFacts
from batchrunner.core.job import Job, State
from batchrunner.core.retry import Instant
from batchrunner.errors import IllegalTransition, StateUnusable
from batchrunner.marks import NOWHERE, Marks

Attempt = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is inside: every attempt as the log has it, and the jobs whose snapshot says otherwise."""

    attempts: dict[Attempt, Job]
    differing: tuple[str, ...]


def examine(path: Path, *, marks: Marks = NOWHERE) -> tuple[StateFacts, tuple[Job, ...]]:
    """What is in and beside a state file, and its jobs as far as they can be read; never fails, changes nothing."""
    path = path.resolve()
    try:
        statefile.check_bytes(path)
        if not path.exists():
            return StateFacts(path=str(path), exists=False), ()
        had_log = bool(statefile.size_of(statefile.log_of(path)))
        with statefile.connected_to_read(path) as connection, stateerrors.translated(path):
            facts, attempts = _inside(path, connection, had_log=had_log)
            is_older = marks.ahead_of(stateview.View(path, connection)) is not None
            return replace(facts, is_older=is_older), attempts
    except StateUnusable as error:
        return StateFacts(path=str(path), refused=str(error), advice=error.hint), ()


def _inside(path: Path, connection: sqlite3.Connection, *, had_log: bool) -> tuple[StateFacts, tuple[Job, ...]]:
    view = stateview.View(path, connection)
    damage = [text.splitlines()[-1] for (text,) in connection.execute("PRAGMA integrity_check(5)") if text != "ok"]
    damage += [f"a row of {table} lacks its {parent}" for table, _, parent, _ in _lost_parents(connection)]
    is_locked = statelock.is_locked(path)
    contents, unreadable = None, None
    if not damage:
        try:
            contents = _contents(path, connection)
        except StateUnusable as error:
            unreadable = str(error)
    current = _current(contents)
    facts = StateFacts(
        path=str(path),
        is_locked=is_locked,
        holder=_holder(view),
        version=connection.execute("PRAGMA user_version").fetchone()[0],
        damage=damage,
        differing=contents.differing if contents else (),
        unreadable=unreadable,
        log_bytes=statefile.size_of(statefile.log_of(path)),
        is_log_lost=not had_log and not is_locked and view.is_in_use,
        exposed=[each.name for each in _files(path) if not private.is_private(each)],
        uncertain=[job.id for job in current if job.state is State.UNCERTAIN],
    )
    return facts, tuple(contents.attempts.values()) if contents else ()


def _lost_parents(connection: sqlite3.Connection) -> list[tuple[str, int, str, int]]:
    return connection.execute("PRAGMA foreign_key_check").fetchmany(5)


def _current(contents: Contents | None) -> list[Job]:
    newest: dict[str, Job] = {}
    for job in contents.attempts.values() if contents else ():
        newest[job.id] = job
    return list(newest.values())


def _contents(path: Path, connection: sqlite3.Connection) -> Contents:
    """Replay the log, and hold the snapshots against it.

    Raises:
        StateUnusable: the log cannot be read, or holds what cannot have happened.
    """
    attempts: dict[Attempt, Job] = {}
    newest: dict[str, Job] = {}
    try:
        for _, job, _ in machine.replay_all(stateview.View(path, connection).events()):
            attempts[job.id, job.attempt] = job
            if job.attempt >= newest.get(job.id, job).attempt:
                newest[job.id] = job
    except IllegalTransition as error:
        raise stateerrors.impossible(path, error) from error
    kept = {
        (job_id, attempt): (is_current, state, project, held, charged, _job_or_none(body))
        for job_id, attempt, is_current, state, project, held, charged, body in connection.execute(
            "SELECT id, attempt, is_current, state, project_id, held, charged, body FROM job"
        )
    }
    wanted = {
        key: (int(newest[job.id] is job), str(job.state), job.project_id, job.held, job.charged, job)
        for key, job in attempts.items()
    }
    differing = {key[0] for key in kept.keys() | wanted.keys() if kept.get(key) != wanted.get(key)}
    differing.update(snapshots.unlike_the_log(connection))
    return Contents(attempts=attempts, differing=tuple(sorted(differing)))


def _job_or_none(body: str) -> Job | None:
    try:
        return record.job_from_text(body)
    except ValueError:
        return None


def _holder(view: stateview.View) -> Holder | None:
    last = view.last_run()
    if last is None:
        return None
    return Holder(
        pid=last.pid,
        host=last.host,
        since=last.started_at,
        has_ended=last.ended_at is not None,
        is_alive=last.is_alive,
    )


def _files(path: Path) -> list[Path]:
    beside = (path, statefile.log_of(path), statefile.index_of(path), statelock.lock_of(path))
    return [each for each in beside if each.exists()]


# --- mending ---------------------------------------------------------------------------------------------------------


def mend(
    path: Path,
    *,
    now: Instant,
    copy: Path,
    also: Callable[[], list[str]],
    accepts_lost_log_of: Collection[str] | None = None,
    marks: Marks = NOWHERE,
) -> list[str] | None:
    """Do what is safe to the state file; what was done, in words. None while a run holds it: then nothing is touched.

    Modes are made private, the log is copied into the file, runs that were cut short are noted as over, and snapshots
    that are not what the log comes to are rebuilt from it, after the file was copied to `copy`. `also` is done under
    the same lock. A log that is lost, or that the file is an older copy by `marks`, is accepted only where the jobs are
    given that the manifest asks for: those that may have been bought meanwhile are noted, and none of them is bought
    again by a machine.

    Raises:
        StateUnusable: it is damaged beyond that, or its log is lost; it is left as it is.
    """
    path = path.resolve()
    with statelock.locked(path) as is_free:
        if not is_free:
            return None
        if not path.exists():
            return also()
        done = _make_private(path)
        waiting = statefile.size_of(statefile.log_of(path))
        connection = statefile.connect_to_write(path, accepts_lost_log=accepts_lost_log_of is not None)
        is_accepted = accepts_lost_log_of is None
        try:
            with stateerrors.translated(path):
                is_older = marks.ahead_of(stateview.View(path, connection)) is not None
                if accepts_lost_log_of is not None and (is_older or not waiting):
                    done += _accept_lost_log(path, connection, accepts_lost_log_of, now, is_older=is_older)
                    marks.note(stateview.View(path, connection), at=now)
                is_accepted = True
                if waiting:
                    done.append(f"copied {waiting:,} bytes from {statefile.log_of(path).name} into the file")
                done += _end_runs(connection, now)
                done += _rebuild(path, connection, copy)
        finally:
            statefile.close(path, connection, is_in_order=is_accepted)
        return done + also()


def _accept_lost_log(
    path: Path, connection: sqlite3.Connection, asked_for: Collection[str], now: Instant, *, is_older: bool
) -> list[str]:
    """Note what may have been bought in the log that is lost, or with a newer copy, while that can still be told."""
    view = stateview.View(path, connection)
    if not view.is_in_use and not is_older:
        return []
    jobs = _current(_contents(path, connection))
    lost = lostlog.lost(jobs, asked_for=asked_for, at=now).and_before(view.lost_log())
    connection.execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", (lostlog.FACT, lostlog.to_text(lost)))
    what = "although another copy had come further" if is_older else "without the log of its last run"
    told = f"accepted the file {what}: what that may have bought is not bought again by itself"
    return [f"{told}, and waits for a person ({len(lost.open):,} jobs)"]


def _make_private(path: Path) -> list[str]:
    exposed = [each for each in _files(path) if not private.is_private(each)]
    for each in exposed:
        private.make_private(each)
    return [f"made {each.name} private" for each in exposed if private.is_private(each)]


def _end_runs(connection: sqlite3.Connection, now: Instant) -> list[str]:
    """Note that runs which never said so are over: at their last event, since they hold no lock."""
    cut = connection.execute(
        "UPDATE run SET ended_at = coalesce((SELECT max(at) FROM event WHERE event.run = run.id), started_at, ?)"
        " WHERE ended_at IS NULL RETURNING pid, host",
        (now,),
    ).fetchall()
    return [f"noted that the run of pid {pid} on {host} is over" for pid, host in cut]


def _rebuild(path: Path, connection: sqlite3.Connection, copy: Path) -> list[str]:
    """Rebuild the snapshots of every job that is not what its log comes to."""
    contents = _contents(path, connection)
    if not contents.differing:
        return []
    _copy(connection, copy)
    newest = {job.id: job for job in contents.attempts.values()}
    # A snapshot of which the log knows nothing is left: it may be all that is known of a purchase.
    wrong = newest.keys() & frozenset(contents.differing)
    last = snapshots.last_events(connection)
    rows = [
        snapshots.row(job, is_current=newest[job.id] is job, last_event=last[key])
        for key, job in contents.attempts.items()
        if job.id in wrong
    ]
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany("DELETE FROM job WHERE id = ?", [(job_id,) for job_id in wrong])
        connection.executemany(snapshots.PUT, rows)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return [f"kept a copy as {copy.name}", f"rebuilt {len(wrong):,} jobs from the log: {', '.join(sorted(wrong)[:5])}"]


def _copy(connection: sqlite3.Connection, copy: Path) -> None:
    """A whole copy of the file as it is, readable by its owner only."""
    try:
        os.close(private.open_for(copy, os.O_RDWR | os.O_EXCL))
    except OSError as error:
        raise stateerrors.unwritable(copy, error) from error
    target = sqlite3.connect(copy)
    try:
        connection.backup(target)
    finally:
        target.close()
