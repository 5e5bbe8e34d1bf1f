"""`plan`: what a run would do, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit

if TYPE_CHECKING:
    from batchrunner.core.job import Spec
    from batchrunner.core.plan import Entry, Plan


@click.command()
@options.manifest
@options.state
@options.rerender
@options.retry_failed
@options.only
@options.allow_unlisted
@options.as_json
def plan(
    manifest: Path,
    *,
    state: Path | None,
    rerender: bool,
    retry_failed: bool,
    only: tuple[str, ...],
    allow_unlisted: bool,
    as_json: bool,
) -> int:
    """Show what `run` would do with every job of MANIFEST, and why. Nothing is sent."""
    from batchrunner import batch
    from batchrunner.core.plan import Do, Wishes

    read = batch.read(manifest, state=state, allow_unlisted=allow_unlisted)
    wishes = Wishes(rerender=rerender, retry_failed=retry_failed, only=only)
    with show.looking() as on_progress:
        seen = batch.preview(read, wishes=wishes, on_progress=on_progress)
    made = seen.plan
    if as_json:
        show.as_json(shape(manifest, made))
        return Exit.OK
    show.problems(read.warnings + seen.warnings)
    print_plan(made)
    if any(entry.action is not Do.SKIP for entry in made.entries):
        flags = " --rerender" * rerender + " --retry-failed" * retry_failed
        show.say(f"next: batchrunner run {manifest}{flags}")
    return Exit.OK


def print_plan(made: Plan) -> None:
    """The plan as a table on standard output, and its totals."""
    rows = [
        (entry.id, entry.kind, entry.action, show.credits(entry.spec.hold if entry.spec else None), entry.reason)
        for entry in made.entries
    ]
    show.table(("job", "kind", "action", "credits ≤", "reason"), rows, right=frozenset({3}))
    totals = _totals(made)
    click.echo(
        f"\n{show.plural(totals['jobs'], 'job')}, {totals['to_render']:,} to render, "
        f"at most {show.credits(totals['credits']['hold'])} credits"
        + (f" and {unpriced} without a known price" if (unpriced := _unpriced(made)) else "")
    )


def shape(manifest: Path, made: Plan) -> dict[str, Any]:
    """The plan as JSON; fields may be added, none renamed."""
    return {
        "manifest": str(manifest),
        "jobs": [
            {
                "id": entry.id,
                "kind": entry.kind,
                "action": entry.action,
                "reason": entry.reason,
                "credits": _price(entry.spec),
                "warnings": [],
            }
            for entry in made.entries
        ],
        "totals": _totals(made),
        "account": None,
    }


def _price(spec: Spec | None) -> dict[str, int | None] | None:
    if spec is None or spec.hold is None:
        return None
    return {"low": spec.low, "expected": spec.expected, "hold": spec.hold}


def _totals(made: Plan) -> dict[str, Any]:
    from batchrunner.core.plan import BUYS

    bought = [entry.spec for entry in made.entries if entry.action in BUYS and entry.spec is not None]
    return {
        "jobs": len(made.entries),
        "to_render": len(bought),
        "credits": {
            "low": sum(spec.low or 0 for spec in bought),
            "expected": sum(spec.expected or 0 for spec in bought),
            "hold": sum(spec.hold or 0 for spec in bought),
        },
        "usd": None,
    }


def _unpriced(made: Plan) -> int:
    from batchrunner.core.plan import BUYS

    return sum(_has_no_price(entry) for entry in made.entries if entry.action in BUYS)


def _has_no_price(entry: Entry) -> bool:
    return entry.spec is not None and entry.spec.hold is None
