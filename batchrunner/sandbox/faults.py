"""Scripted misbehaviour: rules applied to requests, projects and notices, readable and replaceable while it runs.

The first rule that takes a request or a project decides alone, so that an order of rules reads as one sentence:
"the first two creates fail, every later one is charged double". A rule without an effect shields what it matches
from those below it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
import json
import random
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batchrunner.sandbox import answers, chaos, passage, problems, rules, wire
from batchrunner.sandbox.books import Project
from batchrunner.sandbox.passage import Altered, Call, Delivery, Ending, Event, Fate, Proceed
from batchrunner.sandbox.renderer import RenderError
from batchrunner.sandbox.rules import After, Rule
from batchrunner.sandbox.settings import Settings

_STORAGE_STEPS: Final = ("upload", "download")
_CODES: Final = {
    400: "invalid_request",
    401: "unauthorized",
    402: "insufficient_credits",
    403: "forbidden",
    404: "not_found",
    422: "unprocessable_entity",
    429: "too_many_requests",
    500: "internal_server_error",
}
"""Codes of OpenAPI 2026-09; 403 and 429 are in no specification, and their codes are ours."""


class Live:
    """One rule at work: what it has seen and done. `frozen` is the balance it shows for good."""

    def __init__(self, rule: Rule, *, number: int, seed: int) -> None:
        self.rule = rule
        self.seen = self.applied = 0
        self.frozen: int | None = None
        self._key = f"{seed}/{number}"
        self._drawn: Counter[tuple[str, str | None]] = Counter()

    def takes(self, call: Call) -> bool:
        """Whether it applies to this call, which it counts."""
        if not self.rule.fits(call):
            return False
        self.seen += 1
        if self.seen <= self.rule.skip or self.applied >= self.rule.count or not self._is_lucky(call):
            return False
        self.applied += 1
        return True

    def _is_lucky(self, call: Call) -> bool:
        """Chance that is the same for the n-th such call of the same job, whatever other jobs do in between."""
        if self.rule.probability == 1:
            return True
        self._drawn[call.step, call.job] += 1
        key = f"{self._key}/{call.step}/{call.job}/{self._drawn[call.step, call.job]}"
        return random.Random(key).random() < self.rule.probability  # noqa: S311 - to be the same again


class Faults:
    """The rules in force, in order, with their counts; the same seed gives the same trouble."""

    def __init__(self, listed: Sequence[Rule] = (), *, seed: int = 0) -> None:
        self._seed = seed
        self._live: list[Live] = []
        self.replace(listed)

    def replace(self, listed: Sequence[Rule]) -> None:
        """Put other rules in force; their counts begin at nothing."""
        self._live = [Live(rule, number=number, seed=self._seed) for number, rule in enumerate(listed)]

    def taking(self, call: Call) -> Live | None:
        """The first rule that applies to this call."""
        return next((live for live in self._live if live.takes(call)), None)

    def to_json(self) -> dict[str, Any]:
        """The rules as they were written, and how many calls each has matched and been applied to."""
        return {
            "seed": self._seed,
            "rules": [live.rule.spec for live in self._live],
            "seen": [live.seen for live in self._live],
            "applied": [live.applied for live in self._live],
        }


class Trouble:
    """What a server is handed: its passage, its fates, its deliveries and its controls, all by the same rules."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    async def through(self, call: Call, proceed: Proceed) -> Response:
        """A `Passage`: the answer, or what a rule makes of it."""
        live = self.faults.taking(call)
        if live is None:
            return await proceed()
        rule = live.rule
        await asyncio.sleep(rule.hang)
        if rule.drop == "before":
            return wire.Cut(by=rule.drop_by)
        if rule.status is not None and not rule.processed:
            return _paced(_refusal(rule, call), rule)
        if call.step in _STORAGE_STEPS and rule.expire_addresses is not False:
            return answers.storage_refusal(problems.expired())
        answer = await proceed(_altered(rule))
        await asyncio.sleep(rule.hang_after)
        return _changed(answer, live, call)

    def foretell(self, project: Project) -> Fate:
        """A `Foretell`: what a rule of the step `render` makes of a project."""
        live = self.faults.taking(passage.call_of("render", project))
        return passage.ORDINARY if live is None else _fate(live.rule)

    def sending(self, event: Event, project: Project) -> Delivery:
        """A `Sending`: what a rule of the step `webhook` makes of a notice."""
        live = self.faults.taking(replace(passage.call_of("webhook", project), event=event))
        if live is None:
            return passage.USUAL
        rule = live.rule
        return Delivery(
            is_lost=rule.lose, copies=rule.copies, late_s=rule.late, stale_s=rule.stale, is_forged=rule.forge
        )

    def routes(self) -> list[Route]:
        """The control endpoint."""
        return [
            Route("/_sandbox/faults", self._read, methods=["GET"]),
            Route("/_sandbox/faults", self._replace, methods=["PUT"]),
        ]

    async def _read(self, _request: Request) -> Response:
        return JSONResponse(self.faults.to_json())

    async def _replace(self, request: Request) -> Response:
        """Put a list of rules in force, or the object that GET answers."""
        try:
            given = json.loads(await request.body())
            listed = rules.read_list(given["rules"] if isinstance(given, dict) and "rules" in given else given)
        except ValueError as error:
            return answers.refusal(problems.invalid_request(str(error)))
        self.faults.replace(listed)
        return JSONResponse(self.faults.to_json())


