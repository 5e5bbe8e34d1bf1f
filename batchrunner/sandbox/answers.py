"""The bodies of the API's answers, with every key the official SDK insists on, deprecated ones too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from starlette.responses import JSONResponse, Response

from batchrunner.sandbox.books import Books, Project
from batchrunner.sandbox.problems import ApiError, StorageError
from batchrunner.sandbox.settings import Plan, Tier


def refusal(error: ApiError) -> Response:
    """A refused API request: `{"code", "message"}` (OpenAPI 2026-09)."""
    return JSONResponse({"code": error.code, "message": error.message}, error.status)


def storage_refusal(error: StorageError) -> Response:
    """A refused presigned request, in XML as object storage answers."""
    content = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    )
    return Response(content, error.status, media_type="application/xml")


def account(books: Books, *, tier: Tier, plan: Plan) -> dict[str, Any]:
    """GET /v1/account (OpenAPI 2026-09); free accounts have no subscription."""
    subscription = None
    if tier != "free":
        subscription = {
            "name": tier.title(),
            "status": "active",
            "price": {"amount": plan.cents_per_month, "currency": "usd"},
            "discount": None,
            "billing_interval": "month",
            "current_period_end": (datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="seconds"),
            "cancel_at_period_end": False,
        }
    return {
        "id": books.account,
        "email": "sandbox@example.com",
        "tier": tier,
        "credits": books.balance,
        "subscription": subscription,
    }


def created(project: Project) -> dict[str, Any]:
    """POST of either kind; `estimated_frame_cost` is deprecated and still required by the SDK."""
    return {
        "id": project.id,
        "credits_charged": project.charged,
        "estimated_frame_cost": project.charged,
    }


def video_project(project: Project, *, downloads: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """GET /v1/video-projects/{id}; `download` and `total_frame_cost` are deprecated and still required."""
    order = project.order
    return {
        "id": project.id,
        "name": project.name,
        "status": project.status,
        "type": order.kind.replace("-", "_").upper(),
        "created_at": project.at,
        "width": project.width,
        "height": project.height,
        "enabled": not (project.is_deleted or project.is_disabled),
        "start_seconds": getattr(order, "start_s", 0),
        "end_seconds": order.end_s,
        "credits_charged": project.charged,
        "total_frame_cost": project.charged,
        "fps": project.fps,
        "error": project.error,
        "download": downloads[0] if downloads else None,
        "downloads": downloads,
    }


def ledger(books: Books, *, requests: Mapping[str, int], downloads: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What was accepted and what moved, in order; `requests` counts since this process started, as `downloads` tells.

    `topped_up` is what came from elsewhere, less what was spent there; those entries have no project.
    """
    return {
        "credits": books.balance,
        "initial_credits": books.initial_credits,
        "topped_up": books.topped_up,
        "creates": [
            {
                "id": project.id,
                "name": project.name,
                "kind": project.order.kind,
                "at": project.at,
                "held": project.held,
                "charged": project.charged,
                "refunded": project.refunded,
                "settled_at": project.settled_at,
                "status": project.status,
                "deleted": project.is_deleted,
                "disabled": project.is_disabled,
                "body": project.body,
            }
            for project in books.projects.values()
        ],
        "requests": dict(requests),
        "downloads": list(downloads),
        "entries": [
            {
                "at": entry.at,
                "project": entry.project,
                "kind": entry.kind,
                "credits": entry.credits,
                "balance": entry.balance,
            }
            for entry in books.entries
        ],
    }
