"""Addresses of files beyond the manifest's folder: `s3://bucket/key`, `gs://…`, `az://container/…`, `file:///path`.

A file of ours is written as a path or as one of these. `file:///path` is another way to write a path, and becomes one
where it is read. An object keeps its address, which stands wherever a path could. Neither is percent-encoded: what
follows the bucket is the key, letter by letter, as the stores' own tools take it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
import re
from typing import Final

BUCKETS: Final = {"s3": "bucket", "gs": "bucket", "az": "container"}
"""Schemes of object stores, and what each calls the place where objects lie."""

FILE: Final = "file://"

_OBJECT = re.compile(r"(?P<scheme>s3|gs|az)://(?P<bucket>[^/]*)(?:/(?P<key>.*))?", re.DOTALL)
# Amazon S3 user guide, "General purpose bucket naming rules"; the others' rules are within these, but for upper case
# and underscores of old buckets.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
# The stores take these in keys; the library that speaks to them takes none.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one object lies. `key` has no slash in front."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.key.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The part of its key before the name, with the slash; empty at the top of a bucket."""
        return self.key[: len(self.key) - len(self.name)]

    def beside(self, name: str) -> Address:
        """The object of that name in the same place."""
        return Address(scheme=self.scheme, bucket=self.bucket, key=self.folder + name)


def is_object(text: str) -> bool:
    """Whether a text is written as the address of an object, right or wrong."""
    return "://" in text and _OBJECT.fullmatch(text) is not None  # most are paths, and the first is told soon


def read(text: str) -> Address:
    """The address that a text is; it has no flaw."""
    found = _OBJECT.fullmatch(text)
    assert found is not None
    return Address(scheme=found["scheme"], bucket=found["bucket"], key=found["key"] or "")


def flaw_of(text: str) -> str | None:
    """What is wrong with the address of an object; None when nothing is."""
    at = read(text)
    if not _BUCKET.fullmatch(at.bucket):
        what = BUCKETS[at.scheme]
        return f"what it begins with is no name of a {what}" if at.bucket else f"it names no {what}"
    if not {"", ".", ".."}.isdisjoint(at.key.split("/")):
        return "it has an empty part, . or .."
    return flaw_of_signs(at.key)


def flaw_of_signs(text: str) -> str | None:
    """What is wrong with the characters of a key, or of a pattern of keys; None when nothing is."""
    control = _CONTROL.search(text)
    return f"it holds the control character U+{ord(control[0]):04X}" if control else None


def shown(text: str) -> str:
    """An address as it may be told: without what stands for a user and a password where its bucket should be."""
    found = _OBJECT.fullmatch(text)
    if found is None or _BUCKET.fullmatch(found["bucket"]):
        return text
    _, at, rest = text.rpartition("@")
    if at:
        return f"{found['scheme']}://…@{rest}"
    user, colon, _ = found["bucket"].partition(":")
    return f"{found['scheme']}://{user}:…" if colon else text


def split(text: str) -> tuple[str, str]:
    """A path or an address as what must stay as it is, `s3://bucket/` or `file:///`, and the rest; "" for a path."""
    if is_object(text):
        at = read(text)
        head = f"{at.scheme}://{at.bucket}/"
        return head, text[len(head) :]
    return (f"{FILE}/", text[len(FILE) + 1 :]) if text.startswith(f"{FILE}/") else ("", text)


def plain(text: str) -> str:
    """The path that `file:///path` is; anything else as it is."""
    return text[len(FILE) :] if text.startswith(f"{FILE}/") else text


def within(text: str, root: str) -> str:
    """A path as it is written from the folder `root` on, where it lies in there; anything else as a plain path.

    `root` is an absolute path with slashes; "" is no folder, and then nothing lies in there.
    """
    path = plain(text)
    if not root or not path.startswith(root):
        return path
    if path == root:
        return ""
    start = f"{root.rstrip('/')}/"
    return path.removeprefix(start)


def key_of(text: str) -> str:
    """A path as it is, and of an object its key."""
    return read(text).key if is_object(text) else text


def beneath(folder: PurePath, written: str) -> str:
    """A path of the manifest's as it can be opened from where `folder` is one; an object's address as it is."""
    return written if is_object(written) else str(folder / plain(written))
