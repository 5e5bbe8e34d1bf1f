"""The account, the catalogue, the set-up, and a provider to rehearse with."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
import os
from pathlib import Path
import tempfile
from types import TracebackType
from typing import Literal

from batchrunner import demo, doctor as examination, places
from batchrunner.access import Access, access as access_of, account as read_account, client as client_of
from batchrunner.api.twins import twin, waited
from batchrunner.core.catalog import Catalog
from batchrunner.core.doctor import Finding
from batchrunner.errors import Exit, UsageError
from batchrunner.provider import wire
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings


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

    async def read() -> wire.Account:
        async with client_of(chosen) as client:
            return await read_account(client)

    found = waited("account", read)
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
    `batchrunner doctor --help`.
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


def write_demo(folder: str | Path) -> Path:
    """Make a few clips and stills, and a manifest that renders them; gives its path. Run it with `sandbox=True`.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        return demo.prepare(Path(folder))
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or error}") from error


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """The provider, played by a process on this machine for as long as the block, sync or async: no key, no credits.

    Attributes:
        data: keeps its state here between starts; by default nothing is kept.
        scale: size of its pictures, 1 for the provider's own.
        latency_s: the least that a render takes.
        credits: balance of a new account.
        faults: JSON file of rules of misbehaviour; `chaos` misbehaves at random, the same for the same `seed`.
        webhook_url: notices are posted there.
    """

    data: str | Path | None = None
    scale: float = 0.25
    latency_s: float = 0.0
    latency_spread: float = 0.0
    no_render: bool = False
    credits: int = 100_000
    tier: Literal["free", "creator", "pro", "business"] = "creator"
    faults: str | Path | None = None
    chaos: Literal["mild", "wild"] | None = None
    seed: int = 0
    webhook_url: str | None = None
    port: int = 0
    _stack: ExitStack | None = None

    def __enter__(self) -> Access:
        """Start it; gives the access to it."""
        with ExitStack() as stack:
            folder = self.data or stack.enter_context(tempfile.TemporaryDirectory(prefix="batchrunner-sandbox-"))
            settings = Settings(
                data_dir=Path(folder),
                port=self.port,
                scale=self.scale,
                latency_s=self.latency_s,
                latency_spread=self.latency_spread,
                no_render=self.no_render,
                credits=self.credits,
                tier=self.tier,
                faults=None if self.faults is None else Path(self.faults),
                chaos=self.chaos,
                seed=self.seed,
                webhook_url=self.webhook_url,
            )
            running = stack.enter_context(launch.start(settings))
            self._stack = stack.pop_all()
        return Access(base_url=running.base_url, key=API_KEY)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stack is not None:
            self._stack.close()
            self._stack = None

    async def __aenter__(self) -> Access:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)


account_async = twin(account)
examine_async = twin(examine)
write_demo_async = twin(write_demo)
