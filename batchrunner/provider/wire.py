"""Requests and responses exactly as they travel. Tolerant in what it reads: a body never costs us what it did say.

Read with or without deprecated keys, with unknown keys and statuses, with nulls. The official SDK's strict models
lose a project that was created and charged whenever a body differs from its schema; here a body that cannot be
understood still yields the project id that stands in it.

Sources: the provider's OpenAPI of 2026-09 and the SDK 0.90.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
import json
import math
import re
from typing import Any, Final

from batchrunner.core.redact import by_form

COMPLETE: Final = "complete"
ERROR: Final = "error"
CANCELED: Final = "canceled"
OVER: Final = frozenset({COMPLETE, ERROR, CANCELED})
"""Statuses after which nothing moves; every other one, known or not, is still under way."""

LONGEST_TEXT = 500
"""Characters kept of any text the provider sends about an error."""

LONGEST_WORD = 100
"""Characters kept of a status, a code, a plan: each is kept with every event that carries it."""

LONGEST_NAME = 1000
"""Characters kept of a project's name, and the most that an id or a file path has which is sent back as it came."""

Hide = Callable[[str], str]
"""Takes what must not be kept out of a text, such as the key that a service repeats."""


def as_it_is(text: str) -> str:
    """The text: nothing in it is to be hidden."""
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`GET /v1/account`."""

    id: str
    tier: str | None
    credits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTarget:
    """Where to put one file, and the name to use for it in a request afterwards."""

    upload_url: str
    file_path: str
    expires_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The answer to a paid request."""

    project_id: str
    credits_charged: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A presigned address; it is a secret while it lives."""

    url: str
    expires_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """`GET /v1/video-projects/{id}`. `status` is the provider's word, whatever it is."""

    id: str
    status: str
    name: str | None
    type: str | None
    is_deleted: bool
    credits_charged: int | None
    error_code: str | None
    error_message: str | None
    downloads: tuple[Download, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """What an error body says, in any of the shapes seen."""

    code: str | None
    message: str


class Unreadable(ValueError):
    """A body that is not what the endpoint promises; `project_id` is what could be saved from it."""

    def __init__(self, message: str, *, project_id: str | None = None) -> None:
        super().__init__(message)
        self.project_id = project_id


def account(body: bytes, *, hide: Hide = as_it_is) -> Account:
    """Read an account.

    Raises:
        Unreadable: the body is no JSON object.
    """
    data = _object(body, hide)
    return Account(
        id=_name(data.get("id")) or "",
        tier=_word(data.get("tier")),
        credits=_whole(data.get("credits")),
    )


def upload_request(files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Body of `POST /v1/files/upload-urls` for pairs of media (`video`, `image`) and extension without a dot."""
    return {"items": [{"type": media, "extension": extension} for media, extension in files]}


def upload_targets(body: bytes, *, expected: int, hide: Hide = as_it_is) -> list[UploadTarget]:
    """Read upload targets, in the order they were asked for.

    Raises:
        Unreadable: there are not as many as were asked for, or one has no address, or a path that is no path.
    """
    items = _object(body, hide).get("items")
    if not isinstance(items, list) or len(items) != expected:
        raise Unreadable(f"{expected} upload addresses were asked for and the answer holds another number")
    return [_upload_target(item) for item in items]


def _upload_target(item: Any) -> UploadTarget:
    url, path = (
        (_text(item.get(key)) for key in ("upload_url", "file_path")) if isinstance(item, dict) else (None, None)
    )
    if not url or not path or len(path) > LONGEST_NAME:
        raise Unreadable("an upload address is missing from the answer")
    return UploadTarget(upload_url=url, file_path=path, expires_at=_instant(item.get("expires_at")))


def created(body: bytes, *, hide: Hide = as_it_is) -> Created:
    """Read the answer to a paid request.

    Raises:
        Unreadable: it holds no project id in its proper place; `project_id` is what could be saved from it.
    """
    try:
        data = _object(body, hide)
    except Unreadable as error:
        raise Unreadable(str(error), project_id=rescued_id(body, hide=hide)) from None
    project_id = _text(data.get("id"))
    if project_id is None or not _can_be_id(data["id"].strip()):
        raise Unreadable("the answer holds no project id", project_id=rescued_id(body, hide=hide))
    return Created(project_id=project_id, credits_charged=_estimate(data.get("credits_charged")))


def _can_be_id(text: str) -> bool:
    """Whether a text can name a project: one step of an address, which leads nowhere else and steers no terminal."""
    is_plain = text.isascii() and text.isprintable() and not set(text) & set("/\\")
    return is_plain and text not in {"", ".", ".."} and len(text) <= LONGEST_NAME


_ID_IN_TEXT = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9_-]{8,64})"')


def rescued_id(body: bytes, *, hide: Hide = as_it_is) -> str | None:
    """The only project id that stands in a body which is not valid as a whole (cut off, wrapped, mixed with text)."""
    texts = {match.decode() for match in _ID_IN_TEXT.findall(body)}
    found = {text for text in texts if hide(text) == text}
    return found.pop() if len(found) == 1 else None


def project(body: bytes, *, project_id: str, hide: Hide = as_it_is) -> Project:
    """Read a project's state; `project_id` is the one that was asked for.

    Raises:
        Unreadable: the body is no JSON object, has no status, or is about another project.
    """
    data = _object(body, hide)
    status = _word(data.get("status"))
    if not status:
        raise Unreadable("the answer holds no status")
    if (told := _text(data.get("id"))) is not None and told != project_id:
        raise Unreadable("the answer is about another project than the one that was asked for")
    found = data.get("error")
    error = found if isinstance(found, dict) else {}
    is_deleted = data.get("enabled") is False
    charge = _charge if is_deleted or status in OVER else _estimate
    return Project(
        id=project_id,
        status=status,
        name=_name(data.get("name")),
        type=_word(data.get("type")),
        is_deleted=is_deleted,
        credits_charged=charge(data.get("credits_charged")),
        error_code=_word(error.get("code")),
        error_message=_brief(_text(error.get("message")) or "") or None,
        downloads=_downloads(data),
    )


def _downloads(data: Mapping[str, Any]) -> tuple[Download, ...]:
    """The addresses of the results; from the deprecated single `download` where the list is missing.

    The provider is known to give one video (2026-09). Of several files, those that are no clip by their names are left
    out; a single one is taken for what it is said to be.
    """
    items = data.get("downloads")
    if not isinstance(items, list) or not items:
        items = [data.get("download")]
    pairs = [(_text(item.get("url")), item.get("expires_at")) for item in items if isinstance(item, dict)]
    found = tuple(Download(url=url, expires_at=_instant(expires)) for url, expires in pairs if url)
    clips = tuple(each for each in found if not _NO_CLIP.search(each.url.partition("?")[0]))
    return clips or found


_NO_CLIP = re.compile(r"\.(?:png|jpe?g|jfif|gif|webp|avif|heic|heif|bmp|tiff?|json|txt|vtt|srt)$", re.IGNORECASE)
"""The path of what comes beside a clip, as a preview does: it would never pass for one, and keep the clip from disk."""


def error_body(body: bytes, *, hide: Hide = as_it_is) -> ErrorBody:
    """What an error answer says; never fails, whatever the body is.

    Shapes seen: `{"code", "message"}` (OpenAPI 2026-09), `{"message"}` (2026-08), `bodyErrors.issues` (2024-12). What
    is no JSON object was not written by the API but by something before it, whose pages tell no more than the status.
    """
    try:
        data = _object(body, hide)
    except Unreadable:
        return ErrorBody(code=None, message="")
    nested = data.get("error")
    source = nested if isinstance(nested, dict) and "message" not in data else data
    message = _text(source.get("message")) or _text(source.get("error")) or ""
    issues = data.get("bodyErrors", {}).get("issues") if isinstance(data.get("bodyErrors"), dict) else None
    found = (
        [_text(issue.get("message")) for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []
    )
    return ErrorBody(code=_word(source.get("code")), message=_brief("; ".join(filter(None, [message, *found]))))


_CODE = re.compile(rb"<Code>([^<]{1,200})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,2000})</Message>")


def storage_error(body: bytes) -> ErrorBody:
    """What a storage says about an error, as S3 and its kin do in XML; never fails, whatever the body is.

    Nothing else of the body is kept: S3 repeats the signature and the string that was signed.
    """
    code, message = _CODE.search(body), _MESSAGE.search(body)
    said = [match[1].decode("utf-8", "replace") for match in (code, message) if match]
    return ErrorBody(code=_word(said[0]) if code else None, message=_brief(": ".join(said)))


def _brief(text: str) -> str:
    return _cut(by_form(_printable(text)), LONGEST_TEXT)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _object(body: bytes, hide: Hide) -> dict[str, Any]:
    """The JSON object in a body, with what is to be hidden taken out of every text in it, before any is cut."""
    try:
        data = json.loads(body)
        said = data if hide is as_it_is else _hidden(data, hide)
    except (ValueError, RecursionError) as error:
        raise Unreadable("the answer is not JSON") from error
    if not isinstance(said, dict):
        raise Unreadable("the answer is not a JSON object")
    return said


def _hidden(value: Any, hide: Hide) -> Any:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, list):
        return [_hidden(each, hide) for each in value]
    return {key: _hidden(each, hide) for key, each in value.items()} if isinstance(value, dict) else value


def _word(value: Any) -> str | None:
    text = _text(value)
    return _cut(text, LONGEST_WORD) if text else None


def _name(value: Any) -> str | None:
    text = _text(value)
    return _cut(text, LONGEST_NAME) if text else None


def _text(value: Any) -> str | None:
    return _printable(value) if isinstance(value, str) and value else None


def _printable(text: str) -> str:
    """The text on one line, without characters that could steer a terminal.

    Addresses and ids are unharmed: they hold none of these characters.
    """
    return text.strip() if text.isprintable() else "".join(c if c.isprintable() else " " for c in text).strip()


def _whole(value: Any) -> int | None:
    """Credits: a whole number, also when it travels as 450.0; never from a boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if abs(value) > 1e15 or math.isnan(value):  # in this order: a number too great for a float is none either
        return None
    return int(value) if value == int(value) else None


def _charge(value: Any) -> int | None:
    """Credits charged; one below zero is nothing to reckon with."""
    credits = _whole(value)
    return credits if credits is not None and credits >= 0 else None


def _estimate(value: Any) -> int | None:
    """Credits charged for what is still under way; none at all are a charge that is yet to be told.

    Every render is charged when it is queued, and only a refund makes that 0 (SDK 0.90.0, docstring of `create`).
    """
    return _charge(value) or None


def _instant(value: Any) -> float | None:
    """Seconds since 1970 of an ISO 8601 time; None where there is none that can be read."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
