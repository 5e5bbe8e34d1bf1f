"""A manifest's `window`: the values, and what must be true of them beyond their types. Part of the reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from batchrunner.core import findings, window, yamltext
from batchrunner.core.problem import Problem
from batchrunner.core.typed import problem_at, value_of
from batchrunner.core.window import Window

_MOMENTS = ("start", "stop", "finish_by")


def window_of(said: Mapping[str, Any]) -> Window:
    """The window of usable values."""
    moments = {key: window.moment_of(said[key]) for key in _MOMENTS if key in said}
    return Window(**moments, timezone=said.get("timezone"))


def problems(
    node: yamltext.Node | None, said: Mapping[str, Any] | None, *, zones: Callable[[], Collection[str]]
) -> Iterator[Problem]:
    """Yield what is wrong with the usable values of `window`, which stands at `node`; `zones` gives all names."""
    if node is None or not isinstance(said, dict):
        return
    read = window_of(said)
    if (flaw := window.flaw(read)) is not None:
        key, message = flaw
        yield problem_at(value_of(node, key) or node, "not-possible", message, path=f"window.{key}")
    if read.timezone is not None and (known := zones()) and read.timezone not in known:
        message = f"there is no time zone {yamltext.quoted(read.timezone)}"
        hint = findings.did_you_mean(read.timezone, tuple(sorted(known)))
        yield problem_at(value_of(node, "timezone") or node, "bad-value", message, path="window.timezone", hint=hint)
