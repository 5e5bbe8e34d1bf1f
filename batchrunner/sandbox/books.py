"""The account and its projects: every change is written down first, then made, and can be replayed.

Rules: the balance is what the account opened with less what every project is charged. A project is charged its
hold when it is accepted, and less or nothing later, never more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
_ID_ALPHABET: Final = string.digits + string.ascii_lowercase


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One accepted request. `held` and `charged` in credits; `width` and `height` are -1 until there is a result."""

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

    @property
    def is_open(self) -> bool:
        """Whether it still waits for a render."""
        return self.status in ("queued", "rendering") and not self.is_deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One movement of credits: negative when taken from the account."""

    at: str
    project: str
    kind: Literal["hold", "settle", "refund"]
    credits: int
    balance: int


class Books:
    """The only owner of the account's state; `account` and `secret` are made once and kept with it."""

    def __init__(self, journal: Journal, *, credits: int) -> None:
        self._journal = journal
        self.projects: dict[str, Project] = {}
        self.entries: list[Entry] = []
        self.account = self.secret = ""
        self.initial_credits = self.balance = 0
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

    def complete(self, project_id: str, rendered: Rendered) -> None:
        """The result is on disk; a video-to-video job settles to the frames that were really rendered."""
        project = self.projects[project_id]
        charged = project.charged
        if isinstance(project.order, ClipOrder):
            charged = prices.clip_settlement(frames=rendered.frames, held=project.held)
        self._commit(
            event="completed",
            id=project_id,
            at=_now(),
            charged=charged,
            fps=rendered.fps,
            width=rendered.width,
            height=rendered.height,
        )

    def fail(self, project_id: str, error: RenderError) -> None:
        """The render failed; all of its credits come back."""
        self._commit(event="failed", id=project_id, at=_now(), code=error.code, message=error.message)

    def cancel(self, project_id: str) -> None:
        """Cancelled as in the web app: all of its credits come back."""
        self._commit(event="canceled", id=project_id, at=_now())

    def delete(self, project_id: str) -> None:
        """Gone for good. What it was charged stays charged; what the provider does is not documented."""
        self._commit(event="deleted", id=project_id, at=_now())

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
                self._change(
                    project_id,
                    status="complete",
                    fps=record["fps"],
                    width=record["width"],
                    height=record["height"],
                )
            case {"event": "failed", "id": project_id, "at": at}:
                self._recharge(at, project_id, "refund", 0)
                error = {"code": record["code"], "message": record["message"]}
                self._change(project_id, status="error", error=error)
            case {"event": "canceled", "id": project_id, "at": at}:
                self._recharge(at, project_id, "refund", 0)
                self._change(project_id, status="canceled")
            case {"event": "deleted", "id": project_id}:
                self._change(project_id, is_deleted=True)

    def _recharge(self, at: str, project_id: str, kind: Literal["settle", "refund"], charged: int) -> None:
        before = self.projects[project_id].charged
        self._change(project_id, charged=charged)
        if before != charged:
            self._move(at, project_id, kind, before - charged)

    def _move(self, at: str, project_id: str, kind: Literal["hold", "settle", "refund"], credits: int) -> None:
        self.balance += credits
        self.entries.append(Entry(at=at, project=project_id, kind=kind, credits=credits, balance=self.balance))

    def _change(self, project_id: str, **fields: Any) -> None:
        self.projects[project_id] = replace(self.projects[project_id], **fields)


def new_id() -> str:
    """An id of the provider's shape: a c, the time in base 36, and chance; 25 characters."""
    stamp, digits = time.time_ns() // 1_000_000, ""
    while stamp:
        stamp, digit = divmod(stamp, 36)
        digits = _ID_ALPHABET[digit] + digits
    return "c" + digits + "".join(secrets.choice(_ID_ALPHABET) for _ in range(24 - len(digits)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
