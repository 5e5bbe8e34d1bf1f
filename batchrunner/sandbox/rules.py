"""Rules of misbehaviour, as a person writes them in JSON: what they match, how often, and what they do then.

A fault file is a list of objects; of those that match, the first one decides. What is matched (all optional):

    {"step": "create", "job": "night/*", "kind": "image-to-video", "model": "kling-*",
     "input": "https://magichour.ai/my-library*", "skip": 2, "count": 3, "probability": 0.5}

Answers, at any step but `render` and `webhook`:

    {"status": 429, "retry_after": 2}                          or "retry_after_date": 2, "headers": {...}
    {"status": 402, "code": "subscription_required", "message": "..."}          or "body": "raw text"
    {"status": 502, "processed": true}                         handled first, and charged
    {"drop": "before"}, {"drop": "after", "drop_by": "close"}  the connection is reset, or closed
    {"hang": 5}, {"hang_after": 5}                             seconds, before or after it is handled
    {"garbage": "truncated"}                                   or nonsense, html, empty, array
    {"truncate": 1000}, {"truncate": 0.5}, {"trickle": 5000}   bytes, share of the body, bytes a second
    {"omit": ["download"], "null": ["fps"], "extra": {"progress": 3}}
    {"expire_addresses": true}                                 or seconds that they live
    {"etag": "new"}                                            or weak, none: of results, at download
    {"status_word": "thinking", "count": 3}
    {"freeze_balance": true}                                   or the balance that is shown
    {"charge": {"factor": 2.0}}, {"charge": {"credits": 999}}  at create; really taken

Fates, at the step `render`, which a project passes once, when it is accepted:

    {"render_error": {"code": "nsfw", "message": "...", "delay": 2, "refund": "late", "refund_after": 5}}
    {"cancel": true}, {"delete": {"delay": 3}}, {"disable": {"delay": 3}}
    {"slow_queue": 30}
    {"settle": {"factor": 0.8}, "late_settle": 10}, {"settle": {"credits": 100}}
    {"wrong_output": {"seconds": 2}}, {"black": true}

Notices, at the step `webhook`:

    {"event": "video.completed", "lose": true}                 any event, if none is named
    {"copies": 3}, {"late": 5}, {"stale": 600}, {"forge": true}

Reading only; what the effects mean on the wire and in the farm is in faults.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
import json
import math
from pathlib import Path
from typing import Any, Final, Literal

from batchrunner.errors import UsageError
from batchrunner.sandbox.passage import STEPS, Amount, Call, Etag, Step

Garbage = Literal["nonsense", "truncated", "html", "empty", "array"]
_GARBAGE: Final = ("nonsense", "truncated", "html", "empty", "array")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A render that fails `delay` seconds after it began (None: as long as a render takes)."""

    code: str = "unknown_error"
    message: str = "An unknown error occurred. Please contact support."
    delay: float | None = None
    refund: Literal["at once", "late", "never"] = "at once"
    refund_after: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """So many seconds after the project was accepted."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A result that is not as long as it was asked to be."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One object of a fault file: the keys are the fields, `spec` is the object itself.

    Matching: `steps` is `step`, or wherever all effects mean something; `job`, `model` and `input` are globs, and
    what a request does not tell matches no glob. The first `skip` matches pass, and at most `count` of the others are
    taken, each with `probability`.

    Answers: `status` instead of the answer (of handling it first, if `processed`); `drop` the connection before or
    after handling it; `hang` seconds before handling it, `hang_after` seconds after; `garbage` instead of a body;
    `truncate` to so many bytes (or that share, below 1) of what Content-Length says; `trickle` bytes a second.
    The other effects carry the name of what they change. Units: seconds, credits, bytes.
    """

    spec: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = STEPS
    step: Step | None = None
    job: str | None = None
    kind: str | None = None
    model: str | None = None
    input: str | None = None
    event: str | None = None
    skip: int = 0
    count: float = math.inf
    probability: float = 1.0

    status: int | None = None
    code: str | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    retry_after_date: float | None = None
    body: str | None = None
    processed: bool = False
    drop: Literal["before", "after"] | None = None
    drop_by: Literal["reset", "close"] = "reset"
    hang: float = 0.0
    hang_after: float = 0.0
    garbage: Garbage | None = None
    truncate: float | None = None
    trickle: float | None = None
    omit: tuple[str, ...] = ()
    null: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    charge: Amount | None = None
    freeze_balance: bool | int = False
    status_word: str | None = None
    expire_addresses: bool | float = False
    etag: Etag = "right"

    render_error: Failure | None = None
    cancel: After | None = None
    delete: After | None = None
    disable: After | None = None
    slow_queue: float = 0.0
    settle: Amount | None = None
    late_settle: float = 0.0
    wrong_output: Output | None = None
    black: bool = False

    lose: bool = False
    copies: int = 1
    late: float = 0.0
    stale: float = 0.0
    forge: bool = False

    def fits(self, call: Call) -> bool:
        """Whether the call is one that it is about; chance and counting come after."""
        return (
            call.step in self.steps
            and (self.kind is None or self.kind == call.kind)
            and _is_like(self.job, call.job)
            and _is_like(self.model, call.model)
            and _is_like(self.input, call.input)
            and _is_like(self.event, call.event)
        )


