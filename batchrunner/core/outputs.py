"""Where a finished render goes: the output template, and names that every file system takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
import posixpath
import re
import unicodedata

from batchrunner.core import address as addresses, templates
from batchrunner.core.templates import Flaw

EXTENSION = ".mp4"
MAX_COMPONENT_BYTES = 200

_DRIVE = re.compile(r"[A-Za-z]:")
# Windows refuses these in names: learn.microsoft.com, "Naming Files, Paths, and Namespaces".
_UNSAFE = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{device}{digit}" for device in ("com", "lpt") for digit in "0123456789¹²³"]
)


_PARTIAL = re.compile(r"\..*\.([0-9a-f]{12})(?:-\d+)?\.(?:part|etag)(?:\..*)?", re.DOTALL)


def mark_of(job_id: str, project_id: str) -> str:
    """What tells the partial download of one render from every other."""
    return sha256(f"{job_id}/{project_id}".encode()).hexdigest()[:12]


def own_mark(mark: str, number: int) -> str:
    """The mark of one try alone, by a number below OWN_MARKS: several may fetch one render at the same time."""
    return f"{mark}{'' if '-' in mark else '-'}{number:0{OWN_DIGITS}}"


OWN_DIGITS = 12
OWN_MARKS = 10**OWN_DIGITS
_OWN = re.compile(rf"\..*\.[0-9a-f]{{12}}-\d{{{OWN_DIGITS},}}\.(?:part|etag)", re.DOTALL)


def has_own_mark(name: str) -> bool:
    """Whether a partial download's file name is of one try alone, so that no other try goes on with it."""
    return _OWN.fullmatch(name) is not None


def mark_in(name: str) -> str | None:
    """The mark in a partial download's file name; None for the name of any other file."""
    match = _PARTIAL.fullmatch(name)
    return match[1] if match else None


# In the order in which they are told; only the first one is.
_FLAWS: Sequence[tuple[Callable[[str], object], Flaw]] = (
    (
        lambda template: "\\" in template,
        Flaw("bad-output", "a backslash cannot separate folders", "write / on every system"),
    ),
    (
        lambda template: template.startswith(("/", "~")) or _DRIVE.match(template),
        Flaw("bad-output", "the output must stay inside the manifest's folder", "write a relative path"),
    ),
    (
        lambda template: not {"", ".", ".."}.isdisjoint(addresses.split(template)[1].split("/")),
        Flaw("bad-output", "the output must not contain empty parts, . or ..", "it stays inside the manifest's folder"),
    ),
    (
        lambda template: not template.endswith(EXTENSION),
        Flaw("bad-output", "the output must end with .mp4", "the provider renders MP4 files"),
    ),
)


def flaw_of(template: str) -> Flaw | None:
    """Return what is wrong with the form of an output template; None when nothing is. Names are not looked at."""
    told = templates.flaw_of(template, what="bad-output") or _flaw_of_address(template)
    return told or next((flaw for wrong, flaw in _FLAWS if wrong(template)), None)


def _flaw_of_address(template: str) -> Flaw | None:
    """What is wrong with where an output beyond the manifest's folder begins."""
    if addresses.is_object(template):
        at = addresses.read(template)
        if (
            not at.bucket
            or "{" in at.bucket
            or addresses.flaw_of(str(addresses.Address(scheme=at.scheme, bucket=at.bucket, key="x")))
        ):
            what = addresses.BUCKETS[at.scheme]
            return Flaw(
                "bad-output", f"the output must name its {what}", f"such as {at.scheme}://{what}/renders/{{id}}.mp4"
            )
    elif "://" in template and not template.startswith(f"{addresses.FILE}/"):
        said = "the output is at an address to which nothing can be written"
        return Flaw("bad-output", said, "possible: a path, s3://, gs://, az:// and file:///")
    return None


def render(template: str, values: Mapping[str, str]) -> str:
    """Return the path, each part of it safe; only an id and a path may bring folders of their own."""
    path = templates.fill(template, lambda name: values[name] if name in _WITH_FOLDERS else in_one_part(values[name]))
    head, rest = addresses.split(path)
    *folders, name = rest.split("/")
    return head + "/".join([*map(_safe_folder, folders), _safe(name)])


_WITH_FOLDERS = frozenset({"id", "relpath"})


def fixed_folder(template: str) -> str:
    """Return the folder that all outputs of a template lie in; empty for the manifest's own."""
    return posixpath.dirname(template.partition("{")[0])


def in_one_part(value: str) -> str:
    """Return a value that brings no folders of its own."""
    return value.replace("/", "_").replace("\\", "_")


def of_attempt(path: str, attempt: int, taken: Collection[str]) -> str:
    """Return a name beside `path` that tells the attempt, `hero.2.mp4`; `taken` holds the keys of those in use."""
    stem, number = path.removesuffix(EXTENSION), attempt
    while collision_key(name := f"{stem}.{number}{EXTENSION}") in taken:
        number += 1
    return name


def collision_key(path: str) -> str:
    """Return what two paths have in common when some file system takes them for the same."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?<!\.)")
"""Most names, which need nothing more than a look at what is reserved and at their length."""


def _safe(part: str) -> str:
    name = part
    if _SAFE.fullmatch(part) is None:
        name = _UNSAFE.sub("_", unicodedata.normalize("NFC", part)).rstrip(" .") or "_"
    if name.partition(".")[0].rstrip().casefold() in _RESERVED:
        name = f"_{name}"
    return name if len(name.encode()) <= MAX_COMPONENT_BYTES else _shortened(name)


_safe_folder = lru_cache(maxsize=1024)(_safe)
"""Very many results lie in few folders."""


def _shortened(name: str) -> str:
    """Return a name that is short enough and still different from others that were cut at the same place."""
    suffix = EXTENSION if name.endswith(EXTENSION) else ""
    tail = f"~{sha256(name.encode()).hexdigest()[:10]}{suffix}"
    head = name.encode()[: MAX_COMPONENT_BYTES - len(tail)].decode(errors="ignore")
    return head + tail
