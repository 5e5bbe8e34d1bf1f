"""Where an input comes from, told from how it is written; and what was found in the file of a local one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
import re
from urllib.parse import SplitResult, parse_qs, urlsplit

from batchrunner.core import address as addresses, redact, yamltext
from batchrunner.core.facts import Facts, Media

# Docs integration/inputs-and-outputs.mdx: paths that an upload gave back, and those of saved items.
_UPLOADED = ("api-assets/", "saved-items/")
_LIBRARY_HOST = "magichour.ai"
_LIBRARY_PATH = "/my-library"
_YOUTUBE_HOSTS = ("youtube.com", "youtube-nocookie.com", "youtu.be")
_SEPARATORS = re.compile(r"[/\\]")


class Source(StrEnum):
    """Where an input comes from; only LOCAL, on a disk or in a bucket of the person's, is uploaded by us."""

    LOCAL = "local"
    URL = "url"
    LIBRARY = "library"
    UPLOADED = "uploaded"
    YOUTUBE = "youtube"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a job.

    `value` is the path (LOCAL, relative to the manifest's folder, or the address of an object) or the reference that
    travels.
    `extension` is lower case, without a dot, and empty where the reference has none (LIBRARY, YOUTUBE).
    """

    field: str
    source: Source
    value: str
    media: Media
    extension: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A local file that was looked into: what is in it, and the size and time that tell whether it is still that.

    `sha256` of an object, which is not read as a whole before it is sent, is the hash of its version.
    """

    path: str
    size: int
    modified_ns: int
    sha256: str
    facts: Facts


class NotAnInput(ValueError):
    """The text names nothing that can be an input; its own text says why."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@lru_cache(maxsize=1024)
def read_input(value: str, *, field: str, media: Media, extensions: tuple[str, ...]) -> Input:
    """Return the input that an asset path stands for; raises NotAnInput. Jobs of one matrix share theirs."""
    if field == "youtube_url":
        return _youtube(value, field)
    if not value.strip():
        raise NotAnInput("this must not be empty")
    if value.startswith(addresses.FILE):
        value = _of_file(value)
    elif addresses.is_object(value):
        if flaw := addresses.flaw_of(value):
            raise NotAnInput(
                f"{yamltext.quoted(addresses.shown(value))} is not the address of an object: {flaw}", hint=_OF_OBJECTS
            )
    elif "://" in value:
        return _remote(value, field=field, media=media, extensions=extensions)
    source = Source.UPLOADED if value.startswith(_UPLOADED) else Source.LOCAL
    if source is Source.LOCAL and "." not in _SEPARATORS.split(value)[-1]:
        raise NotAnInput(
            f"{yamltext.quoted(value)} has no extension that can be used",
            hint=f"possible: {', '.join(extensions)}; {for_each_file(value.rstrip('/') + '/*')}",
        )
    extension = _known_extension(value, media=media, extensions=extensions)
    return Input(field=field, source=source, value=value, media=media, extension=extension)


_OF_OBJECTS = "such as s3://bucket/clips/intro.mp4"


def _of_file(value: str) -> str:
    path = addresses.plain(value)
    if path == value:
        raise NotAnInput(f"{_shown(value)} names another machine, or no file", hint="such as file:///clips/intro.mp4")
    return path


def name_of(given: Input) -> str:
    """Return the name that `{name}` stands for: of the file, or the address' last part."""
    if given.source is Source.LOCAL or given.source is Source.UPLOADED:
        path = given.value
    else:
        path = urlsplit(given.value).path.rstrip("/")
    return _SEPARATORS.split(path)[-1]


def stem_of(given: Input) -> str:
    """Return the name that `{stem}` stands for: `name_of` without its extension."""
    name = name_of(given)
    return name.rpartition(".")[0] or name


def _youtube(value: str, field: str) -> Input:
    address = _address(value)
    host = (address.hostname or "").removeprefix("www.").removeprefix("m.").removeprefix("music.")
    if host not in _YOUTUBE_HOSTS or not address.path.strip("/"):
        raise NotAnInput(
            f"{_shown(value)} is not the address of a YouTube video",
            hint="such as https://www.youtube.com/watch?v=…",
        )
    return Input(field=field, source=Source.YOUTUBE, value=value, media="video", extension="")


def _remote(value: str, *, field: str, media: Media, extensions: Sequence[str]) -> Input:
    address = _address(value, hint=_OBJECTS)
    if address.hostname == _LIBRARY_HOST and address.path.rstrip("/") == _LIBRARY_PATH:
        # Docs integration/inputs-and-outputs.mdx: ?videoId=, ?imageId= (and ?audioId=) of the own account.
        wanted = f"{media}Id"
        if not parse_qs(address.query).get(wanted):
            raise NotAnInput(f"this library address names no {media}", hint=f"it must contain ?{wanted}=…")
        return Input(field=field, source=Source.LIBRARY, value=value, media=media, extension="")
    extension = _known_extension(address.path, media=media, extensions=extensions)
    return Input(field=field, source=Source.URL, value=value, media=media, extension=extension)


def _address(value: str, *, hint: str | None = None) -> SplitResult:
    try:
        address = urlsplit(value)
    except ValueError as error:
        raise NotAnInput(_no_address(value)) from error
    if address.scheme not in _WEB:
        raise NotAnInput(_no_address(value), hint=hint)
    if not address.hostname or re.search(r"\s", value):
        raise NotAnInput(_no_address(value))
    return address


def _no_address(value: str) -> str:
    return f"{_shown(value)} is not an address that starts with https://"


def _shown(address: str) -> str:
    """Return an address for a message: what follows it may be a signature, and what stands before it a password."""
    before, mark, _ = address.partition("?")
    return yamltext.quoted(redact.without_queries(before) + (f"?{redact.HIDDEN}" if mark else ""))


_WEB = frozenset({"http", "https"})
_OBJECTS = "an object is written s3://bucket/key, gs://bucket/key or az://container/key"


def for_each_file(pattern: str) -> str:
    """Return the hint for a path that was probably meant to name many files."""
    return f"for a job of each file write input: {{glob: {yamltext.quoted(pattern)}}}"


def _known_extension(path: str, *, media: Media, extensions: Sequence[str]) -> str:
    name = _SEPARATORS.split(path)[-1]
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if extension in extensions:
        return extension
    article = "an image" if media == "image" else "a video"
    said = f"{yamltext.quoted(name)} has no extension" if not extension else f".{extension} is not {article} format"
    raise NotAnInput(f"{said} that can be used", hint=f"possible: {', '.join(extensions)}")
