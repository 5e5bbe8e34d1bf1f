"""One batch from its manifest to its files, step by step; `run` is the whole list, the other commands its beginnings.

    read → look at files → expand → plan → (begin → run)

Each step takes what the one before gave. This is the composition: the only place where core, adapters and engine meet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
import os
from pathlib import Path
import random
import secrets
from urllib.parse import urlsplit

from batchrunner import inspect, places, store
from batchrunner.clock import WallClock
from batchrunner.core import (
    budget as budgeting,
    evidence,
    expand,
    footage,
    job as machine,
    manifest as schema,
    plan as planning,
    pricing,
    retry,
)
from batchrunner.core.budget import Caps, Spending
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import FileFact, FileState, ResolvedJob
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Event, Job, State
from batchrunner.core.manifest import Limits, Manifest
from batchrunner.core.plan import BUYS, Do, Plan, Wishes
from batchrunner.core.problem import Problem
from batchrunner.core.retry import Instant
from batchrunner.engine import Engine, Settings
from batchrunner.errors import Rejected, UsageError
from batchrunner.inquiry import Money
from batchrunner.perform import Performer
from batchrunner.provider import wire
from batchrunner.provider.client import BASE_URL, Client
from batchrunner.purse import Purse
from batchrunner.sandbox.settings import API_KEY as SANDBOX_KEY
from batchrunner.store import Store

LIBRARY = "https://magichour.ai/my-library"
"""Where a person sees every project of the account, those made through the API included (provider docs, overview)."""


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A manifest that is fit to be planned.

    Attributes:
        path: the manifest's file.
        root: its folder; inputs and outputs are relative to it.
        state: where its state file is, or will be.
        catalog: models, limits and prices, with the person's own corrections.
        jobs: what it asks for, resolved as far as that goes without looking into the inputs.
    """

    path: Path
    root: Path
    state: Path
    manifest: Manifest
    catalog: Catalog
    jobs: tuple[ResolvedJob, ...]

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is worth saying although nothing is wrong."""
        return self.manifest.warnings


def read(path: Path, *, state: Path | None = None, allow_unlisted: bool = False) -> Batch:
    """Read a manifest and look at the files it names; nothing is sent and nothing is written.

    Raises:
        UsageError: the file cannot be read.
        ManifestError: it is wrong; every problem is in it.
    """
    text = places.text_of(path)
    catalog = places.load_catalog(path, text, os.environ)
    manifest = schema.parse(text, source=str(path), name=path.stem, catalog=catalog, allow_unlisted=allow_unlisted)
    root = path.resolve().parent
    facts = {name: _look(root, name) for name in sorted(expand.local_paths(manifest))}
    jobs = expand.expand(manifest, files=facts)
    return Batch(
        path=path, root=root, state=state or store.path_for(path), manifest=manifest, catalog=catalog, jobs=jobs
    )


def read_for_collecting(path: Path, *, state: Path | None = None) -> Batch:
    """As much of a manifest as is needed to collect what was paid for; it may be wrong, or miss its inputs.

    Raises:
        UsageError: there is no state file, so nothing was ever bought.
    """
    where = state or store.path_for(path)
    if not where.exists():
        raise UsageError(f"there is no state file {where}, so there is nothing to fetch")
    catalog = places.load_catalog(None, None, os.environ)
    try:
        manifest = schema.parse(
            places.text_of(path), source=str(path), name=path.stem, catalog=catalog, allow_unlisted=True
        )
    except UsageError:
        manifest = Manifest(
            name=path.stem, source=str(path), version=1, output="", limits=Limits(), jobs=(), warnings=()
        )
    return Batch(path=path, root=path.resolve().parent, state=where, manifest=manifest, catalog=catalog, jobs=())


def _look(root: Path, name: str) -> FileFact:
    """What stands at a path; where nothing does, the names beside it."""
    path = root / name
    try:
        found = path.stat()
    except OSError:
        return FileFact(kind=FileState.MISSING, siblings=_names_in(path.parent))
    except ValueError:  # a path with a null byte
        return FileFact(kind=FileState.MISSING)
    if path.is_dir():
        return FileFact(kind=FileState.FOLDER)
    state = FileState.FILE if os.access(path, os.R_OK) else FileState.UNREADABLE
    return FileFact(kind=state, size=found.st_size, modified_ns=found.st_mtime_ns)


def _names_in(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(each.name for each in folder.iterdir()))
    except (OSError, ValueError):
        return ()


# --- planning --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The jobs after a look into their inputs: ends and prices are known now.

    Attributes:
        jobs: complete; nothing is left open.
        contents: what is in every local input, by its path as written.
        fresh: those that had to be read, because they are new or changed.
        warnings: what is worth saying although nothing is wrong.
    """

    jobs: tuple[ResolvedJob, ...]
    contents: Mapping[str, Inspected]
    fresh: tuple[Inspected, ...]
    warnings: tuple[Problem, ...]


