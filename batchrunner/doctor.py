"""Examining a set-up: measures what `core.doctor` judges. Part of the composition, as `batch` and `access`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from importlib.util import find_spec
import os
from pathlib import Path
import platform
import shutil
import tempfile
import time

from filelock import FileLock

from batchrunner import (
    __version__,
    batch as batches,
    clock,
    notify,
    places,
    private,
    statecheck,
    statefile,
    storage,
    store,
)
from batchrunner.access import Access, access as access_of, account as read_account, client as client_of
from batchrunner.core import address as addresses, doctor, outputs
from batchrunner.core.doctor import Contact, Disk, Finding, Grade, Software
from batchrunner.core.job import Job
from batchrunner.errors import BatchrunnerError, Exit, ProviderError, UsageError
from batchrunner.marks import Marks
from batchrunner.provider.watched import Exchange

PACKAGES = ("httpx", "aiohttp", "httpx-aiohttp", "av", "pillow", "pydantic", "pyyaml", "filelock")
"""Packages whose version says something about a problem; `av` brings its own FFmpeg."""


def machine() -> list[Finding]:
    """Python, packages, SQLite, and the catalogue's age."""
    found = Software(
        python=platform.python_version(),
        system=platform.platform(terse=True),
        batchrunner=__version__,
        packages={name: _version(name) for name in PACKAGES},
        sqlite=statefile.VERSION,
        sqlite_needed=statefile.OLDEST_SQLITE,
    )
    try:
        as_of = str(places.load_catalog(None, None, os.environ).as_of)
        catalogue = doctor.about_catalogue(as_of, datetime.now(UTC).date())
    except UsageError as error:
        catalogue = _refused("catalogue", error)
    return [*doctor.about_software(found), catalogue, _notices(os.environ)]


def _notices(environ: Mapping[str, str]) -> Finding:
    unknown = 0
    try:
        given = notify.addresses(environ, places.notify_path(environ))
        if given and find_spec("apprise") is None:
            notify.opened(given)  # says what to install
    except UsageError as error:
        return _refused("notices", error)
    for each in given:
        try:
            notify.opened([each])
        except UsageError:
            unknown += 1
    return doctor.about_notices(len(given), unknown)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _refused(subject: str, error: BatchrunnerError) -> Finding:
    return Finding(subject=subject, grade=Grade.PROBLEM, text=str(error), advice=error.hint, exit_code=error.exit_code)


# --- the provider ----------------------------------------------------------------------------------------------------


async def provider(environ: Mapping[str, str]) -> list[Finding]:
    """Whether there is a key and it is accepted, how far away the provider is, and what its clock says."""
    try:
        access = access_of(environ)
    except UsageError as error:
        return [doctor.about_no_key(str(error), error.hint)]
    return doctor.about_contact(await _contact(access))


async def _contact(access: Access) -> Contact:
    heard: list[tuple[float, Exchange]] = []
    found = Contact(base_url=access.base_url, proxy=access.proxy_words())
    async with client_of(access, heard=lambda exchange: heard.append((clock.now(), exchange))) as client:
        try:
            account = await read_account(client)
            found = replace(found, tier=account.tier, credits=account.credits)
        except ProviderError as error:
            found = replace(found, trouble=str(error), advice=error.hint, exit_code=error.exit_code)
    answered = [(at, exchange) for at, exchange in heard if exchange.status is not None]
    if not answered:
        return found
    at, last = answered[-1]
    # The header was written about half the way back.
    skew = None if (told := _moment(last.date)) is None else at - last.ms / 2000 - told
    return replace(found, latency_s=last.ms / 1000, skew_s=_beyond_rounding(skew))


def _moment(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):  # what the standard library raises on other text
        return None


def _beyond_rounding(skew: float | None) -> float | None:
    """A `Date` header counts whole seconds, cut off: up to one second ahead says nothing."""
    if skew is None:
        return None
    return skew - min(max(skew, 0.0), 1.0)


# --- the disk --------------------------------------------------------------------------------------------------------


def disk(folder: Path) -> list[Finding]:
    """Free space in a folder, and what its file system can do; leaves nothing behind."""
    if not folder.is_dir():
        return [doctor.about_no_folder(str(folder))]
    try:
        free: int | None = shutil.disk_usage(folder).free
    except OSError:
        free = None
    found = Disk(folder=str(folder), free=free, is_writable=False, has_locks=False, has_links=False, has_sync=False)
    try:
        with tempfile.TemporaryDirectory(prefix=".batchrunner-", dir=folder) as trial:
            found = _abilities(found, Path(trial))
    except OSError:
        pass
    return doctor.about_disk(found)


def _abilities(found: Disk, trial: Path) -> Disk:
    file = trial / "file"
    has_sync = has_links = has_locks = False
    descriptor = private.open_for(file, os.O_RDWR)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
            has_sync = True
    finally:
        os.close(descriptor)
    with suppress(OSError):
        os.link(file, trial / "link")
        has_links = True
    with suppress(OSError):
        first, second = FileLock(trial / "lock"), FileLock(trial / "lock")
        first.acquire(timeout=0)
        try:
            has_locks = _is_refused(second)
        finally:
            first.release()
    return replace(found, is_writable=True, has_sync=has_sync, has_links=has_links, has_locks=has_locks)


