"""Where inputs come from and results go to: a file on a disk, or an object in a bucket. The one seam over both.

`at` gives the place that a path or an address of a manifest names; all else asks the place. `upload` and `download`
take plain values alone, so that a transfer can be carried out anywhere: by this process, or by another one that holds
no key to the provider's API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
import importlib.util
import os
from pathlib import Path
import sys
from typing import Final, TypeVar

from batchrunner import partial
from batchrunner.core import address as addresses
from batchrunner.core.expand import FileFact
from batchrunner.core.folder import Found
from batchrunner.core.outputs import mark_of
from batchrunner.errors import UsageError
from batchrunner.storage.local import LocalPlace
from batchrunner.storage.place import Incoming, Landed, Place, Readable
from batchrunner.transfer import Meter, Put

__all__ = [
    "Incoming",
    "Landed",
    "Place",
    "Readable",
    "abandon",
    "at",
    "download",
    "facts_of",
    "listed",
    "missing",
    "refuse_if_closed",
    "require",
    "sweep",
    "tried",
    "upload",
]

T = TypeVar("T")

AT_ONCE: Final = 16
"""Objects that are looked at together; a look is a request."""


def at(root: Path, written: str) -> Place:
    """The place that is written in a manifest; `root` is the manifest's folder."""
    if addresses.is_object(written):
        from batchrunner.storage.objects import ObjectPlace  # noqa: PLC0415 - only for who uses an address

        return ObjectPlace(address=addresses.read(written))
    return LocalPlace(path=root / addresses.plain(written), root=root)


def require(written: Iterable[str]) -> None:
    """Make sure that these paths and addresses can be reached by what is installed.

    Raises:
        UsageError: one of them needs another package.
    """
    objects = next((each for each in written if addresses.is_object(each)), None)
    if objects is not None and importlib.util.find_spec("obstore") is None:
        raise UsageError(
            f"{objects} is in a bucket, and one more package is needed to reach it",
            hint="pip install 'batchrunner[cloud]'",
        )


def facts_of(root: Path, names: Iterable[str]) -> dict[str, FileFact]:
    """What stands at each path; where nothing does, the names beside it."""
    return _of_each(names, lambda each: at(root, each).fact())


