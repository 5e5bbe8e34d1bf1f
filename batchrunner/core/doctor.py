"""What was found out about a set-up -> what is wrong with it, how bad that is, and what to do.

The figures are measured elsewhere and handed in; every threshold and every word is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
import shlex
from typing import Final

from batchrunner.core.retry import Instant
from batchrunner.errors import Exit


class Grade(StrEnum):
    """How bad it is; a run goes on in spite of a warning, and not, or not safely, with a problem."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the examination.

    Attributes:
        subject: what was looked at; stable, for programs.
        text: what was found.
        advice: what to do about it, where there is something to do.
        exit_code: what a problem comes to.
    """

    subject: str
    grade: Grade = Grade.OK
    text: str
    advice: str | None = None
    exit_code: Exit = Exit.OK


def _problem(subject: str, text: str, *, advice: str | None, exit_code: Exit) -> Finding:
    return Finding(subject=subject, grade=Grade.PROBLEM, text=text, advice=advice, exit_code=exit_code)


def _warning(subject: str, text: str, *, advice: str | None = None) -> Finding:
    return Finding(subject=subject, grade=Grade.WARNING, text=text, advice=advice)


PRECEDENCE: Final = (Exit.LOCKED, Exit.STATE_UNUSABLE, Exit.KEY_REFUSED, Exit.UNREACHABLE, Exit.USAGE, Exit.INCOMPLETE)
"""Which problem decides where there are several; what is not here comes last."""


def exit_code(findings: Iterable[Finding]) -> Exit:
    """0 where all is fine or worth a warning at most, else the code of the gravest problem."""
    codes = {finding.exit_code for finding in findings if finding.grade is Grade.PROBLEM}
    return next((code for code in PRECEDENCE if code in codes), max(codes, default=Exit.OK))


# --- the machine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """Versions; None for a package that is not installed."""

    python: str
    system: str
    batchrunner: str
    packages: Mapping[str, str | None]
    sqlite: tuple[int, ...]
    sqlite_needed: tuple[int, ...]


def about_software(found: Software) -> list[Finding]:
    """Python, packages and SQLite."""
    system = Finding(subject="python", text=f"Python {found.python} on {found.system}, batchrunner {found.batchrunner}")
    return [system, _packages(found.packages), _sqlite(found)]


def _packages(packages: Mapping[str, str | None]) -> Finding:
    lacking = sorted(name for name, version in packages.items() if version is None)
    if lacking:
        advice = "pip install --force-reinstall batchrunner"
        return _problem("packages", f"not installed: {', '.join(lacking)}", advice=advice, exit_code=Exit.BUG)
    return Finding(subject="packages", text=", ".join(f"{name} {version}" for name, version in packages.items()))


def _sqlite(found: Software) -> Finding:
    version, needed = (".".join(map(str, each)) for each in (found.sqlite, found.sqlite_needed))
    if found.sqlite < found.sqlite_needed:
        text = f"SQLite {version} is older than {needed}, which the state file needs"
        advice = "use a newer Python, which brings its own"
        return _problem("sqlite", text, advice=advice, exit_code=Exit.BUG)
    return Finding(subject="sqlite", text=f"SQLite {version}")


def about_notices(count: int, unknown: int) -> Finding:
    """The addresses that notices go to: how many, and how many are of no service that is known; never which."""
    words = "1 notice address" if count == 1 else f"{count:,} notice addresses"
    if not unknown:
        return Finding(subject="notices", text=words if count else "no notice addresses: a run tells nobody of its end")
    text = f"{words}, of which {unknown:,} cannot be understood; a run refuses to begin"
    return _problem("notices", text, advice="`batchrunner notify` says which", exit_code=Exit.USAGE)


OLD_CATALOGUE_DAYS: Final = 120
"""The provider changed prices or models about every quarter (changelogs of 2025 and 2026)."""


def about_catalogue(as_of: str, today: date) -> Finding:
    """How old the figures are by which prices are estimated."""
    try:
        age = (today - date.fromisoformat(as_of)).days
    except ValueError:
        return _warning("catalogue", f"the catalogue gives no date ({as_of})")
    text = f"models and prices as of {as_of}, {age} days old"
    if age <= OLD_CATALOGUE_DAYS:
        return Finding(subject="catalogue", text=text)
    advice = "pip install --upgrade batchrunner; `batchrunner models --check` holds it against what was charged"
    return _warning("catalogue", text, advice=advice)


# --- the provider ----------------------------------------------------------------------------------------------------

SKEW_WARNING_S: Final = 60.0
SKEW_PROBLEM_S: Final = 300.0
"""Seconds between this clock and the provider's: its webhook signatures are refused from five minutes on."""

