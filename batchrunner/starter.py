"""The first manifest for a folder: looks at what is there, and writes what `core.starter` makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
import os
from pathlib import Path

from batchrunner import inspect, listing, media, places
from batchrunner.core import folder as folders, starter
from batchrunner.core.catalog import Catalog
from batchrunner.core.facts import Facts
from batchrunner.core.folder import Folder, Found
from batchrunner.core.kind import Kind
from batchrunner.core.patterns import BadPattern
from batchrunner.core.starter import Sort
from batchrunner.errors import DamagedFile, UsageError

MOST_PROBED = 500
"""Of more files only so many are looked into, evenly spread; the rest is taken to be like them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A manifest that is ready to be written; `left_out` are the files it excludes, and why."""

    text: str
    counts: Mapping[Kind, int]
    left_out: Mapping[str, str]


def default_path(folder: Path) -> Path:
    """Where the manifest goes unless it is said: named after the folder, where the person is."""
    return Path(f"{folder.resolve().name or 'batch'}.yaml")


def make(folder: Path, manifest: Path, *, on_progress: inspect.Progress | None = None) -> Made:
    """Look at a folder, and make a manifest for what is in it; writes nothing.

    Raises:
        UsageError: there is nothing that could be rendered, or it cannot be read.
    """
    catalog = places.load_catalog(None, None, os.environ)
    root = manifest.resolve().parent
    where = _where(folder.resolve(), root)
    try:
        found, closed = _listed(root, where, catalog)
    except BadPattern as error:
        raise UsageError(f"{folder}: {error}", hint=error.hint) from error
    sorts = [_looked_into(root, kind, files, catalog, on_progress) for kind, files in found.items()]
    usable = [sort for sort in sorts if sort.files]
    if not usable:
        raise _nothing(folder, sorts, catalog)
    template, twins = starter.id_template(usable, where, catalog)
    usable = [replace(kept, closed=closed) for sort in usable if (kept := _without(sort, twins)).files]
    if not usable:
        raise UsageError(f"no file in {folder} can be used: {min(twins)}: {twins[min(twins)]}")
    if any(sort.kind is Kind.IMAGE_TO_VIDEO for sort in usable) and starter.model_for(catalog) is None:
        raise UsageError(f"no model of the catalogue has a price for {starter.SECONDS} seconds in {starter.RESOLUTION}")
    return Made(
        text=starter.text_of(usable, where=where, template=template, catalog=catalog),
        counts={sort.kind: len(sort.files) for sort in usable},
        left_out={**closed, **twins, **{path: why for sort in sorts for path, why in sort.excluded.items()}},
    )


def write(made: Made, manifest: Path, *, is_forced: bool) -> None:
    """Write the manifest.

    Raises:
        UsageError: it is there already, and not to be replaced; or it cannot be written.
    """
    places.refuse_to_replace(manifest, what="manifest")
    try:
        with manifest.open("w" if is_forced else "x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError as error:
        raise already_there(manifest) from error
    except OSError as error:
        raise UsageError(f"cannot write {manifest}: {error.strerror or error}") from error


def already_there(manifest: Path) -> UsageError:
    """The refusal to write over a manifest."""
    return UsageError(f"{manifest} is there already", hint="name another file with -o, or replace it with --force")


def _where(folder: Path, root: Path) -> str:
    """The folder as it is written in the manifest: relative where it lies beneath it, else in full."""
    if folder == root:
        return ""
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.as_posix()


def _listed(root: Path, where: str, catalog: Catalog) -> tuple[dict[Kind, tuple[Found, ...]], dict[str, str]]:
    """Return the files of each kind, and the folders among them that cannot be read, with why."""
    wanted: dict[Kind, Folder] = {kind: starter.folder_of(kind, where, catalog) for kind in Kind}
    seen = listing.look(root, tuple(wanted.values()))
    if where in seen.unreadable:
        raise UsageError(f"the folder {where or '.'} cannot be read: {seen.unreadable[where]}")
    closed = {each: f"this folder cannot be read: {why}" for each, why in seen.unreadable.items()}
    return {kind: folders.choose(folder, seen).files for kind, folder in wanted.items()}, closed


def _looked_into(
    root: Path, kind: Kind, files: Sequence[Found], catalog: Catalog, on_progress: inspect.Progress | None
) -> Sort:
    sample = (
        files if len(files) <= MOST_PROBED else [files[at * len(files) // MOST_PROBED] for at in range(MOST_PROBED)]
    )
    medium = starter.folder_of(kind, "", catalog).media
    facts: dict[str, Facts] = {}
    excluded: dict[str, str] = {}

    def probe(each: Found) -> Facts | str:
        try:
            found = media.probe(root / each.path, medium)
        except DamagedFile as error:
            return f"{error}{f' ({error.hint})' if error.hint else ''}"
        except OSError as error:
            return error.strerror or str(error)
        return starter.flaw_of(each, found, catalog) or found

    with ThreadPoolExecutor(max_workers=inspect.WORKERS, thread_name_prefix="probe") as pool:
        for done, (each, found) in enumerate(zip(sample, pool.map(probe, sample), strict=True), start=1):
            if isinstance(found, str):
                excluded[each.path] = found
            else:
                facts[each.path] = found
            if on_progress is not None:
                on_progress(done, len(sample), 0)
    usable = tuple(each for each in files if each.path not in excluded)
    return Sort(kind=kind, files=usable, excluded=excluded, facts=facts)


def _without(sort: Sort, twins: Mapping[str, str]) -> Sort:
    mine = {each.path: twins[each.path] for each in sort.files if each.path in twins}
    files = tuple(each for each in sort.files if each.path not in mine)
    facts = {path: found for path, found in sort.facts.items() if path not in mine}
    return replace(sort, files=files, facts=facts, excluded={**sort.excluded, **mine})


def _nothing(folder: Path, sorts: Sequence[Sort], catalog: Catalog) -> UsageError:
    damaged = next(((path, why) for sort in sorts for path, why in sort.excluded.items()), None)
    if damaged is not None:
        return UsageError(f"nothing in {folder} can be used: {damaged[0]}: {damaged[1]}")
    clips, stills = (", .".join(each) for each in (catalog.video_extensions, catalog.image_extensions))
    return UsageError(
        f"there are no clips and no stills in {folder}", hint=f"clips end with .{clips}; stills with .{stills}"
    )
