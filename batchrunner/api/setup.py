"""The account, the catalogue and the set-up."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path

from batchrunner import doctor as examination, notify, places
from batchrunner.access import Access, access as access_of, account_of
from batchrunner.api.twins import twin, waited
from batchrunner.core.catalog import Catalog
from batchrunner.core.doctor import Finding
from batchrunner.core.notices import trial
from batchrunner.errors import Exit, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account behind a key; None where the provider does not tell."""

    id: str
    tier: str | None
    credits: int | None


def account(access: Access | None = None) -> Account:
    """The plan and the balance behind the key; spends nothing.

    Raises:
        KeyRefused: the key is wrong.
        ProviderError: no answer.
        UsageError: there is no key.
    """
    chosen = access or access_of(os.environ)
    found = waited("account", lambda: account_of(chosen))
    return Account(id=found.id, tier=found.tier, credits=found.credits)


def models(catalog: str | Path | None = None) -> Catalog:
    """What can be rendered, what a second of it costs, and who says so; with the corrections of a file.

    Raises:
        UsageError: the file is wrong.
    """
    found = places.load_catalog(None, None, os.environ, around=places.around({}, os.environ))
    return found if catalog is None else places.with_file(found, Path(catalog))


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What an examination found: every finding, what was mended, and the exit code that it comes to."""

    findings: tuple[Finding, ...]
    fixed: tuple[str, ...]
    exit_code: Exit


def examine(
    manifest: str | Path | None = None,
    *,
    state: str | Path | None = None,
    fix: bool = False,
    accept_lost_log: bool = False,
) -> Examined:
    """Check versions, key, provider, clock and disk; with a manifest also its inputs and its state file.

    Spends nothing, and changes nothing without `fix` or `accept_lost_log`; what that means is told by
    `batchrunner doctor --help`. What is wrong is no error here: it is what is found.

    Raises:
        UsageError: `state`, `fix` or `accept_lost_log` without a manifest; or an event loop runs in this thread.
    """
    if manifest is None and (fix or accept_lost_log or state is not None):
        raise UsageError("fix, accept_lost_log and state are about a batch: name its manifest")
    done: list[str] = []
    found: list[Finding] = []
    target = None
    if manifest is not None:
        target = examination.target(Path(manifest), None if state is None else Path(state))
        if fix or accept_lost_log:
            done, found = examination.mend(target, accepts_lost_log=accept_lost_log)
    found = [*examination.machine(), *waited("examine", lambda: examination.provider(os.environ)), *found]
    found += examination.batch(target) if target is not None else examination.disk(Path.cwd())
    return Examined(findings=tuple(found), fixed=tuple(done), exit_code=examination.exit_code(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """A service that notices are sent to, named without its secrets; whether it took a test, None without one."""

    service: str
    took_it: bool | None = None


def addressees(*, test: bool = False) -> tuple[Addressee, ...]:
    """Where notices of runs are sent, by the environment and the person's own file; with `test`, one is sent to each.

    Raises:
        UsageError: an address is not understood, or apprise is not installed.
    """
    services = notify.opened(notify.addresses(os.environ, places.notify_path(os.environ)))
    return tuple(Addressee(service=each.name, took_it=each.send(trial()) if test else None) for each in services)


account_async = twin(account)
examine_async = twin(examine)
addressees_async = twin(addressees)
