"""Figures in words: the same in the terminal, in pages, and in what programs read."""

from __future__ import annotations

from datetime import UTC, datetime


def credits(amount: int | None) -> str:
    """Credits with thousands marked; a dash where they are not known."""
    return "-" if amount is None else f"{amount:,}"


def bytes_(count: float) -> str:
    """A number of bytes in the unit that reads best."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def seconds(duration: float) -> str:
    """A duration in the two units that read best."""
    whole = max(0, round(duration))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def plural(count: int, word: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def time_utc(at: float | None) -> str | None:
    """A time as programs read it; None where there is none."""
    return None if at is None else moment_utc(at)


def moment_utc(at: float) -> str:
    """A time as programs read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