SLOW_S: Final = 3.0
"""Seconds for one small answer that are worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One request for the account.

    Attributes:
        base_url: where it went.
        latency_s: until the answer came; None where none came.
        proxy: what it went through, and which variable says so; None where it went directly.
        skew_s: this clock minus the provider's; None where it told no time.
        tier: the account's plan.
        credits: its balance.
        trouble: what went wrong, if it did.
        advice: what helps against that, if it is known.
        exit_code: what that comes to.
    """

    base_url: str
    proxy: str | None = None
    latency_s: float | None = None
    skew_s: float | None = None
    tier: str | None = None
    credits: int | None = None
    trouble: str | None = None
    advice: str | None = None
    exit_code: Exit = Exit.OK


def about_no_key(trouble: str, advice: str | None) -> Finding:
    """There is no key, or no address, to ask anything with."""
    return _problem("key", trouble, advice=advice, exit_code=Exit.USAGE)


def about_contact(found: Contact) -> list[Finding]:
    """Whether the provider answers, takes the key, and agrees about the time; plan and balance."""
    findings = [_reach(found)]
    if found.proxy is not None:
        findings.append(Finding(subject="proxy", text=f"connections with TLS go through {found.proxy}"))
    if found.skew_s is not None:
        findings.append(_clock(found.skew_s))
    if found.exit_code is Exit.KEY_REFUSED:
        text = found.trouble or "the key is refused"
        return [*findings, _problem("key", text, advice=found.advice, exit_code=Exit.KEY_REFUSED)]
    if found.trouble is not None:
        return findings
    findings.append(Finding(subject="key", text="there is a key, and it is accepted"))
    known = "not told" if found.credits is None else f"{found.credits:,} credits"
    account = f"plan {found.tier or 'not told'}, {known}"
    if found.credits == 0:
        return [*findings, _warning("account", account, advice="top up before a run")]
    return [*findings, Finding(subject="account", text=account)]


def _reach(found: Contact) -> Finding:
    if found.latency_s is None or (found.trouble and found.exit_code is not Exit.KEY_REFUSED):
        text = f"{found.base_url}: {found.trouble or 'no answer'}"
        return _problem("provider", text, advice=found.advice, exit_code=Exit.UNREACHABLE)
    text = f"{found.base_url} answers in {found.latency_s * 1000:,.0f} ms"
    return _warning("provider", text) if found.latency_s > SLOW_S else Finding(subject="provider", text=text)


def _clock(skew_s: float) -> Finding:
    size = abs(skew_s)
    direction = "ahead of" if skew_s > 0 else "behind"
    text = f"this clock is {size:,.0f} s {direction} the provider's"
    advice = "switch on network time (`timedatectl set-ntp true`)"
    if size > SKEW_PROBLEM_S:
        return _problem("clock", text, advice=advice, exit_code=Exit.USAGE)
    if size > SKEW_WARNING_S:
        return _warning("clock", text, advice=advice)
    return Finding(subject="clock", text="this clock agrees with the provider's")


# --- the disk --------------------------------------------------------------------------------------------------------

LITTLE_ROOM: Final = 5 * 10**9
NO_ROOM: Final = 200 * 10**6
"""Free bytes: a night of short clips, and too little even for the state and a few of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A folder that is to hold the state file or renders; `free` is in bytes, None where it cannot be told."""

    folder: str
    free: int | None
    is_writable: bool
    has_locks: bool
    has_links: bool
    has_sync: bool


