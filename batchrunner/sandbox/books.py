"""The account and its projects: every change is written down first, then made, and can be replayed.

Rules: the balance is what the account opened with and was topped up by, less what every project is charged, and
never below zero. A project is charged its hold when it is accepted, and less or nothing later; only a wrong
settlement that somebody asked for charges more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
import secrets
import string
import time
from typing import Any, Final, Literal

from batchrunner.sandbox import orders, prices, problems
from batchrunner.sandbox.journal import Journal, Record
from batchrunner.sandbox.orders import ClipOrder, Order
from batchrunner.sandbox.renderer import Rendered, RenderError

Status = Literal["queued", "rendering", "complete", "error", "canceled"]
Correction = Literal["settle", "refund"]
EntryKind = Literal["hold", "settle", "refund", "top-up", "spend"]
_ID_ALPHABET: Final = string.digits + string.ascii_lowercase


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A correction that the account still has to come: what the project is charged then, and when (Unix seconds)."""

    kind: Correction
    charged: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One accepted request. `held`, `charged` and `refunded` in credits; `width`, `height` are -1 before a result.

    `settled_at` is when the account was last squared with the project: None until then, and None for ever where a
    refund never comes. `due` is what is still to come.
    """

    id: str
    name: str
    at: str
    order: Order
    body: Mapping[str, Any]
    held: int
    charged: int
    fps: float
    status: Status = "queued"
    width: int = -1
    height: int = -1
    error: Mapping[str, str] | None = None
    is_deleted: bool = False
    is_disabled: bool = False
    refunded: int = 0
    settled_at: str | None = None
    due: Due | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still waits for a render."""
        return self.status in ("queued", "rendering") and not self.is_deleted and not self.is_disabled


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One movement of credits: negative when taken from the account; no project for what happened elsewhere."""

    at: str
    project: str | None
    kind: EntryKind
    credits: int
    balance: int


def _as_it_is(charged: int) -> int:
    return charged


class Books:
    """The only owner of the account's state; `account` and `secret` are made once and kept with it."""

    def __init__(self, journal: Journal, *, credits: int) -> None:
        self._journal = journal
        self.projects: dict[str, Project] = {}
        self.entries: list[Entry] = []
        self.account = self.secret = ""
        self.initial_credits = self.topped_up = self.balance = 0
        for record in journal.past():
            self._apply(record)
        if not self.account:
            self._commit(event="opened", account=new_id(), secret=secrets.token_hex(32), credits=credits, at=_now())

    def close(self) -> None:
        self._journal.close()

    def accept(self, order: Order, *, name: str | None, body: Mapping[str, Any], held: int, fps: float) -> Project:
        """A new queued project, on disk and charged.

        Raises:
            ApiError: 402 when the balance does not cover the hold; nothing is changed.
        """
        if held > self.balance:
            raise problems.insufficient_credits(needed=held, balance=self.balance)
        project_id, at = new_id(), _now()
        self._commit(
            event="accepted",
            id=project_id,
            at=at,
            name=f"{order.kind.replace('-', ' ').title()} - {at}" if name is None else name,
            order=orders.to_record(order),
            body=body,
            held=held,
            fps=fps,
        )
        return self.projects[project_id]

    def begin(self, project_id: str) -> None:
        """A worker has it. Not written down: after a crash the render begins anew in any case."""
        self._change(project_id, status="rendering")

    def complete(
        self,
        project_id: str,
        rendered: Rendered,
        *,
        correct: Callable[[int], int] = _as_it_is,
        settle_after_s: float = 0.0,
    ) -> None:
        """The result is on disk; a video-to-video job settles to the frames that were really rendered.

        `correct` is given the right charge and gives the one that is made, `settle_after_s` seconds later.
        """
        project = self.projects[project_id]
        charged = project.charged
        if isinstance(project.order, ClipOrder):
            charged = prices.clip_settlement(frames=rendered.frames, held=project.held)
        self._finish(
            project,
            "settle",
            correct(charged),
            settle_after_s,
            event="completed",
            fps=rendered.fps,
            width=rendered.width,
            height=rendered.height,
        )

    def fail(self, project_id: str, error: RenderError, *, refund_after_s: float | None = 0.0) -> None:
        """The render failed; all of its credits come back, at once or so many seconds later, or (None) never."""
        project = self.projects[project_id]
        charged = project.charged if refund_after_s is None else 0
        self._finish(
            project, "refund", charged, refund_after_s or 0.0, event="failed", code=error.code, message=error.message
        )

    def _finish(self, project: Project, kind: Correction, charged: int, after_s: float, **record: Any) -> None:
        """Write down how a render ended, with the charge that comes of it now or is due later."""
        if after_s > 0:
            due = {"kind": kind, "charged": charged, "at_s": time.time() + after_s}
            record |= {"charged": project.charged, "due": due}
        else:
            record["charged"] = self._affordable(project, charged)
        self._commit(id=project.id, at=_now(), **record)

    def correct(self, project_id: str) -> None:
        """Make the correction that was due."""
        project = self.projects[project_id]
        if project.due is not None:
            charged = self._affordable(project, project.due.charged)
            self._commit(event="corrected", id=project_id, at=_now(), kind=project.due.kind, charged=charged)

    def _affordable(self, project: Project, charged: int) -> int:
        """The charge, as far as the balance covers it: an account shows no debts (OpenAPI 2026-09)."""
        return min(charged, project.charged + self.balance)

    def credit(self, credits: int) -> None:
        """Credits that came or went elsewhere: a top-up, or (negative) something bought in the web app.

        Raises:
            ApiError: 422 when more would go than there is.
        """
        if self.balance + credits < 0:
            raise problems.unprocessable(f"The balance is {self.balance}; {-credits} cannot be spent")
        self._commit(event="credited", at=_now(), credits=credits)

    def due(self) -> Iterator[tuple[str, float]]:
        """Ids of projects with a correction still to come, and when (Unix seconds)."""
        for project in tuple(self.projects.values()):
            if project.due is not None:
                yield project.id, project.due.at_s

    def cancel(self, project_id: str) -> None:
        """Cancelled as in the web app: all of its credits come back."""
        self._commit(event="canceled", id=project_id, at=_now())

    def delete(self, project_id: str) -> None:
        """Gone for good. What it was charged stays charged; what the provider does is not documented."""
        self._commit(event="deleted", id=project_id, at=_now())

    def disable(self, project_id: str) -> None:
        """Switched off in the web app: it stays visible with `enabled: false`, and stays charged."""
        self._commit(event="disabled", id=project_id, at=_now())

    def visible(self, project_id: str) -> Project:
        """The project, if it exists and was not deleted.

        Raises:
            ApiError: 404 otherwise.
        """
        project = self.projects.get(project_id)
        if project is None or project.is_deleted:
            raise problems.not_found()
        return project

    def open_projects(self) -> Iterator[str]:
        """Ids of what waits for a render, oldest first."""
        return (project.id for project in tuple(self.projects.values()) if project.is_open)

    def _commit(self, **record: Any) -> None:
        self._journal.append(record)
        self._apply(record)

    def _apply(self, record: Record) -> None:
        match record:
            case {"event": "opened"}:
                self.account, self.secret = record["account"], record["secret"]
                self.initial_credits = self.balance = record["credits"]
            case {"event": "accepted", "id": project_id, "at": at, "held": held}:
                self.projects[project_id] = Project(
                    id=project_id,
                    name=record["name"],
                    at=at,
                    order=orders.from_record(record["order"]),
                    body=record["body"],
                    held=held,
                    charged=held,
                    fps=record["fps"],
                )
                self._move(at, project_id, "hold", -held)
            case {"event": "completed", "id": project_id, "at": at, "charged": charged}:
                self._recharge(at, project_id, "settle", charged)
                due = _due(record)
                self._change(
                    project_id,
                    status="complete",
                    due=due,
                    settled_at=at if due is None else None,
                    fps=record["fps"],
                    width=record["width"],
                    height=record["height"],
                )
            case {"event": "failed", "id": project_id, "at": at}:
                charged = record.get("charged", 0)
                self._recharge(at, project_id, "refund", charged)
                error = {"code": record["code"], "message": record["message"]}
                settled_at = None if charged else at
                self._change(project_id, status="error", error=error, due=_due(record), settled_at=settled_at)
            case {"event": "canceled", "id": project_id, "at": at}:
                self._recharge(at, project_id, "refund", 0)
                self._change(project_id, status="canceled", settled_at=at)
            case {"event": "corrected", "id": project_id, "at": at, "kind": kind, "charged": charged}:
                self._recharge(at, project_id, kind, charged)
                self._change(project_id, due=None, settled_at=at)
            case {"event": "credited", "at": at, "credits": credits}:
                self.topped_up += credits
                self._move(at, None, "top-up" if credits > 0 else "spend", credits)
            case {"event": "disabled", "id": project_id}:
                self._change(project_id, is_disabled=True)
            case {"event": "deleted", "id": project_id}:
                self._change(project_id, is_deleted=True)

    def _recharge(self, at: str, project_id: str, kind: Correction, charged: int) -> None:
        project = self.projects[project_id]
        back = project.charged - charged
        self._change(project_id, charged=charged, refunded=project.refunded + (back if kind == "refund" else 0))
        if back:
            self._move(at, project_id, kind, back)

    def _move(self, at: str, project_id: str | None, kind: EntryKind, credits: int) -> None:
        self.balance += credits
        self.entries.append(Entry(at=at, project=project_id, kind=kind, credits=credits, balance=self.balance))

    def _change(self, project_id: str, **fields: Any) -> None:
        self.projects[project_id] = replace(self.projects[project_id], **fields)


def _due(record: Record) -> Due | None:
    return Due(**record["due"]) if "due" in record else None


def new_id() -> str:
    """An id of the provider's shape: a c, the time in base 36, and chance; 25 characters."""
    stamp, digits = time.time_ns() // 1_000_000, ""
    while stamp:
        stamp, digit = divmod(stamp, 36)
        digits = _ID_ALPHABET[digit] + digits
    return "c" + digits + "".join(secrets.choice(_ID_ALPHABET) for _ in range(24 - len(digits)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
