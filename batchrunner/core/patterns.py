"""Glob patterns over paths with forward slashes.

`*` and `?` stay inside one name, `[abc]` and `[!abc]` stand for one character, `**` for any folders, `{mp4,mov}` for
one of several texts. A name that begins with a dot is matched only by a pattern whose part does, too. Upper and lower
case make a difference, but for the extension: cameras write `.MP4`. Composed and decomposed letters (NFC, NFD) are
the same letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
import re
import unicodedata

from batchrunner.core import address as addresses

MAX_LENGTH = 1000
MAX_ALTERNATIVES = 100

_MAGIC = re.compile(r"[*?\[]")
_STAR = ""


class BadPattern(ValueError):
    """The text is no pattern that can be used; its own text says why."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One pattern without alternatives.

    Attributes:
        text: as it was written.
        base: the folder before the first part with a wildcard; empty for the manifest's own.
        parts: what must follow beneath it, one for each folder and the last for the file; None is `**`.
        extension: lower case and without a dot; None where the pattern leaves it open.
    """

    text: str
    base: str
    parts: tuple[re.Pattern[str] | None, ...]
    extension: str | None

    def matches(self, path: str) -> bool:
        """Whether a file's path fits."""
        reached = self._reached(path)
        return len(self.parts) in reached

    def reaches(self, folder: str) -> bool:
        """Whether something beneath a folder could fit."""
        return bool(self._reached(folder) - {len(self.parts)})

    def takes_all_of(self, folder: str) -> bool:
        """Whether it ends with `**` there: whatever may lie beneath a folder fits, without a look into it."""
        is_open = len(self.parts) > 1 and self.parts[-2] is None and self.parts[-1] == _ANY_NAME
        return is_open and len(self.parts) - 2 in self._reached(folder)

    def _reached(self, path: str) -> frozenset[int]:
        """The parts that could come next once this path is passed; the number of parts where it fits as a whole."""
        here = composed(path)
        if self.base:
            if here == self.base:
                return _opened(self.parts, {0})
            if not here.startswith(self.base if self.base == "/" else f"{self.base}/"):
                return frozenset()
            here = here[len(self.base) :].lstrip("/")
        elif here.startswith("/") or addresses.is_object(here):
            return frozenset()
        reached = _opened(self.parts, {0})
        for name in here.split("/") if here else ():
            reached = _opened(self.parts, set(_after(self.parts, reached, name)))
            if not reached:
                break
        return reached


def _after(parts: tuple[re.Pattern[str] | None, ...], reached: frozenset[int], name: str) -> Iterator[int]:
    for at in reached:
        if at == len(parts):
            continue
        part = parts[at]
        if part is None:
            if not name.startswith("."):
                yield at
        elif part.fullmatch(name):
            yield at + 1


def _opened(parts: tuple[re.Pattern[str] | None, ...], reached: set[int]) -> frozenset[int]:
    """With each `**`, what stands behind it, since it may stand for no folder at all."""
    found = set(reached)
    for at in sorted(reached):
        while at < len(parts) and parts[at] is None:
            at += 1  # noqa: PLW2901 - walks on
            found.add(at)
    return frozenset(found)