def about_no_folder(folder: str) -> Finding:
    """The folder that is to hold the state file is not there."""
    advice = f"is its disk connected? Else `mkdir -p {shlex.quote(folder)}` makes it"
    return _problem("folder", f"{folder} does not exist", advice=advice, exit_code=Exit.STATE_UNUSABLE)


def about_disk(found: Disk) -> list[Finding]:
    """Room, and what the file system can do."""
    if not found.is_writable:
        advice = f"make it writable; `ls -ld {shlex.quote(found.folder)}` shows whose it is"
        text = f"{found.folder} cannot be written"
        return [_problem("folder", text, advice=advice, exit_code=Exit.STATE_UNUSABLE)]
    return [*_room(found), _abilities(found)]


def about_bucket(folder: str, *, trouble: str | None, hint: str | None) -> Finding:
    """Whether a folder in a bucket takes results."""
    if trouble is None:
        return Finding(subject="bucket", text=f"{folder} takes results")
    advice = hint or "docs/storage.md says what must be allowed"
    return _problem("bucket", trouble, advice=advice, exit_code=Exit.USAGE)


def _room(found: Disk) -> list[Finding]:
    if found.free is None:
        return []
    text = f"{found.free / 1e9:,.1f} GB free in {found.folder}"
    if found.free < NO_ROOM:
        return [_problem("disk", text, advice="make room before a run", exit_code=Exit.INCOMPLETE)]
    if found.free < LITTLE_ROOM:
        return [_warning("disk", text, advice="make room for a long batch")]
    return [Finding(subject="disk", text=text)]


def _abilities(found: Disk) -> Finding:
    if not (found.has_locks and found.has_sync):
        lacking = " and ".join(
            word for word, has in (("locks", found.has_locks), ("sync to the disk", found.has_sync)) if not has
        )
        text = f"{found.folder} is on a file system that cannot {lacking}: two runs could buy the same job"
        advice = "keep the state file on a local disk: --state FILE"
        return _problem("file-system", text, advice=advice, exit_code=Exit.STATE_UNUSABLE)
    if not found.has_links:
        text = f"{found.folder} knows no hard links; renders are published by rename instead"
        return _warning("file-system", text)
    return Finding(subject="file-system", text="locks, links and sync work")


# --- the batch -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The run that wrote to a state file last; `is_alive` is None where its process is on another machine."""

    pid: int
    host: str
    since: Instant
    has_ended: bool
    is_alive: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFacts:
    """What was found in and beside a state file.

    Attributes:
        path: where it is, or would be.
        exists: whether it is there; nothing else is known where it is not.
        refused: why it cannot be used; nothing else is known then.
        advice: what helps against that.
        is_locked: whether a run holds it now.
        holder: the last run; None where there was none.
        version: of its shape.
        damage: what SQLite's own checks found.
        differing: jobs whose snapshot is not what their log comes to.
        unreadable: what is wrong with the log itself.
        log_bytes: what stands in the log beside it.
        is_log_lost: whether a run was cut short and the log is gone.
        is_older: whether another copy of it was used since, of which it knows nothing.
        exposed: files that others than their owner may read.
        uncertain: jobs that wait for a person.
        partials: partial files of jobs that are over.
        strangers: partial files that belong to no job on record.
    """

    path: str
    exists: bool = True
    refused: str | None = None
    advice: str | None = None
    is_locked: bool = False
    holder: Holder | None = None
    version: int = 0
    damage: Sequence[str] = ()
    differing: Sequence[str] = ()
    unreadable: str | None = None
    log_bytes: int = 0
    is_log_lost: bool = False
    is_older: bool = False
    exposed: Sequence[str] = ()
    uncertain: Sequence[str] = ()
    partials: Sequence[str] = ()
    strangers: Sequence[str] = ()


