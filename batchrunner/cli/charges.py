"""What renders were really charged, held against the catalogue's prices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchrunner.cli import catalogue, show
from batchrunner.core.kind import Kind
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from batchrunner.core.drift import Row


def check(
    manifests: Sequence[Path], file: Path | None, kinds: frozenset[Kind], *, state: Path | None, as_json: bool
) -> int:
    """Show what renders were charged beside what the table says; the exit code.

    Raises:
        UsageError: a manifest is not there, and no state file of it either.
    """
    from batchrunner import store
    from batchrunner.core import drift

    charges = []
    for manifest in manifests:
        catalog = catalogue.read(manifest, file)
        path = state or store.path_for(manifest)
        with store.open_to_read(path) as view:
            if view is None and not manifest.exists():
                raise UsageError(f"there is neither {manifest} nor {path}")
            if view is None:
                show.say(f"{manifest}: nothing has been run yet (there is no {path})")
                continue
            if view.fact("provider") == "sandbox":
                show.say(f"{path}: these are charges of a sandbox, which has prices of its own")
            attempts = view.all_attempts()
        found = (drift.charge_of(attempt, catalog) for attempt in attempts if attempt.kind in kinds)
        charges += [each for each in found if each is not None]
    rows = drift.compare(charges)
    if as_json:
        show.as_json({"manifests": [str(each) for each in manifests], "groups": [_row_shape(row) for row in rows]})
    elif rows:
        _print_rows(rows)
    else:
        show.line("nothing to compare: not one render that was charged is on record")
    return Exit.OK


def _print_rows(rows: Sequence[Row]) -> None:
    from batchrunner.core.drift import Match

    cells = [
        (
            row.kind,
            f"{row.model} {row.resolution}{' audio' if row.audio else ''}",
            str(row.count),
            _span(row.per_second),
            _span(row.table_per_second) if row.table_per_second else catalogue.UNKNOWN,
            f"{row.different} differ" if row.match is Match.DIFFERENT else row.match,
        )
        for row in rows
    ]
    headings = ("kind", "what", "renders", "a second", "table", "")
    show.table(headings, cells, right=frozenset({2, 3, 4}))
    show.line("")
    off = [row for row in rows if row.match is Match.DIFFERENT]
    for row in off:
        assert row.table is not None
        show.line(
            f"{row.model} {row.resolution}: {show.credits(row.credits)} credits charged for "
            f"{show.plural(row.count, 'render')}, {show.credits(row.table)} by the table ({row.credits - row.table:+,})"
        )
    if not off:
        unlisted = sum(row.match is Match.NOT_IN_TABLE for row in rows)
        rest = f"; {show.plural(unlisted, 'group')} it does not price" if unlisted else ""
        show.line(f"what was charged is what the table says{rest}")


def _span(figures: tuple[float, float]) -> str:
    low, high = (f"{figure:.4g}" for figure in figures)
    return low if low == high else f"{low} to {high}"


def _row_shape(row: Row) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "model": row.model,
        "resolution": row.resolution,
        "audio": row.audio,
        "renders": row.count,
        "different": row.different,
        "credits": {"charged": row.credits, "table": row.table},
        "per_second": {
            "charged": list(row.per_second),
            "table": list(row.table_per_second) if row.table_per_second else None,
        },
        "match": row.match,
    }