def composed(path: str) -> str:
    """Return the path with composed letters (NFC), whatever the file system writes."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


@lru_cache(maxsize=4096)
def compiled(text: str) -> tuple[Pattern, ...]:
    """Return the patterns that a text stands for, one for each of its alternatives; raises BadPattern."""
    if len(text) > MAX_LENGTH:
        raise BadPattern("this pattern is too long", hint=f"at most {MAX_LENGTH} characters")
    if "\\" in text:
        raise BadPattern("a backslash cannot separate folders", hint="write / on every system, and [*] for the sign *")
    if text.startswith("~"):
        raise BadPattern("~ does not stand for the home folder here", hint="write the path relative to the manifest")
    return tuple(_pattern(each, text) for each in _alternatives(composed(text)))


def _alternatives(text: str) -> list[str]:
    """Return the texts that `{a,b}` stands for."""
    done, open_ = [], [text]
    while open_:
        here = open_.pop()
        found = _first_braces(here)
        if found is None:
            done.append(here)
        else:
            begin, end, inner = found
            open_ += [here[:begin] + each + here[end:] for each in inner]
        if len(done) + len(open_) > MAX_ALTERNATIVES:
            raise BadPattern("this pattern has too many alternatives", hint=f"at most {MAX_ALTERNATIVES}")
    return sorted(done)


def _first_braces(text: str) -> tuple[int, int, list[str]] | None:
    """Return where the first braces begin and end, and what stands between their commas; None without any."""
    begin, depth, cuts, in_set = -1, 0, [0], False
    for at, char in enumerate(text):
        if in_set:
            in_set = char != "]"
        elif char == "[":
            in_set = True
        elif char == "{":
            begin, depth = (at, 1) if depth == 0 else (begin, depth + 1)
            cuts = [at] if depth == 1 else cuts
        elif depth and char == "," and depth == 1:
            cuts.append(at)
        elif depth and char == "}":
            depth -= 1
            if depth == 0:
                cuts.append(at)
                inner = [text[start + 1 : stop] for start, stop in pairwise(cuts)]
                return begin, at + 1, inner
        elif char == "}":
            raise BadPattern("a brace stands alone", hint="write [}] for the brace itself")
    if depth:
        raise BadPattern("a brace is never closed", hint="write [{] for the brace itself")
    return None


def _pattern(text: str, written: str) -> Pattern:
    head, text = addresses.split(text)
    _check_head(head, written)
    is_absolute = text.startswith("/")
    if text.endswith("/") or (head and not text):
        raise BadPattern("this names a folder, not files", hint=f"write {text}* for all files in it")
    names = [name for name in text.split("/") if name not in {"", "."}]
    if not names:
        raise BadPattern("this names no files", hint="such as clips/*.mp4")
    fixed = next((at for at, name in enumerate(names) if _MAGIC.search(name)), len(names))
    fixed = min(fixed, len(names) - 1)
    if ".." in names[0 if head else fixed :]:
        raise BadPattern(".. cannot stand behind a wildcard", hint="begin the pattern with it: ../clips/*.mp4")
    base = (head or ("/" if is_absolute else "")) + "/".join(names[:fixed])
    base = base.removesuffix("/") if head else base
    below = names[fixed:]
    if below[-1] == "**":
        below.append("*")
    last = len(below) - 1
    parts = tuple(None if name == "**" else _part(name, is_last=at == last) for at, name in enumerate(below))
    return Pattern(text=written, base=base, parts=parts, extension=_extension(below[-1]))


def _check_head(head: str, written: str) -> None:
    """Refuse a bucket that is no name; `file:///` was made a path before. Raises BadPattern."""
    if head and (flaw := addresses.flaw_of(f"{head}x") or addresses.flaw_of_signs(written)):
        raise BadPattern(f"this is no address of objects: {flaw}", hint="such as s3://bucket/clips/*.mp4")
    if not head and "://" in written:
        raise BadPattern("this address cannot be listed", hint="possible: a path, s3://, gs://, az:// and file:///")


def _extension(name: str) -> str | None:
    stem, dot, extension = name.rpartition(".")
    if not dot or _MAGIC.search(extension) or "]" in extension:
        return "" if not _MAGIC.search(name) and not (dot and stem) else None
    return extension.lower()


def _part(name: str, *, is_last: bool) -> re.Pattern[str]:
    """Return the pattern of one name. Atomic groups, as in the standard library's fnmatch, keep it linear."""
    if "**" in name:
        raise BadPattern("** stands for folders, alone between slashes", hint="such as clips/**/*.mp4")
    pieces = list(_pieces(name))
    dots = [at for at, piece in enumerate(pieces) if piece == r"\."] if is_last else []
    dot = dots[-1] if dots else len(pieces)
    pieces = [f"(?i:{piece})" if at > dot and piece else piece for at, piece in enumerate(pieces)]
    chunks: list[str] = [""]
    for piece in pieces:
        if piece == _STAR:
            chunks.append("")
        else:
            chunks[-1] += piece
    first, *rest = chunks
    body = first + "".join(f"(?>.*?{chunk})" for chunk in rest[:-1]) + (f".*{rest[-1]}" if rest else "")
    hidden = "" if name.startswith(".") else r"(?!\.)"
    return re.compile(hidden + body, re.DOTALL)


def _pieces(name: str) -> Iterator[str]:
    at = 0
    while at < len(name):
        char = name[at]
        at += 1
        if char == "*":
            yield _STAR
        elif char == "?":
            yield "."
        elif char == "[":
            # A bracket that comes first in a set is one of its characters.
            end = name.find("]", at + 1 + (name[at : at + 1] == "!"))
            if end < 0:
                raise BadPattern("a bracket is never closed", hint="write [[] for the bracket itself")
            yield _set(name[at:end])
            at = end + 1
        else:
            yield re.escape(char)


def _set(inner: str) -> str:
    sign = "^" if inner.startswith("!") else ""
    rest = inner.removeprefix("!")
    pieces, at = [], 0
    while at < len(rest):
        first, last = rest[at], rest[at + 2 : at + 3]
        if rest[at + 1 : at + 2] == "-" and last:
            if last < first:
                raise BadPattern(f"the range {first}-{last} is empty", hint=f"write {last}-{first}")
            pieces.append(f"{re.escape(first)}-{re.escape(last)}")
            at += 3
        else:
            pieces.append(re.escape(first))
            at += 1
    return f"[{sign}{''.join(pieces)}]"


_ANY_NAME = _part("*", is_last=True)


def escaped(path: str) -> str:
    """Return the pattern that fits just this path; raises BadPattern for one that no pattern can be written for."""
    if "\\" in path:
        raise BadPattern("a name with a backslash cannot be written as a pattern", hint="rename it")
    text = re.sub(r"([*?\[{}])", r"[\1]", path)
    return f"./{text}" if text.startswith("~") else text


def all_of(folder: str) -> str:
    """Return the pattern that fits all that lies in a folder; raises BadPattern as `escaped` does."""
    return f"{escaped(folder)}/**"