def about_state(found: StateFacts, *, manifest: str, state: str | None = None) -> list[Finding]:
    """The state file: whole, true to its log, private, free or in use; what waits in it.

    `state` is its path where it is not the manifest's own, so that what is advised is about this one.
    """
    named = [] if state is None else ["--state", state]
    doctor = shlex.join(["batchrunner", "doctor", manifest, *named])
    fix = f"{doctor} --fix"
    if not found.exists:
        return [Finding(subject="state", text=f"no state file yet ({found.path})")]
    if found.refused is not None:
        return [_state_problem(found.refused, found.advice)]
    if found.damage:
        advice = "keep it, with its -wal and -shm, and put back a copy that is whole: it is the only record"
        return [_state_problem(f"{found.path} is damaged: {found.damage[0]}", advice)]
    if found.unreadable is not None:
        return [_state_problem(f"the log in {found.path} cannot be read: {found.unreadable}", "restore a copy")]
    findings = [_true_to_log(found, fix), _lock(found, fix)]
    if found.is_older:
        text = f"{found.path} is an older copy: what was bought with another one since is not on record in it"
        findings.append(_state_problem(text, f"put back the newest one; {_going_on(doctor)}"))
    if found.is_log_lost:
        text = f"the last run was cut short and {found.path}-wal, which held its end, is gone"
        findings.append(_state_problem(text, f"bring it back; {_going_on(doctor)}"))
    return [*findings, *_beside(found, fix), *_waiting(found, manifest, named)]


def _going_on(doctor: str) -> str:
    """What helps where the newest of the record cannot be had; `doctor` is the command."""
    return (
        f"if it cannot be had, `{doctor} --accept-lost-log` goes on without: what was bought last is on no record then,"
        " and every job that may have been bought waits for a person"
    )


def _state_problem(text: str, advice: str | None) -> Finding:
    return _problem("state", text, advice=advice, exit_code=Exit.STATE_UNUSABLE)


def _true_to_log(found: StateFacts, fix: str) -> Finding:
    if found.differing:
        text = f"{_some(found.differing, 'job')} not what the log in {found.path} comes to"
        return _state_problem(text, f"`{fix}` rebuilds them from the log, and keeps a copy")
    return Finding(subject="state", text=f"{found.path} is whole (version {found.version}) and agrees with its log")


def _lock(found: StateFacts, fix: str) -> Finding:
    holder = found.holder
    if found.is_locked:
        who = f" by pid {holder.pid} on {holder.host}" if holder and not holder.has_ended else ""
        return Finding(subject="lock", text=f"in use{who}; `batchrunner status MANIFEST` shows how far it is")
    if holder is not None and not holder.has_ended:
        text = f"the last run (pid {holder.pid} on {holder.host}) was cut short; the next one goes on where it was"
        if holder.is_alive:
            text += ". A process with that number exists, but does not hold the file"
        return _warning("lock", text, advice=f"`{fix}` notes that it is over")
    return Finding(subject="lock", text="free")


def _beside(found: StateFacts, fix: str) -> Iterable[Finding]:
    if found.log_bytes and not found.is_locked:
        text = f"{found.log_bytes:,} bytes stand only in {found.path}-wal; never move the file without it"
        yield _warning("wal", text, advice=f"`{fix}` copies them into the file")
    if found.exposed:
        text = f"others may read {', '.join(found.exposed)}"
        yield _warning("modes", text, advice=f"`{fix}` makes them private")
    if found.partials:
        text = f"{_some(found.partials, 'partial file')} left of jobs that are over"
        yield _warning("partials", text, advice=f"`{fix}` removes them")
    if found.strangers:
        text = f"{_some(found.strangers, 'partial file')} of no job on record"
        yield _warning("partials", text, advice="remove them by hand, if nobody's")


def _waiting(found: StateFacts, manifest: str, named: list[str]) -> Iterable[Finding]:
    if found.uncertain:
        adopt = shlex.join(["batchrunner", "adopt", manifest, found.uncertain[0], "PROJECT_ID", *named])
        text = f"{_some(found.uncertain, 'submission')} waiting for a person"
        yield _warning("uncertain", text, advice=f"`{adopt}`, or `resolve`")


def _some(names: Sequence[str], word: str) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names):,} {word}{'' if len(names) == 1 else 's'} ({shown})"


def about_refused_fix(path: str) -> Finding:
    """Nothing is mended under a run that goes on."""
    text = f"{path} is in use by a run: nothing was touched"
    return _problem("fix", text, advice="wait for the run, or stop it, and try again", exit_code=Exit.LOCKED)