def look(
    batch: Batch,
    *,
    remembered: Mapping[str, Inspected],
    tier: str | None = None,
    on_progress: inspect.Progress | None = None,
) -> Looked:
    """Look into every local input that is not remembered as it is, and check the jobs against what is there.

    Raises:
        ManifestError: inputs that cannot be used as asked for, all of them.
    """
    contents = inspect.look(batch.root, footage.wanted(batch.jobs), remembered, on_progress=on_progress)
    jobs = expand.with_ends(batch.jobs, contents)
    warnings = footage.check(jobs, contents, batch.catalog, tier=tier)
    fresh = tuple(each for name, each in contents.items() if remembered.get(name) != each)
    return Looked(jobs=jobs, contents=contents, fresh=fresh, warnings=warnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a run would do now, and what was read of the inputs to know it."""

    plan: Plan
    files: tuple[Inspected, ...]
    warnings: tuple[Problem, ...]


def preview(
    batch: Batch,
    *,
    wishes: Wishes,
    tier: str | None = None,
    history_folder: Path | None = None,
    on_progress: inspect.Progress | None = None,
) -> Preview:
    """What a run would do now. Reads the state file and the inputs; changes nothing.

    Estimates learn from what this batch, and the other state files of `history_folder`, were charged.

    Raises:
        ManifestError: inputs that cannot be used as asked for, all of them.
    """
    with store.open_to_read(batch.state) as view:
        known = {job.id: job for job in view.jobs()} if view else {}
        remembered = view.files() if view else {}
        own = view.all_attempts() if view else []
    history = planning.history_of([*own, *_elsewhere(batch, history_folder)], batch.catalog, tier=tier)
    seen = look(batch, remembered=_trusted(remembered, known.values()), tier=tier, on_progress=on_progress)
    made = _plan(batch, seen, known, wishes, tier=tier, history=history)
    return Preview(plan=made, files=seen.fresh, warnings=seen.warnings)


def _plan(
    batch: Batch,
    seen: Looked,
    known: Mapping[str, Job],
    wishes: Wishes,
    *,
    tier: str | None,
    history: pricing.History,
) -> Plan:
    specs = (
        (job.id, planning.spec_of(job, seen.contents, batch.catalog, tier=tier, history=history)) for job in seen.jobs
    )
    return planning.make_plan(specs, known, wishes)


def _elsewhere(batch: Batch, folder: Path | None) -> Iterator[Job]:
    """Every attempt in the state files of a folder, this batch's own left out."""
    for path in sorted(folder.glob("*.state.db")) if folder is not None else ():
        if path.resolve() != batch.state.resolve():
            with store.open_to_read(path) as view:
                yield from view.all_attempts() if view else ()


def _trusted(remembered: Mapping[str, Inspected], jobs: Iterable[Job]) -> dict[str, Inspected]:
    """What is remembered of files, but for those that were found to be different although they look the same."""
    doubted = {
        each.path
        for job in jobs
        if job.trouble is not None and job.trouble.code == retry.INPUT_CHANGED
        for each in job.spec.inputs
    }
    return {name: found for name, found in remembered.items() if name not in doubted}


# --- the provider ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the provider is and with which key; the key shows in no text of this value."""

    base_url: str
    key: str

    def __repr__(self) -> str:
        return f"Access(base_url={self.base_url!r}, key=…)"

    @property
    def is_sandbox(self) -> bool:
        """Whether the provider is a sandbox on this machine; nothing else takes that key, and it opens nothing else."""
        return self.key == SANDBOX_KEY and urlsplit(self.base_url).hostname in {"127.0.0.1", "localhost", "::1"}

    @property
    def provider(self) -> str:
        """Whose projects these are: host and port, or `sandbox`, whose port differs from run to run."""
        parts = urlsplit(self.base_url)
        return "sandbox" if self.is_sandbox else f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"


def access(environ: Mapping[str, str]) -> Access:
    """The provider's address and the key, from the environment.

    Raises:
        UsageError: there is no key, or the address is none.
    """
    key = (environ.get("MAGIC_HOUR_API_KEY") or environ.get("MAGIC_HOUR_API_TOKEN") or "").strip()
    if not key:
        raise UsageError(
            "there is no API key",
            hint="set MAGIC_HOUR_API_KEY (keys are made at https://magichour.ai/developer), or try --sandbox",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("MAGIC_HOUR_API_KEY holds characters that no key has", hint="copy it again")
    base_url = (environ.get("MAGIC_HOUR_BASE_URL") or BASE_URL).rstrip("/")
    if not _is_address(base_url):
        raise UsageError("MAGIC_HOUR_BASE_URL is no http(s) address, or holds a user name")
    return Access(base_url=base_url, key=key)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_plain = url.isascii() and url.isprintable() and " " not in url and not parts.query and not parts.fragment
        is_plain = is_plain and parts.scheme in {"http", "https"} and not parts.username and parts.port != 0
        return is_plain and bool(parts.hostname) and not str(parts.hostname).endswith("--")
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def client(access: Access) -> Client:
    """A client for it; use as an async context manager."""
    return Client(base_url=access.base_url, key=access.key)


async def account(client: Client) -> wire.Account:
    """The account behind the key, before anything else is sent: a refused key stops here.

    A deployment without the endpoint (the documentation of 2026-08 lacks it) gives an account of which nothing is
    known; its answer has shown that the key is accepted.

    Raises:
        KeyRefused: the key is wrong.
        ProviderError: no answer.
    """
    try:
        return await client.account()
    except Rejected as error:
        if error.status != 404:
            raise
        return wire.Account(id="", tier=None, credits=None, has_subscription=False)


async def find_project(access: Access, job: Job, project_id: str) -> wire.Project:
    """The project that a lost submission became, as the provider has it.

    Raises:
        UsageError: it is not there, or cannot be that submission.
        ProviderError: no answer.
    """
    async with client(access) as open_client:
        try:
            found = await open_client.project(project_id)
        except Rejected as error:
            if error.status != 404:
                raise
            raise UsageError(f"the provider knows no project {project_id!r}", hint=f"look in {LIBRARY}") from error
    objection = evidence.misfit(job, project_type=found.type, name=found.name)
    if found.is_deleted or objection:
        raise UsageError(f"{project_id} is not this submission: {objection or 'it was deleted'}")
    return found


def now() -> Instant:
    """The time, in seconds since 1970."""
    return WallClock().now()


# --- running ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run that has begun: the state file is locked, and every job to be done is on record."""

    batch: Batch
    plan: Plan
    store: Store
    jobs: tuple[Job, ...]


@contextmanager
def begin(
    batch: Batch,
    *,
    wishes: Wishes,
    access: Access,
    account: wire.Account,
    files: Sequence[Inspected] = (),
    is_collecting: bool = False,
) -> Iterator[Session]:
    """Lock the state file, plan against it and record the attempts to be made; give the lock back at the end.

    Args:
        batch: what is asked for.
        wishes: what to buy beyond new and unfinished jobs.
        access: the provider.
        account: as it was just read.
        files: what was read of the inputs a moment ago.
        is_collecting: every job on record is part of the session, whatever the manifest says now.

    Raises:
        StateLocked: another run holds it.
        StateUnusable: it cannot be used.
        UsageError: it records the projects of another provider or account.
    """
    now = WallClock().now()
    with store.open_for_run(batch.state, run_id=secrets.token_hex(6), now=now) as opened:
        _claim(opened, access, account)
        opened.remember_files(files)
        known = {job.id: job for job in opened.jobs()}
        seen = look(batch, remembered=_trusted(opened.files(), known.values()), tier=account.tier)
        opened.remember_files(seen.fresh)
        history = planning.history_of(opened.all_attempts(), batch.catalog, tier=account.tier)
        made = _plan(batch, seen, known, wishes, tier=account.tier, history=history)
        refuse_unpriced(batch, made)
        entries = _openings(made, now)
        opened.append_now(entries)
        jobs = known | {job.id: job for _, job in entries}
        priorities = {job.id: job.priority for job in batch.jobs}
        chosen = _to_run(made, jobs, priorities, is_collecting=is_collecting)
        yield Session(batch=batch, plan=made, store=opened, jobs=chosen)


def _claim(opened: Store, access: Access, account: wire.Account) -> None:
    """Bind a state file to its provider and account: what one holds, the other knows nothing of.

    Renders of the sandbox must never pass for paid ones, and a balance is evidence for its own account only.
    """
    for name, mine in (("provider", access.provider), ("account", account.id)):
        recorded = opened.fact(name)
        if recorded is None and mine:
            opened.note_fact(name, mine)
        elif recorded is not None and mine and recorded != mine:
            raise UsageError(
                f"{opened.path} records renders of the {name} {recorded!r}, and this run would use {mine!r}",
                hint="use the key they were made with, name another state file with --state, or move this one"
                " (with its -wal and -shm, if they are there) and its renders away",
            )


def _openings(made: Plan, now: Instant) -> list[tuple[Event, Job]]:
    """The attempts to open, as events and the jobs they give."""
    entries: list[tuple[Event, Job]] = []
    for entry in made.entries:
        if entry.action in BUYS and entry.spec is not None:
            attempt = entry.known.attempt + 1 if entry.known else 1
            event = machine.Opened(at=now, id=entry.id, attempt=attempt, spec=entry.spec)
            entries.append((event, machine.advance(entry.known, event)))
    return entries


def _to_run(
    made: Plan, jobs: Mapping[str, Job], priorities: Mapping[str, int], *, is_collecting: bool
) -> tuple[Job, ...]:
    """The jobs of a run, the highest priority first, else in the plan's order.

    One that the manifest no longer names counts only as long as something of it is to be collected.
    """
    chosen = [
        jobs[entry.id]
        for entry in made.entries
        if entry.id in jobs and (is_collecting or entry.action is not Do.SKIP or entry.spec is not None)
    ]
    return tuple(sorted(chosen, key=lambda job: -priorities.get(job.id, 0)))


GRACE_S = 120.0
SANDBOX_GRACE_S = 1.5
"""Seconds after its answer was lost, or its sender died, that a submission may still be taken in: longer than gateways
wait for what is behind them, and a moment for a sandbox on this machine."""


TOP_UP_CHECK_S = 180.0
SANDBOX_TOP_UP_CHECK_S = 0.5
"""Seconds between two looks at the balance of an account that ran out of credits."""


def engine(
    session: Session,
    *,
    client: Client,
    access: Access,
    account: wire.Account,
    observe: Callable[[Event, Job], None],
    tell: Callable[[str], None],
    flags: Flags | None = None,
    fetch_again: Collection[str] = (),
) -> tuple[Engine, Performer]:
    """The engine of a session with the real parts in it."""
    clock = WallClock()
    performer = Performer(client=client, root=session.batch.root, now=clock.now, jitter=_jitter)
    opened = session.store
    money = Money(
        credits=account.credits,
        moves=opened.balance_moves(),
        baseline=opened.baseline(),
        ledger=opened.ledger(),
        past=_past(opened, session.jobs),
    )
    top_up_check_s = SANDBOX_TOP_UP_CHECK_S if access.is_sandbox else TOP_UP_CHECK_S
    settings = Settings(
        limits=session.batch.manifest.limits,
        name=lambda job: submission_name(session.batch.manifest.name, job, tag=secrets.token_hex(5)),
        grace_s=SANDBOX_GRACE_S if access.is_sandbox else GRACE_S,
        between_readings_s=0.3 if access.is_sandbox else 3.0,
        jitter=_jitter,
        top_up_check_s=top_up_check_s if flags is not None and flags.waits_for_credits else None,
    )
    made = Engine(
        jobs=session.jobs,
        journal=opened,
        perform=performer,
        witness=performer.read_evidence,
        clock=clock,
        settings=settings,
        money=money,
        purse=_purse(session, account, flags or Flags(), tell=tell),
        observe=observe,
        fetch_again=fetch_again,
    )
    return made, performer


def _past(opened: Store, jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Attempts on record that are not among the jobs of a run."""
    mine = {(job.id, job.attempt) for job in jobs}
    return tuple(job for job in opened.all_attempts() if (job.id, job.attempt) not in mine)


def _jitter() -> float:
    return 1.0 - random.random()  # noqa: S311 - spreads waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was asked for this run: caps in credits, on top of the manifest's, and what to do when credits run out."""

    max_credits: int | None = None
    max_credits_per_job: int | None = None
    cutoff: str | None = None
    waits_for_credits: bool = False


def caps(batch: Batch, flags: Flags, *, tier: str | None) -> Caps:
    """Every cap of a run.

    Raises:
        UsageError: a cap in dollars cannot be turned into credits.
    """
    rate = usd_per_credit(batch.catalog, tier)
    if batch.manifest.budget.usd is not None and rate is None:
        raise UsageError(
            f"budget.usd cannot hold: no price of a credit is published for the plan {tier or 'of this account'}",
            hint="use budget.credits instead",
        )
    return budgeting.caps_of(
        batch.manifest.budget,
        usd_per_credit=rate,
        run=flags.max_credits,
        per_job=flags.max_credits_per_job,
        cutoff=flags.cutoff,
    )


def usd_per_credit(catalog: Catalog, tier: str | None) -> Decimal | None:
    """Dollars for one credit at the dearest band of a plan; None where none is published."""
    rates = (band.usd_per_credit.get(tier or "") for band in catalog.price_bands)
    return max((rate for rate in rates if rate is not None), default=None)


def spending(batch: Batch, attempts: Iterable[Job], account: wire.Account) -> Spending:
    """What counts against the caps already: all of this batch, and today's of the folder's other manifests."""
    counted = Spending(day_of=_local_day, balance=account.credits)
    counted.begin(attempts)
    if batch.manifest.budget.per_day is not None:
        for path in sorted(batch.root.glob("*.state.db")):
            if path.resolve() != batch.state.resolve():
                counted.count_elsewhere(_bought_with(path, account))
    return counted


def _bought_with(path: Path, account: wire.Account) -> list[Job]:
    """Every attempt in another state file, if it is of the same account."""
    with store.open_to_read(path) as view:
        is_same = view is not None and view.fact("account") == account.id
        return view.all_attempts() if view is not None and is_same else []


def refuse_unpriced(batch: Batch, made: Plan) -> None:
    """Refuse to buy what has no known price, unless the manifest takes the risk in figures.

    Raises:
        UsageError: naming the jobs, and what to write.
    """
    unpriced = [entry.id for entry in made.entries if entry.will_buy and entry.spec and not entry.spec.is_priced]
    lacking = [entry.id for entry in made.entries if entry.will_buy and entry.spec and entry.spec.hold is None]
    if unpriced and not batch.manifest.budget.allows_unpriced:
        raise UsageError(
            f"no price is known for {_names(unpriced)}, and a limit that cannot be computed is not a limit",
            hint="choose another model, add its price to a catalogue file, or write budget: {unpriced: allow}"
            " and a hold: on each such job",
        )
    if lacking:
        raise UsageError(f"no price is known for {_names(lacking)}", hint="write hold: CREDITS, the most each may cost")


def _names(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:5])
    return f"{shown} and {len(ids) - 5} more" if len(ids) > 5 else shown


def _purse(session: Session, account: wire.Account, flags: Flags, *, tell: Callable[[str], None]) -> Purse:
    counted = spending(session.batch, session.store.all_attempts(), account)
    return Purse(caps=caps(session.batch, flags, tier=account.tier), spending=counted, tell=tell)


def _local_day(at: Instant) -> str:
    return datetime.fromtimestamp(at).astimezone().date().isoformat()


def submission_name(manifest: str, job: Job, *, tag: str) -> str:
    """What a submission is called at the provider: the manifest, the job, and a tag that no other submission has.

    It is all there is to find a lost submission by, in the web library or in a notice.
    """
    return f"{manifest}/{job.id} [{job.attempt}-{tag}]"


# --- fetching again --------------------------------------------------------------------------------------------------


def missing_outputs(batch_root: Path, jobs: Sequence[Job]) -> list[Job]:
    """Jobs that are done and whose file is not where it was put, or not as long as it was."""
    return [job for job in jobs if job.state is State.DONE and not all(_is_there(batch_root, job))]


def _is_there(root: Path, job: Job) -> Iterable[bool]:
    for output in job.outputs:
        try:
            yield (root / output.path).stat().st_size == output.bytes
        except OSError:
            yield False
