"""A provider to rehearse with, and something to render."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
import tempfile
from types import TracebackType
from typing import Literal

from batchrunner import demo
from batchrunner.access import Access
from batchrunner.api.twins import twin
from batchrunner.errors import UsageError
from batchrunner.provider.proxies import Proxies
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings


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
        return Access(base_url=running.base_url, key=API_KEY, proxies=Proxies())

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


write_demo_async = twin(write_demo)
