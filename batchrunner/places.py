"""Where files of the person are, and reading the catalogue from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
import shlex

from batchrunner import system, zones
from batchrunner.core import catalog as catalogue, findings, reader, yamlevents
from batchrunner.core.catalog import Catalog
from batchrunner.core.reader import Around
from batchrunner.errors import ManifestError, UsageError


def user_catalog_path(environ: Mapping[str, str]) -> Path:
    """The person's own catalogue, which corrects and adds to the one that the package carries; it need not exist."""
    return system.config_folder(environ) / "catalog.yaml"


def notify_path(environ: Mapping[str, str]) -> Path:
    """The person's file of addresses that notices are sent to; it need not exist."""
    return system.config_folder(environ) / "notify"


def pictures_folder(environ: Mapping[str, str]) -> Path:
    """Where small pictures are kept, by runs and their workers, by reports and dashboards; they can be made again."""
    return system.cache_folder(environ) / "pictures"


def around(variables: Mapping[str, str], environ: Mapping[str, str]) -> Around:
    """What a manifest is read with beside its text: words for its variables, the environment, the files it includes."""
    return Around(
        variables=variables,
        environ=environ,
        fetch=lambda name: text_of(Path(name), what="the included file "),
        zones=zones.names,
    )


def load_catalog(
    manifest_path: Path | None, text: str | None, environ: Mapping[str, str], *, around: Around | None = None
) -> Catalog:
    """The package's catalogue, with the person's own over it, and over that the one that the manifest names.

    Args:
        manifest_path: the manifest; a catalogue it names is relative to its folder.
        text: what stands in the manifest; None where there is none.
        environ: tells where the person's own is (see `user_catalog_path`).
        around: what the manifest is read with, where the catalogue's name may hold a variable.

    Raises:
        UsageError: a catalogue file cannot be read.
        ManifestError: one is wrong; every problem in it is told with its place.
    """
    catalog = _of_the_package()
    own = user_catalog_path(environ)
    if own.exists():
        catalog = with_file(catalog, own)
    if manifest_path is None or not text:
        return catalog
    named = reader.catalog_of(text, source=str(manifest_path), around=around)
    if named is None:
        return catalog
    return with_file(catalog, manifest_path.parent / named)


def with_file(catalog: Catalog, path: Path) -> Catalog:
    """The catalogue with the corrections of one file in it.

    Raises:
        UsageError: it cannot be read.
        ManifestError: it is wrong; every problem in it is told with its place.
    """
    return catalogue.merge(
        catalog, catalogue.parse_catalog_patch(text_of(path, what="the catalogue "), source=str(path))
    )


@cache
def _of_the_package() -> Catalog:
    file = resources.files("batchrunner.data") / "catalog.yaml"
    return catalogue.parse_catalog(file.read_text(encoding="utf-8"), source="catalog.yaml")


def text_of(path: Path, *, what: str = "") -> str:
    """The text of a file that the person wrote; `what` names its sort in an error.

    Raises:
        UsageError: it cannot be read; or it is none of the manifest itself, which may come through a pipe, and is no
            file.
        ManifestError: it is no UTF-8; the place is that of the first byte that is none.
    """
    if what and _is_no_file(path):
        raise UsageError(f"cannot read {what}{path}: it is no regular file", hint="such as a pipe; name a file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")
        raise ManifestError([yamlevents.not_utf8(before, source=str(path))]) from error
    except OSError as error:
        is_lacking = isinstance(error, FileNotFoundError) and not what
        hint = hint_for_no_manifest(path) if is_lacking else None
        raise UsageError(f"cannot read {what}{path}: {error.strerror or error}", hint=hint) from error


def hint_for_no_manifest(path: Path) -> str:
    """What may have been meant by a manifest that is not there: one of a name like it, or none that exists yet."""
    near = findings.nearest(path.name, _manifests_in(path.parent))
    if near is not None:
        return f"did you mean {path.with_name(near)}?"
    return "`batchrunner init FOLDER` writes one for the clips and stills in a folder"


def hint_for_a_folder(folder: Path) -> str:
    """What may have been meant by a folder where a manifest is wanted."""
    there = _manifests_in(folder)
    if there:
        more = f", or another of {len(there):,}" if len(there) > 1 else ""
        return f"did you mean {folder / there[0]}{more}?"
    return f"`batchrunner init {shlex.quote(str(folder))}` writes one for the clips and stills in it"


def _manifests_in(folder: Path) -> tuple[str, ...]:
    """The names in a folder that manifests have, sorted; none where it cannot be listed."""
    try:
        return tuple(sorted(each.name for each in folder.iterdir() if each.suffix in {".yaml", ".yml"}))
    except OSError:
        return ()


def _is_no_file(path: Path) -> bool:
    """Whether something is there that may be waited for without an end when it is opened: a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


HEAD = 4096
"""Bytes of a file by which it is told what it is."""


def refuse_to_replace(path: Path, *, what: str, marks: Sequence[str] = ("",)) -> None:
    """Refuse to write over a file that is no text, or has none of `marks` near its beginning; an empty one may go.

    Whoever mistypes a name must not lose a state file, a clip or a manifest by it.

    Raises:
        UsageError: it is there, and is not `what`.
    """
    try:
        if not path.is_file():  # nothing, a terminal, a pipe
            return
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return  # writing it tells why
    if head and (b"\0" in head or not any(mark.encode() in head for mark in marks)):
        raise UsageError(f"{path} is there already, and is no {what}", hint="name another file")
