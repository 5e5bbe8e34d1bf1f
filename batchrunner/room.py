"""Whether the disks have room for what a plan brings; looked at before anything is bought."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path, PurePosixPath
import shutil

from batchrunner import storage
from batchrunner.core import address as addresses, space
from batchrunner.core.job import BOUGHT
from batchrunner.core.plan import Plan
from batchrunner.core.spec import Spec
from batchrunner.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One disk, as far as a plan is concerned with it.

    Attributes:
        folder: a folder on it.
        free: bytes that are free now.
        least: bytes that the results surely take.
        most: bytes that they may take.
    """

    folder: Path
    free: int
    least: int
    most: int

    @property
    def words(self) -> str | None:
        """What to say of it before a run; None when there is room enough."""
        if self.most <= self.free:
            return None
        return f"{self.folder} has {_megabytes(self.free)} free, and the results may take {_megabytes(self.most)}"


def look(root: Path, made: Plan) -> tuple[Room, ...]:
    """Every disk that results go to, those bought already included; `root` is the manifest's folder."""
    found: dict[int, Room] = {}
    devices: dict[Path, tuple[int, Path]] = {}
    for spec in _coming(made):
        if addresses.is_object(spec.output):
            continue  # a bucket has no end
        folder = (root / PurePosixPath(addresses.plain(spec.output))).parent
        if folder not in devices:
            existing = _existing(folder) or root
            devices[folder] = (existing.stat().st_dev, existing)
        device, existing = devices[folder]
        disk = found.get(device) or Room(folder=existing, free=shutil.disk_usage(existing).free, least=0, most=0)
        need = space.need_of(spec)
        found[device] = Room(
            folder=disk.folder, free=disk.free, least=disk.least + need.least, most=disk.most + need.most
        )
    return tuple(found.values())


def _existing(folder: Path) -> Path | None:
    """The nearest folder around a place that is there and can be looked at."""
    for each in (folder, *folder.parents):
        with suppress(OSError):
            if each.is_dir():
                return each
    return None


def _coming(made: Plan) -> Iterator[Spec]:
    for entry in made.entries:
        if entry.will_buy and entry.spec is not None:
            yield entry.spec
        elif entry.known is not None and entry.known.state in BOUGHT:
            yield entry.known.spec


def refuse_if_too_small(root: Path, made: Plan) -> None:
    """Refuse to buy what there is surely no room for; what was bought already is no reason.

    Raises:
        UsageError: naming the disk.
    """
    bill = made.bill()
    if bill.jobs == bill.in_question:
        return
    for disk in look(root, made):
        if disk.least > disk.free:
            raise UsageError(
                f"the results do not fit: {disk.folder} has {_megabytes(disk.free)} free, and they take at least"
                f" {_megabytes(disk.least)}",
                hint="make room; `batchrunner download` collects what was bought and fits; --ignore-disk-space goes"
                " on regardless",
            )


def refuse_if_closed(root: Path, made: Plan) -> None:
    """Refuse to buy what could not be written where it is to go, on a disk or in a bucket.

    Raises:
        UsageError: naming the place, and why.
    """
    if not made.bill().jobs:
        return
    storage.refuse_if_closed(spec.output for spec in _coming(made))
    wanted = (entry.spec.output for entry in made.submitted if entry.will_buy and entry.spec is not None)
    here = dict.fromkeys(os.path.dirname(addresses.plain(each)) for each in wanted if not addresses.is_object(each))  # noqa: PTH120 - a hundred thousand
    for folder in map(root.joinpath, here):
        if (why := _closed(folder)) is not None:
            raise UsageError(f"no result can be put into {folder}: {why}", hint="mend that, or change output")


def _closed(folder: Path) -> str | None:
    """Why nothing can be written into a folder, or it cannot be made; None where it can, as far as can be told."""
    try:
        for each in (folder, *folder.parents):
            if each.is_dir():
                return None if os.access(each, os.W_OK | os.X_OK) else f"{each} cannot be written"
            if os.path.lexists(each):
                return f"{each} is no folder" if each.exists() else f"{each} is a link that leads nowhere"
    except OSError as error:
        return error.strerror or str(error)
    return None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
