"""The composition, other machines: what of a batch their workers must see, before anything of it is bought."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
import os
from pathlib import PurePath
import secrets
from typing import TYPE_CHECKING, Final

from batchrunner import places, storage
from batchrunner.access import Access
from batchrunner.batch import Batch
from batchrunner.core import address as addresses
from batchrunner.core.inputs import Source
from batchrunner.core.workers import Workers
from batchrunner.errors import TransferError
from batchrunner.provider.guard import guard_of

if TYPE_CHECKING:
    from batchrunner.distributed import Cluster
    from batchrunner.worker import Sights

MOST_LOOKED_AT: Final = 64
"""Folders of inputs, of results on disks, and of results in buckets, into which each worker looks before it is used."""


@asynccontextmanager
async def mustered(
    wanted: Workers | None, batch: Batch, access: Access, *, tell: Callable[[str], None]
) -> AsyncIterator[Cluster | None]:
    """The workers that carry for a run, looked at; None where this process carries.

    Raises:
        UsageError: they cannot be reached, or cannot be used; nothing was sent or bought.
    """
    if wanted is None:
        yield None
        return
    from batchrunner import distributed  # noqa: PLC0415 - a run without workers never loads it

    sights = await asyncio.to_thread(_sights, batch)
    cache = places.pictures_folder(os.environ)
    guard = guard_of(access.base_url)
    async with distributed.joined(wanted, sights=sights, guard=guard, tell=tell, cache=cache) as cluster:
        yield cluster


def _sights(batch: Batch) -> Sights:
    from batchrunner import worker  # noqa: PLC0415 - as above

    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    folders: dict[str, None] = {}
    for job in batch.jobs:
        for given in job.inputs:
            if given.source is Source.LOCAL:
                inputs.setdefault(_folder(given.value), given.value)
        if addresses.is_object(job.output):
            outputs.setdefault(_folder(job.output), job.output)
        else:
            folders[_folder(addresses.plain(job.output))] = None
    sizes: list[tuple[str, int]] = []
    for written in list(inputs.values())[:MOST_LOOKED_AT]:
        with suppress(OSError, TransferError):  # what is not there even here is told by the plan
            sizes.append((written, storage.at(batch.root, written).seen().size))
    return worker.Sights(
        root=batch.root,
        marker=f".batchrunner.{secrets.token_hex(6)}.marker",
        content=secrets.token_hex(16),
        # Those beyond the manifest's folder first: they may be on another disk.
        folders=tuple(batch.root / each for each in sorted(folders, key=_is_within)[:MOST_LOOKED_AT]),
        inputs=tuple(sizes),
        outputs=tuple(outputs.values())[:MOST_LOOKED_AT],
    )


def _folder(written: str) -> str:
    return written.rpartition("/")[0]


def _is_within(folder: str) -> bool:
    return not PurePath(folder).is_absolute()