def _is_refused(second: FileLock) -> bool:
    """Whether a lock that is held elsewhere cannot be had, as it must be."""
    try:
        second.acquire(timeout=0)
    except TimeoutError:
        return True
    second.release()
    return False


# --- a batch ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A batch to be examined: its manifest as it was typed, and where its state file is."""

    manifest: Path
    state: Path

    @property
    def root(self) -> Path:
        """The folder in which its inputs and outputs are."""
        return self.manifest.resolve().parent

    @property
    def named_state(self) -> str | None:
        """The state file as `--state` must name it; None where it is the manifest's own."""
        return None if self.state == store.path_for(self.manifest).resolve() else str(self.state)


def target(manifest: Path, state: Path | None) -> Target:
    """The batch of a manifest."""
    return Target(manifest=manifest, state=(state or store.path_for(manifest)).resolve())


def batch(examined: Target) -> list[Finding]:
    """The manifest and its inputs, its folders, its state file, what lies beside it."""
    folders = dict.fromkeys((examined.root, examined.state.parent))
    findings = _manifest(examined.manifest)
    for folder in folders:
        findings += disk(folder)
    facts, attempts = statecheck.examine(examined.state, marks=Marks.of(os.environ))
    stale, strange = partials(examined.root, attempts)
    facts = replace(
        facts,
        partials=[each.name for each in stale],
        strangers=[each.name for each in strange],
        exposed=[*facts.exposed, *(each.name for each in _logs(examined) if not private.is_private(each))],
    )
    return [*findings, *doctor.about_state(facts, manifest=str(examined.manifest), state=examined.named_state)]


def _manifest(path: Path) -> list[Finding]:
    """What it asks for, and the buckets where its results go."""
    try:
        read = batches.read(path)
        buckets = storage.tried(job.output for job in read.jobs)
    except UsageError as error:
        return [_refused("manifest", error)]
    count = len(read.jobs)
    text = f"{path}: {count:,} job{'' if count == 1 else 's'}, every input is there"
    tried = (
        doctor.about_bucket(folder, trouble=str(why) if why else None, hint=why.hint if why else None)
        for folder, why in buckets.items()
    )
    return [Finding(subject="manifest", text=text), *tried]


def _logs(examined: Target) -> list[Path]:
    log = examined.state.with_name(f"{examined.manifest.stem}.log")
    return [each for each in (log, *log.parent.glob(f"{log.name}.[0-9]")) if each.is_file()]


def partials(root: Path, attempts: Sequence[Job]) -> tuple[list[Path], list[Path]]:
    """Partial downloads that nobody will finish: those of jobs that are over, and those of no job on record."""
    over: dict[str, bool] = {}
    for job in attempts:
        if job.project_id is not None:
            over[outputs.mark_of(job.id, job.project_id)] = job.is_final
    stale, strange = [], []
    for path in _found_partials(root, attempts):
        is_over = over.get(outputs.mark_in(path.name) or "")
        if is_over is None:
            strange.append(path)
        elif is_over:
            stale.append(path)
    return stale, strange


def _found_partials(root: Path, attempts: Iterable[Job]) -> list[Path]:
    written = (job.spec.output for job in attempts if not addresses.is_object(job.spec.output))
    folders = dict.fromkeys((root / addresses.plain(each)).parent for each in written)
    found = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if outputs.mark_in(path.name) is not None and not path.is_symlink() and path.is_file()
    ]
    return sorted(found)


# --- mending ---------------------------------------------------------------------------------------------------------


def mend(examined: Target, *, accepts_lost_log: bool) -> tuple[list[str], list[Finding]]:
    """Do what is safe; what was done, in words, and what could not be.

    To go on without a lost log, the manifest must be readable: any of its jobs may have been bought there.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock.now()))
    copy = examined.state.with_name(f"{examined.state.name}.before-fix-{stamp}")
    try:
        asked_for = [job.id for job in batches.read(examined.manifest).jobs] if accepts_lost_log else None
        done = statecheck.mend(
            examined.state,
            now=clock.now(),
            copy=copy,
            also=lambda: _tidy(examined),
            accepts_lost_log_of=asked_for,
            marks=Marks.of(os.environ),
        )
    except BatchrunnerError as error:
        return [], [_refused("fix", error)]
    return ([], [doctor.about_refused_fix(str(examined.state))]) if done is None else (done, [])


def _tidy(examined: Target) -> list[str]:
    """Remove partial files of jobs that are over, and make logs private; while no run goes on."""
    _, attempts = statecheck.examine(examined.state)
    stale, _ = partials(examined.root, attempts)
    done = []
    for path in stale:
        with suppress(OSError):
            path.unlink()
            done.append(f"removed {path.name}")
    for path in _logs(examined):
        if not private.is_private(path):
            private.make_private(path)
            done.append(f"made {path.name} private")
    return done


def exit_code(findings: Iterable[Finding]) -> Exit:
    """What an examination comes to."""
    return doctor.exit_code(findings)
