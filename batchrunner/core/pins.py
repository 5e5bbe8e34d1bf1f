"""What of a plan is agreed to, and where a later one is another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchrunner.core.differences import differences
from batchrunner.core.kind import DEFAULT
from batchrunner.core.plan import Plan

Pins = Mapping[str, Mapping[str, Any]]


def pins(made: Plan) -> Pins:
    """What is agreed to of each job to be bought: the action, the request and its inputs, price, model and output."""
    return {
        entry.id: {
            "action": str(entry.action),
            "kind": str(entry.kind),
            "request": entry.spec.body(),
            "inputs": {each.path: each.sha256 for each in entry.spec.inputs if each.path is not None},
            "hold": entry.spec.hold,
            "model": entry.spec.model,
            "output": entry.spec.output,
        }
        for entry in made.submitted
        if (entry.will_buy or entry.is_in_question) and entry.spec is not None
    }


def what_moved(agreed: Pins, now: Pins, *, without_tier: bool = False) -> list[str]:
    """Where the plan of now is not the one that was agreed to, job by job: which field, which file, which price.

    One that was made `without_tier` shows the most that any tier pays, and no model where tiers differ: a lower price
    and the model of the tier are then no move.
    """
    moved = [f"{job_id}: was not in that plan" for job_id in now if job_id not in agreed]
    for job_id, pinned in agreed.items():
        if job_id not in now:
            moved.append(f"{job_id}: is no longer to be bought")
        elif changes := _moves(_without_tier(pinned, now[job_id]) if without_tier else pinned, now[job_id]):
            moved.append(f"{job_id}: {'; '.join(changes)}")
    return moved


def _without_tier(pinned: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pin that was made without a tier, with what any tier of that price and model would have made of it."""
    hold, lower = pinned["hold"], now["hold"]
    is_covered = hold is not None and lower is not None and lower <= hold
    return {
        **pinned,
        "hold": lower if is_covered else hold,
        "model": now["model"] if pinned["model"] == DEFAULT else pinned["model"],
    }


def _moves(pinned: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences between two pins of one job, in words."""
    before = pinned.get("inputs") or {}
    files = [f"content of {path}" for path, sha in now["inputs"].items() if path in before and before[path] != sha]
    fields = differences("", pinned.get("request"), now["request"])
    words = {"kind": "kind", "hold": "price in credits", "model": "model", "output": "output", "action": "what is done"}
    others = [line for key, word in words.items() for line in differences(word, pinned.get(key), now[key])]
    return files + fields + others