def trouble_of(settings: Settings) -> Trouble:
    """The trouble that the settings ask for: the file's rules first, then the chaos.

    Raises:
        UsageError: the fault file is wrong.
    """
    scripted = () if settings.faults is None else rules.read_file(settings.faults)
    by_chance = () if settings.chaos is None else rules.read_list(list(chaos.RULES[settings.chaos]))
    return Trouble(Faults((*scripted, *by_chance), seed=settings.seed))


def _altered(rule: Rule) -> Altered:
    lives_s = rule.expire_addresses
    return Altered(
        charge=rule.charge or passage.RIGHT,
        # An address that lives for no time has expired before it is read.
        address_ttl_s=None if lives_s is False else 0.0 if lives_s is True else float(lives_s),
        etag=rule.etag,
    )


def _changed(answer: Response, live: Live, call: Call) -> Response:
    """The answer to a request that was handled, as the rule has it."""
    rule = live.rule
    if rule.drop == "after":
        return wire.Cut(by=rule.drop_by)
    if rule.status is not None:
        return _paced(_refusal(rule, call), rule)
    changes = {**dict.fromkeys(rule.null), **rule.extra}
    if rule.freeze_balance is not False and answer.status_code == 200:
        changes["credits"] = _frozen(live, answer)
    if rule.status_word is not None:
        changes |= {"status": rule.status_word, "downloads": [], "download": None}
    if changes or rule.omit:
        answer = wire.rewritten(answer, changes=changes, without=rule.omit)
    if rule.preview:
        answer = wire.previewed(answer)
    if rule.packed:
        answer = wire.packed(answer)
    if rule.garbage is not None:
        answer = wire.garbled(rule.garbage, getattr(answer, "body", b""))
    return _paced(answer, rule)


def _frozen(live: Live, answer: Response) -> int:
    """The balance that the rule shows: the one it names, or the first it ever saw."""
    if live.frozen is None:
        named = live.rule.freeze_balance
        live.frozen = int(json.loads(bytes(answer.body))["credits"] if named is True else named)
    return live.frozen


def _paced(answer: Response, rule: Rule) -> Response:
    if rule.truncate is None and rule.trickle is None:
        return answer
    return wire.Paced(answer, limit=rule.truncate, rate=rule.trickle)


def _refusal(rule: Rule, call: Call) -> Response:
    """The error answer of a rule: its own body, the API's or the storage's shape, or a proxy's page."""
    status = rule.status or 500
    answer = _error(rule, status, is_storage=call.step in _STORAGE_STEPS)
    if rule.retry_after is not None:
        answer.headers["Retry-After"] = f"{rule.retry_after:g}"
    if rule.retry_after_date is not None:
        moment = datetime.now(UTC) + timedelta(seconds=rule.retry_after_date)
        answer.headers["Retry-After"] = format_datetime(moment, usegmt=True)
    answer.headers.update(rule.headers)
    return answer


def _error(rule: Rule, status: int, *, is_storage: bool) -> Response:
    if status in (204, 304):
        return Response(status_code=status)
    if rule.body is not None:
        return Response(rule.body, status, media_type="text/plain")
    reason = _reason(status)
    is_told = rule.code is not None or rule.message is not None
    if not is_told and status > 500 and not is_storage:
        return Response(wire.PROXY_PAGE.format(status=status, reason=reason), status, media_type="text/html")
    code, message = rule.code or _CODES.get(status, "error"), rule.message or reason
    if is_storage:
        return answers.storage_refusal(problems.StorageError(status, rule.code or reason.replace(" ", ""), message))
    return answers.refusal(problems.ApiError(status, code, message))


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


_ENDINGS: Final[tuple[tuple[str, Ending], ...]] = (
    ("cancel", "canceled"),
    ("delete", "deleted"),
    ("disable", "disabled"),
)


def _fate(rule: Rule) -> Fate:
    fate = Fate(
        queue_s=rule.slow_queue,
        settle=rule.settle or passage.RIGHT,
        settle_after_s=rule.late_settle,
        seconds=None if rule.wrong_output is None else rule.wrong_output.seconds,
        is_black=rule.black,
    )
    for key, ending in _ENDINGS:
        after: After | None = getattr(rule, key)
        if after is not None:
            return replace(fate, ending=ending, ending_after_s=after.delay)
    failure = rule.render_error
    if failure is None:
        return fate
    refund_after_s = {"at once": 0.0, "late": failure.refund_after, "never": None}[failure.refund]
    return replace(
        fate,
        error=RenderError(failure.code, failure.message),
        error_after_s=failure.delay,
        refund_after_s=refund_after_s,
    )
