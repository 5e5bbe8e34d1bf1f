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
    {"packed": true}                                           gzip unasked, at download
    {"preview": true}                                          a picture before the clip, at project
    {"status": 302, "headers": {"Location": "#"}, "count": 1}  redirected, to where it is
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
from batchrunner.sandbox import jsonvalues
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
    packed: bool = False
    preview: bool = False

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
    "packed": ("download",),
    "preview": ("project",),
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
        raise ValueError(f"expected a list of rules, got {jsonvalues.shown(listed)}")
    rules = []
    for number, spec in enumerate(listed, 1):
        try:
            rules.append(_read(spec))
        except ValueError as error:
            raise ValueError(f"rule {number}: {error}") from error
    return tuple(rules)


def _read(spec: object) -> Rule:
    values = jsonvalues.fields(spec, _KEYS)
    assert isinstance(spec, dict), "jsonvalues.fields accepts nothing else"
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


def _amount(value: object) -> Amount:
    fields = jsonvalues.fields(value, {"factor": jsonvalues.number, "credits": jsonvalues.whole})
    if len(fields) != 1:
        raise ValueError("expected either a factor or credits")
    return Amount(**fields)


def _failure(value: object) -> Failure:
    return Failure(
        **jsonvalues.fields(
            value,
            {
                "code": jsonvalues.text,
                "message": jsonvalues.text,
                "delay": jsonvalues.number,
                "refund": jsonvalues.one_of("at once", "late", "never"),
                "refund_after": jsonvalues.number,
            },
        )
    )


def _after(value: object) -> After | None:
    """`true`, or an object with a delay."""
    if isinstance(value, bool):
        return After() if value else None
    return After(**jsonvalues.fields(value, {"delay": jsonvalues.number}))


def _output(value: object) -> Output:
    if "seconds" not in (fields := jsonvalues.fields(value, {"seconds": jsonvalues.rate})):
        raise ValueError("expected seconds")
    return Output(**fields)


_KEYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "step": jsonvalues.one_of(*STEPS),
    "job": jsonvalues.text,
    "kind": jsonvalues.one_of("video-to-video", "image-to-video"),
    "model": jsonvalues.text,
    "input": jsonvalues.text,
    "event": jsonvalues.text,
    "skip": jsonvalues.whole,
    "count": jsonvalues.whole,
    "probability": lambda value: jsonvalues.number(value, most=1),
    "status": lambda value: jsonvalues.whole(value, least=200, most=599),
    "code": jsonvalues.text,
    "message": jsonvalues.text,
    "headers": jsonvalues.headers,
    "retry_after": jsonvalues.number,
    "retry_after_date": jsonvalues.number,
    "body": jsonvalues.text,
    "processed": jsonvalues.flag,
    "drop": jsonvalues.one_of("before", "after"),
    "drop_by": jsonvalues.one_of("reset", "close"),
    "hang": jsonvalues.number,
    "hang_after": jsonvalues.number,
    "garbage": jsonvalues.one_of(*_GARBAGE),
    "truncate": jsonvalues.size,
    "trickle": jsonvalues.rate,
    "omit": jsonvalues.texts,
    "null": jsonvalues.texts,
    "extra": jsonvalues.mapping,
    "charge": _amount,
    "freeze_balance": jsonvalues.flag_or(jsonvalues.whole),
    "status_word": jsonvalues.text,
    "expire_addresses": jsonvalues.flag_or(jsonvalues.number),
    "etag": jsonvalues.one_of("new", "weak", "none"),
    "packed": jsonvalues.flag,
    "preview": jsonvalues.flag,
    "render_error": _failure,
    "cancel": _after,
    "delete": _after,
    "disable": _after,
    "slow_queue": jsonvalues.number,
    "settle": _amount,
    "late_settle": jsonvalues.number,
    "wrong_output": _output,
    "black": jsonvalues.flag,
    "lose": jsonvalues.flag,
    "copies": lambda value: jsonvalues.whole(value, least=1, most=100),
    "late": jsonvalues.number,
    "stale": jsonvalues.number,
    "forge": jsonvalues.flag,
}