def missing(root: Path, files: Iterable[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    """Those of some results, by path and bytes, that are not where they were put, or have another size now.

    Raises:
        TransferError: of one in a bucket nobody can tell.
    """
    here, asked = str(root), dict.fromkeys(files)
    objects = dict.fromkeys(path for path, _ in asked if addresses.is_object(path))
    sizes: dict[str, int | None] = _of_each(objects, lambda each: _size(at(root, each))) if objects else {}
    return frozenset(
        (path, size) for path, size in asked if (sizes[path] if path in sizes else _size_here(here, path)) != size
    )


def taken(root: Path, outputs: Iterable[str]) -> frozenset[str]:
    """Those of some outputs on disk at whose path something stands already; what is in a bucket is not asked for.

    Each folder is listed once: most plans have one, and a look at each of very many files would take longer.
    """
    names: dict[str, frozenset[str]] = {}
    found = []
    for written in outputs:
        if addresses.is_object(written):
            continue
        folder, name = os.path.split(addresses.plain(written))
        if folder not in names:
            names[folder] = _names_in(os.path.join(root, folder))  # noqa: PTH118 - as in `_size_here`
        if name in names[folder]:
            found.append(written)
    return frozenset(found)


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - a hundred thousand, by name only
    except (OSError, ValueError):
        return frozenset()


def _size(place: Place) -> int | None:
    """The bytes of what is at a place now; None where nothing is."""
    try:
        return place.seen().size
    except (OSError, ValueError):  # a path with a null byte, out of a state file
        return None


def _size_here(root: str, written: str) -> int | None:
    """The same of a file, by itself: a place for each of very many would take longer than the look."""
    try:
        return os.stat(os.path.join(root, addresses.plain(written))).st_size  # noqa: PTH116, PTH118 - it is half the time
    except (OSError, ValueError):  # as above
        return None


def _of_each(names: Iterable[str], look: Callable[[str], T]) -> dict[str, T]:
    """What a look at each gives; objects are looked at together, since each takes a request."""
    here = list(names)
    objects = [each for each in here if addresses.is_object(each)]
    found = {each: look(each) for each in here if not addresses.is_object(each)}
    if objects:
        with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="objects") as pool:
            try:
                found |= zip(objects, pool.map(look, objects), strict=True)
            except KeyboardInterrupt:
                abandon()
                raise
    return {each: found[each] for each in here}


def abandon() -> None:
    """Have every thread go on that waits for a bucket: where the program is to end, nobody wants to know any more."""
    buckets = sys.modules.get("batchrunner.storage.buckets")
    if buckets is not None:  # loaded by the first address
        buckets.abandon()


def listed(base: str, *, is_deep: bool) -> list[Found]:
    """Every object in a folder in a bucket, by its address, and, if `is_deep`, beneath it; waits for the network.

    Raises:
        TransferError: it cannot be listed; its text says why.
    """
    from batchrunner.storage import objects  # noqa: PLC0415 - only for who uses an address

    return objects.listed(addresses.read(base), is_deep=is_deep)


def sweep(root: Path, ended: Iterable[tuple[str, str, str]], *, only_own: bool = False) -> None:
    """Remove what is left of downloads that nobody goes on with, given as target, job and project.

    With `only_own`, only what was of one try alone.
    """
    near: dict[str, partial.Left] = {}
    far = []
    for each, job, project in ended:
        if addresses.is_object(each):
            far.append((addresses.read(each), mark_of(job, project)))
            continue
        folder, slash, name = addresses.plain(each).rpartition("/")
        left = near.get(folder + slash)
        if left is None:
            left = near[folder + slash] = partial.left_in(root / (folder + slash), only_own=only_own)
        if left:  # hardly ever, and there may be very many that ended
            partial.remove(left, name, job, project)
    if far:
        from batchrunner.storage import objects  # noqa: PLC0415 - only for who uses an address

        objects.sweep(far, only_own=only_own)


def tried(written: Iterable[str]) -> dict[str, UsageError | None]:
    """The folders in buckets where results will go, and why one of them takes none; each is written to and tidied.

    Raises:
        UsageError: what buckets need is not installed.
    """
    objects = [each for each in written if addresses.is_object(each)]
    require(objects)
    folders = dict.fromkeys(str(addresses.read(each).beside("")) for each in objects)
    return _of_each(folders, _tried)


def _tried(folder: str) -> UsageError | None:
    from batchrunner.storage import objects  # noqa: PLC0415 - only for who uses an address

    return objects.tried(addresses.read(folder))


def refuse_if_closed(written: Iterable[str]) -> None:
    """Refuse to go on where a folder in a bucket takes no results, before anything is bought.

    Raises:
        UsageError: saying which, and why.
    """
    trouble = next(filter(None, tried(written).values()), None)
    if trouble is not None:
        raise trouble


async def upload(written: str, url: str, *, root: Path, sha256: str, size: int, put: Put, meter: Meter) -> None:
    """Send a file or an object to a presigned address, if it is still the one that was looked into.

    Args:
        written: a path, relative to `root`, or an address.
        url: the presigned address.
        root: the manifest's folder.
        sha256: of its content, or the hash of an object's version.
        size: in bytes.
        put: sends the bytes.
        meter: told of each piece that is sent.

    Raises:
        InputProblem: it cannot be read, or is no longer what it was.
        TransferError: it did not arrive.
    """
    await at(root, written).send(url, sha256=sha256, size=size, put=put, meter=meter)


async def download(written: str, incoming: Incoming[T], *, root: Path) -> Landed[T]:
    """Fetch a presigned address into a file or an object: whole and checked, or not at all, and never over another.

    Args:
        written: a path, relative to `root`, or an address; where that is taken, it gets a name beside it.
        incoming: what is fetched.
        root: the manifest's folder.

    Raises:
        DiskFull: the disk has no room for it.
        TransferError: it did not arrive whole, or failed the check, or could not be written.
    """
    return await at(root, written).receive(incoming)