def _is_like(pattern: str | None, text: str | None) -> bool:
    return pattern is None or (text is not None and fnmatchcase(text, pattern))


_REQUESTS: Final[tuple[Step, ...]] = tuple(step for step in STEPS if step not in ("render", "webhook"))
_RENDER: Final[tuple[Step, ...]] = ("render",)
_WEBHOOK: Final[tuple[Step, ...]] = ("webhook",)
_MATCHING: Final = ("step", "job", "kind", "model", "input", "event", "skip", "count", "probability")
_STEPS_OF: Final[Mapping[str, tuple[Step, ...]]] = {
    "charge": ("create",),
    "freeze_balance": ("account",),
    "status_word": ("project",),
    "expire_addresses": ("project", "upload-urls", "download", "upload"),
    "etag": ("download",),
    "omit": ("account", "upload-urls", "create", "project"),
    "null": ("account", "upload-urls", "create", "project"),
    "extra": ("account", "upload-urls", "create", "project"),
    "render_error": _RENDER,
    "cancel": _RENDER,
    "delete": _RENDER,
    "disable": _RENDER,
    "slow_queue": _RENDER,
    "settle": _RENDER,
    "late_settle": _RENDER,
    "wrong_output": _RENDER,
    "black": _RENDER,
    "lose": _WEBHOOK,
    "copies": _WEBHOOK,
    "late": _WEBHOOK,
    "stale": _WEBHOOK,
    "forge": _WEBHOOK,
}
"""Where an effect means something; those that are not here change any request."""

_NEEDS: Final[Mapping[str, str]] = {
    "code": "status",
    "message": "status",
    "headers": "status",
    "retry_after": "status",
    "retry_after_date": "status",
    "body": "status",
    "processed": "status",
    "drop_by": "drop",
}
_ALONE: Final = (("status", "drop", "garbage"), ("render_error", "cancel", "delete", "disable"))


def read_file(path: Path) -> tuple[Rule, ...]:
    """The rules of a file: a JSON list of objects.

    Raises:
        UsageError: it cannot be read, or a rule is wrong; the text names the rule and the key.
    """
    try:
        listed = json.loads(path.read_text("utf-8"))
        return read_list(listed)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def read_list(listed: object) -> tuple[Rule, ...]:
    """The rules of a decoded list of objects.

    Raises:
        ValueError: one of them is wrong; the text names it, counted from 1.
    """
    if not isinstance(listed, list):
        raise ValueError(f"expected a list of rules, got {_name(listed)}")  # noqa: TRY004 - the caller knows one kind
    rules = []
    for number, spec in enumerate(listed, 1):
        try:
            rules.append(_read(spec))
        except ValueError as error:
            raise ValueError(f"rule {number}: {error}") from error
    return tuple(rules)


def _read(spec: object) -> Rule:
    values = _fields(spec, _KEYS)
    assert isinstance(spec, dict), "_fields accepts nothing else"
    for key, needed in _NEEDS.items():
        if key in spec and needed not in spec:
            raise ValueError(f"{key} says how to {needed}, and there is no {needed}")
    for group in _ALONE:
        both = [key for key in group if key in spec]
        if len(both) > 1:
            raise ValueError(f"{' and '.join(both)} exclude each other")
    if not (steps := _steps(spec)):
        raise ValueError(_nowhere(spec))
    return Rule(spec=spec, steps=steps, **values)


def _effects(spec: Mapping[str, Any]) -> list[str]:
    return [key for key in spec if key not in _MATCHING]


def _steps(spec: Mapping[str, Any]) -> tuple[Step, ...]:
    asked = (spec["step"],) if "step" in spec else STEPS
    return tuple(step for step in asked if all(step in _STEPS_OF.get(effect, _REQUESTS) for effect in _effects(spec)))


def _nowhere(spec: Mapping[str, Any]) -> str:
    for effect in _effects(spec):
        where = _STEPS_OF.get(effect, _REQUESTS)
        if "step" in spec and spec["step"] not in where:
            return f"{effect} means nothing at step {spec['step']}; it does at {', '.join(where)}"
    return f"{', '.join(_effects(spec))} have no step in common"


