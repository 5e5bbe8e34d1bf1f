"""The workers of a cluster as a run knows them: who is there, who may be used, and who is not heard of.

A worker is used once it was looked at: its versions, and whether it sees the batch's files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from batchrunner import crew, worker
from batchrunner.errors import UsageError
from batchrunner.worker import Sights

ANSWER_S: Final = 10.0
"""Seconds that a scheduler has for an answer, and a worker for a look at its files several times that."""

PACKAGES: Final = ("batchrunner", "distributed")


@dataclass(slots=True, kw_only=True)
class Worker:
    """A worker as it was last heard of."""

    name: str
    last_seen: float
    heard_at: float
    is_fit: bool = False


class Roll:
    """Who is there."""

    def __init__(self, sights: Sights, *, stalled_s: float, tell: Callable[[str], None]) -> None:
        """Nobody is, yet.

        Args:
            sights: what every worker must see.
            stalled_s: seconds after which one that was not heard of is not used.
            tell: a word for the person.
        """
        self._sights = sights
        self._stalled_s = stalled_s
        self._tell = tell
        self.workers: dict[str, Worker] = {}

    async def call(self, client: Any, *, is_first: bool = False) -> int:
        """See who is there, and look at those who are new; how many are gone.

        Raises:
            UsageError: one of the first cannot be used; later ones are told of.
            OSError, TimeoutError: there is no answer.
        """
        told = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), ANSWER_S)
        now = asyncio.get_running_loop().time()
        if is_first:
            ask = client.scheduler.versions(packages=PACKAGES)
            _refuse_versions("the scheduler", await asyncio.wait_for(ask, ANSWER_S))
        present: Mapping[str, Any] = told["workers"]
        gone = self.workers.keys() - present.keys()
        for each in gone:
            del self.workers[each]
        new = []
        for address, each in present.items():
            known = self.workers.get(address)
            if known is None:
                self.workers[address] = Worker(name=str(each["name"]), last_seen=each["last_seen"], heard_at=now)
                new.append(address)
            elif known.last_seen != each["last_seen"]:
                known.last_seen, known.heard_at = each["last_seen"], now
        if new:
            await self._examine(client, new, is_first=is_first)
        return len(gone)

    async def _examine(self, client: Any, new: list[str], *, is_first: bool) -> None:
        """Look at workers before they are used; of the first ones, none may be unfit."""
        asked = {"op": "versions", "packages": PACKAGES}
        limit_s = 3 * ANSWER_S
        ask = client.scheduler.broadcast(msg=asked, workers=new, on_error="ignore")
        versions = await asyncio.wait_for(ask, limit_s)
        with _marked(self._sights) as sights:
            for address in new:
                seen = self.workers[address]
                if versions.get(address) is None:
                    del self.workers[address]  # it is looked at again, if it is still there the next time
                    continue
                try:
                    _refuse_versions(self.named(address), versions[address])
                    seen.is_fit = await self._sees_all(client, address, sights, limit_s)
                except UsageError as error:
                    if is_first:
                        raise
                    self._tell(f"{error}; it is not used")

    async def _sees_all(self, client: Any, address: str, sights: Sights, limit_s: float) -> bool:
        """Whether a worker is there, and sees the batch's files.

        Raises:
            UsageError: it does not see one; names worker and file.
        """
        try:
            look = client.run(worker.objection, sights, workers=[address])
            found = (await asyncio.wait_for(look, limit_s))[address]
        except TimeoutError:
            found = f"took more than {limit_s:g} s to look at {sights.root}"
        except OSError:
            del self.workers[address]
            return False
        if found is not None:
            raise UsageError(
                f"{self.named(address)} {found}",
                hint="inputs and results must be where every worker reaches them under the same path: on a disk that"
                " they share, or in a bucket (docs/scale.md)",
            )
        return True

    def named(self, address: str) -> str:
        known = self.workers.get(address)
        name = address if known is None or known.name == address else f"{known.name} ({address})"
        return f"the worker {name}"

    def fit(self, avoided: frozenset[str] = frozenset()) -> frozenset[str]:
        """The workers that can be used now."""
        now = asyncio.get_running_loop().time()
        heard = {
            each for each, known in self.workers.items() if known.is_fit and now - known.heard_at < self._stalled_s
        }
        return frozenset(heard - avoided)

    def silent(self) -> set[str]:
        """Those that are there, and were not heard of for long."""
        now = asyncio.get_running_loop().time()
        return {each for each, known in self.workers.items() if now - known.heard_at >= self._stalled_s}


def _refuse_versions(who: str, theirs: Mapping[str, Any]) -> None:
    """Refuse one whose versions do not fit.

    Raises:
        UsageError: naming both.
    """
    for what, ours, other in differences(versions_here(), theirs):
        if other is None:
            raise UsageError(
                f"{who} has no {what}", hint=f"install {what} {ours} where the scheduler and the workers run"
            )
        raise UsageError(
            f"{who} has {what} {other}, and this run has {ours}", hint="have the same versions in both places"
        )


@contextmanager
def _marked(sights: Sights) -> Iterator[Sights]:
    """Have the marker that workers look for in the batch's folders, while in the block; what they are to see then.

    Of a folder that is not there yet it is in the nearest one that is. One into which this machine cannot write says
    nothing of workers, and is not asked for.
    """
    with ExitStack() as marked:
        try:
            _mark(sights.root, sights, marked)
        except OSError as error:
            raise UsageError(f"cannot write to {sights.root}: {error.strerror or error}") from error
        folders = []
        for folder in dict.fromkeys(map(_nearest, sights.folders)):
            if folder != sights.root:
                with suppress(OSError):
                    _mark(folder, sights, marked)
                    folders.append(folder)
        yield replace(sights, folders=tuple(folders))


def _mark(folder: Path, sights: Sights, marked: ExitStack) -> None:
    marker = folder / sights.marker
    marked.callback(_unmark, marker)
    marker.write_text(sights.content, encoding="utf-8")


def _unmark(marker: Path) -> None:
    with suppress(OSError):
        marker.unlink()


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next((each for each in (folder, *folder.parents) if each.is_dir()), folder)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """What of two reports on versions does not fit: its name, our version and theirs; None where it is missing."""
    ours_python, theirs_python = (".".join(str(each["host"]["python"]).split(".")[:2]) for each in (ours, theirs))
    if ours_python != theirs_python:
        yield "Python", ours_python, theirs_python
    for name in PACKAGES:
        mine, other = ours["packages"].get(name), theirs["packages"].get(name)
        if mine != other:
            yield name, str(mine), other


def versions_here() -> Mapping[str, Any]:
    found: Mapping[str, Any] = crew.library().versions.get_versions(packages=PACKAGES)
    return found
