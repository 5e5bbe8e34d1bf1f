"""From a manifest to its plan: reading, checking, the price. Nothing here buys anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from glob import escape
import json
import os
from pathlib import Path
from typing import Any

from batchrunner import again, batch as batches, outlook as outlooks, places, planning, starter, store, waiting
from batchrunner.access import Access, access as access_of, account_of, key_of
from batchrunner.api import given, hours, values
from batchrunner.api.hours import When
from batchrunner.api.twins import twin, waited
from batchrunner.api.values import Plan, PlannedJob, Price
from batchrunner.batch import Batch, Expanded
from batchrunner.core import jsonschema
from batchrunner.core.plan import Wishes
from batchrunner.core.problem import Problem
from batchrunner.core.selection import EVERYTHING, Selection
from batchrunner.errors import UsageError
from batchrunner.outlook import Outlook
from batchrunner.planning import Preview
from batchrunner.waiting import Asked

OnLook = Callable[[int, int, int], None]
"""Told while inputs are looked into: how many are done, of how many, and bytes read."""

UNASKED = Asked()
"""No other hours than the manifest's."""


def load(
    manifest: str | Path,
    *,
    state: str | Path | None = None,
    allow_unlisted: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Batch:
    """Read a manifest, and look whether the files it names are there. Nothing is sent, nothing is written.

    Args:
        manifest: its file.
        state: the state file; by default `<manifest stem>.state.db` beside it.
        allow_unlisted: lets through models, styles and sizes that this version's catalogue does not know.
        variables: values for `${NAME}`, over `vars` and the environment.

    Raises:
        ManifestError: it is wrong; `problems` has all of it, each with its place.
        UsageError: it cannot be read.
    """
    given.refuse_no_variables({} if variables is None else variables)
    return batches.read(
        Path(manifest),
        state=None if state is None else Path(state),
        allow_unlisted=allow_unlisted,
        variables=variables,
    )


def validate(
    manifest: str | Path,
    *,
    allow_unlisted: bool = False,
    variables: Mapping[str, str] | None = None,
    on_look: OnLook | None = None,
) -> tuple[Problem, ...]:
    """Check a manifest, and look into every file it names; gives what is worth saying although nothing is wrong.

    Raises:
        ManifestError: something is wrong.
        UsageError: it cannot be read.
    """
    read = load(manifest, allow_unlisted=allow_unlisted, variables=variables)
    return read.warnings + planning.look(read, remembered={}, on_progress=on_look).warnings


def config(
    manifest: str | Path, *, allow_unlisted: bool = False, variables: Mapping[str, str] | None = None
) -> Expanded:
    """A manifest with everything filled in: `as_values()`, or `as_yaml()` line by line, both with `origin=True` too.

    Raises:
        ManifestError: it is wrong.
        UsageError: it cannot be read.
    """
    given.refuse_no_variables({} if variables is None else variables)
    return batches.expanded(Path(manifest), variables=variables, allow_unlisted=allow_unlisted)


def schema(*, catalog: str | Path | None = None, allow_unlisted: bool = False, events: bool = False) -> dict[str, Any]:
    """The manifest's format as a JSON Schema; with `events` that of the lines that `run --events` writes.

    Raises:
        UsageError: the catalogue file is wrong.
    """
    if events:
        return jsonschema.event_schema()
    return jsonschema.json_schema(_catalog(catalog), allow_unlisted=allow_unlisted)


def _catalog(file: str | Path | None) -> Any:
    catalog = places.load_catalog(None, None, os.environ, around=places.around({}, os.environ))
    return catalog if file is None else places.with_file(catalog, Path(file))


def write_manifest(
    folder: str | Path, manifest: str | Path | None = None, *, force: bool = False, on_look: OnLook | None = None
) -> Path:
    """Write a first manifest for the clips and stills in a folder; gives its path.

    Raises:
        UsageError: there is nothing to render, or the manifest is there already.
    """
    file = starter.default_path(Path(folder)) if manifest is None else Path(manifest)
    if file.exists() and not force:
        raise starter.already_there(file)
    starter.write(starter.make(Path(folder), file, on_progress=on_look), file, is_forced=force)
    return file


# --- plans -----------------------------------------------------------------------------------------------------------


def plan(
    batch: Batch,
    *,
    select: Selection = EVERYTHING,
    rerender: bool = False,
    retry_failed: bool = False,
    history: str | Path | None = None,
    access: Access | None = None,
    on_look: OnLook | None = None,
    start_at: When | None = None,
    stop_at: When | None = None,
    finish_by: When | None = None,
) -> Plan:
    """What a run would do with every job, why, and what it costs. Buys nothing.

    Args:
        batch: as `load` gave it.
        select: the jobs it is for; what was bought is collected whatever is selected.
        rerender: also buys jobs again that are done but changed since.
        retry_failed: also tries jobs again that failed or were canceled.
        history: a folder whose state files prices are learned from, too.
        access: the provider, for the balance and the prices of the account's plan; by default that of the
            environment, and without a key there the most that any plan pays.
        on_look: told while inputs are looked into.
        start_at: when it may begin to buy, over the manifest's window. A run of the plan keeps to these three.
        stop_at: from when on it buys no more.
        finish_by: by when what it buys has to be on disk.

    Raises:
        ManifestError: inputs that cannot be used as asked for.
        ProviderError: the account cannot be read.
        UsageError: a word of the selection fits no job, or a time is none.
    """
    given.refuse_no_selection(select)
    wishes = Wishes(rerender=rerender, retry_failed=retry_failed, selection=select)
    asked = hours.asked(start_at=start_at, stop_at=stop_at, finish_by=finish_by)
    return _plan("plan", batch, wishes, history=history, access=access, on_look=on_look, asked=asked)


def plan_retry(
    batch: Batch,
    *,
    select: Selection = EVERYTHING,
    codes: tuple[str, ...] = (),
    history: str | Path | None = None,
    access: Access | None = None,
) -> Plan:
    """The plan to try jobs again that failed or were canceled, all or those that failed for one of some reasons.

    Raises:
        As `plan`; UsageError, too, where jobs in other states are selected.
    """
    given.refuse_no_selection(select)
    wishes = Wishes(retry_failed=True, selection=again.broken(select, codes))
    return _plan("plan_retry", batch, wishes, history=history, access=access)


def plan_redo(
    batch: Batch,
    job: str,
    fields: Mapping[str, Any] | None = None,
    *,
    history: str | Path | None = None,
    access: Access | None = None,
) -> Plan:
    """The plan to render one job once more, beside the file that is there.

    `fields` are other than in the manifest for this take: `{"style.prompt": "slow push in"}`; None takes one away.

    Raises:
        As `plan`; UsageError, too, where the job is not over or there is none of that id.
    """
    known, names = again.taken(batch, job)
    sets = [
        f"{path}={'' if value is None else json.dumps(value, ensure_ascii=False)}"
        for path, value in (fields or {}).items()
    ]
    take = batches.redone(batch, known, sets, names=names)
    # An id may have brackets in it, which mean something else in a pattern.
    wishes = Wishes(selection=Selection(only=(escape(job),)), redo=frozenset({job}))
    return _plan("plan_redo", take, wishes, history=history, access=access)


def write_retry(
    batch: Batch,
    file: str | Path,
    *,
    select: Selection = EVERYTHING,
    codes: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
    force: bool = False,
) -> int:
    """Write a manifest of only the failed and canceled jobs, with outputs of its own; gives how many.

    Raises:
        UsageError: there are none, or it would be written over something.
    """
    given.refuse_no_selection(select)
    with store.open_to_read(batch.state) as view:
        known = {job.id: job for job in view.jobs()} if view else {}
    chosen = again.chosen(batch, again.broken(select, codes), known)
    if not chosen:
        raise UsageError(f"{batch.path}: there is no such failed or canceled job")
    return again.write(batch, chosen, Path(file), variables=variables or {}, is_forced=force)


def _plan(
    name: str,
    batch: Batch,
    wishes: Wishes,
    *,
    history: str | Path | None,
    access: Access | None,
    on_look: OnLook | None = None,
    asked: Asked = UNASKED,
) -> Plan:
    chosen = access or _by_environment()
    account = waited(name, lambda: account_of(chosen)) if chosen is not None else None
    folder = None if history is None else Path(history)
    tier = account.tier if account else None
    text_hash = outlooks.text_hash(batch.path)
    seen = planning.preview(batch, wishes=wishes, tier=tier, history_folder=folder, on_progress=on_look)
    when = waiting.planned(batch, asked).hours
    told = outlooks.of(batch, seen.plan, account, access=chosen, history=folder, hours=when)
    bill = seen.plan.bill()
    return Plan(
        batch=batch,
        jobs=_planned(seen, told),
        to_render=bill.jobs,
        in_question=bill.in_question,
        price=Price(low=bill.low, expected=bill.expected, hold=bill.hold),
        unpriced=bill.unpriced,
        usd=told.usd,
        balance=told.balance,
        tier=told.tier,
        warnings=batch.warnings + seen.warnings,
        disks=told.disks,
        hours=told.hours,
        forecast=told.forecast,
        made=seen.plan,
        wishes=wishes,
        files=seen.files,
        history=folder,
        text_hash=text_hash,
        asked=asked,
    )


def _planned(seen: Preview, told: Outlook) -> tuple[PlannedJob, ...]:
    return tuple(
        PlannedJob(
            id=entry.id,
            kind=str(entry.kind),
            action=str(entry.action),
            reason=entry.reason,
            model=entry.spec.model if entry.spec else None,
            price=values.price_of(entry.spec),
            basis=entry.spec.basis if entry.spec else None,
            warnings=tuple(told.warnings.get(entry.id, ())),
            waits_for=entry.spec.waits_for if entry.spec else (),
        )
        for entry in seen.plan.entries
    )


def _by_environment() -> Access | None:
    """The provider by the environment; None where there is no key, since a plan is worth having without one."""
    return access_of(os.environ) if key_of(os.environ) else None


load_async = twin(load)
validate_async = twin(validate)
config_async = twin(config)
write_manifest_async = twin(write_manifest)
plan_async = twin(plan)
plan_retry_async = twin(plan_retry)
plan_redo_async = twin(plan_redo)
write_retry_async = twin(write_retry)