# --- values


def _fields(spec: object, keys: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Every key of an object, read by its reader.

    Raises:
        ValueError: a key that is not known, or a value that is wrong.
    """
    if not isinstance(spec, dict):
        raise ValueError(f"expected an object, got {_name(spec)}")  # noqa: TRY004
    values = {}
    for key, value in spec.items():
        if key not in keys:
            raise ValueError(f"unknown key {key!r}; known are {', '.join(keys)}")
        try:
            values[key] = keys[key](value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return values


def _name(value: object) -> str:
    return json.dumps(value, default=str)[:60]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {_name(value)}")  # noqa: TRY004
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {_name(value)}")  # noqa: TRY004
    return value


def _number(value: object, *, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        limit = "a number from 0" if most == math.inf else f"a number from 0 to {most:g}"
        raise ValueError(f"expected {limit}, got {_name(value)}")
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def _whole(value: object, *, least: int = 0, most: int = 2**53) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        limit = f"from {least}" if most == 2**53 else f"from {least} to {most}"
        raise ValueError(f"expected a whole number {limit}, got {_name(value)}")
    return value


def _rate(value: object) -> float:
    if not (rate := _number(value)):
        raise ValueError("expected more than 0 bytes a second")
    return rate


def _size(value: object) -> float:
    """Bytes, or a share of them below one."""
    size = _number(value)
    if size >= 1 and size != int(size):
        raise ValueError(f"expected whole bytes, or a share below 1, got {_name(value)}")
    return size


def _one_of(*choices: str) -> Callable[[Any], str]:
    def choice(value: object) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {_name(value)}")
        return str(value)

    return choice


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list of texts, got {_name(value)}")  # noqa: TRY004
    return tuple(_text(item) for item in value)


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {_name(value)}")  # noqa: TRY004
    return value


def _headers(value: object) -> dict[str, str]:
    headers = {key: str(text) for key, text in _object(value).items()}
    # What cannot travel in a header would break the server instead of the client.
    if not all(text.isascii() and text.isprintable() for pair in headers.items() for text in pair):
        raise ValueError("expected printable ASCII")
    return headers


def _amount(value: object) -> Amount:
    fields = _fields(value, {"factor": _number, "credits": _whole})
    if len(fields) != 1:
        raise ValueError("expected either a factor or credits")
    return Amount(**fields)


def _failure(value: object) -> Failure:
    return Failure(
        **_fields(
            value,
            {
                "code": _text,
                "message": _text,
                "delay": _number,
                "refund": _one_of("at once", "late", "never"),
                "refund_after": _number,
            },
        )
    )


def _after(value: object) -> After | None:
    """`true`, or an object with a delay."""
    if isinstance(value, bool):
        return After() if value else None
    return After(**_fields(value, {"delay": _number}))


def _output(value: object) -> Output:
    if "seconds" not in (fields := _fields(value, {"seconds": _rate})):
        raise ValueError("expected seconds")
    return Output(**fields)


def _flag_or(number: Callable[[Any], float]) -> Callable[[Any], float]:
    def read(value: object) -> float:
        return value if isinstance(value, bool) else number(value)

    return read


_KEYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "step": _one_of(*STEPS),
    "job": _text,
    "kind": _one_of("video-to-video", "image-to-video"),
    "model": _text,
    "input": _text,
    "event": _text,
    "skip": _whole,
    "count": _whole,
    "probability": lambda value: _number(value, most=1),
    "status": lambda value: _whole(value, least=200, most=599),
    "code": _text,
    "message": _text,
    "headers": _headers,
    "retry_after": _number,
    "retry_after_date": _number,
    "body": _text,
    "processed": _flag,
    "drop": _one_of("before", "after"),
    "drop_by": _one_of("reset", "close"),
    "hang": _number,
    "hang_after": _number,
    "garbage": _one_of(*_GARBAGE),
    "truncate": _size,
    "trickle": _rate,
    "omit": _texts,
    "null": _texts,
    "extra": _object,
    "charge": _amount,
    "freeze_balance": _flag_or(_whole),
    "status_word": _text,
    "expire_addresses": _flag_or(_number),
    "etag": _one_of("new", "weak", "none"),
    "render_error": _failure,
    "cancel": _after,
    "delete": _after,
    "disable": _after,
    "slow_queue": _number,
    "settle": _amount,
    "late_settle": _number,
    "wrong_output": _output,
    "black": _flag,
    "lose": _flag,
    "copies": lambda value: _whole(value, least=1, most=100),
    "late": _number,
    "stale": _number,
    "forge": _flag,
}
