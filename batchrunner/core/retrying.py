"""What must be true of a manifest's `retry` beyond the types of its values. Part of the reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchrunner.core import findings, retry, yamltext
from batchrunner.core.problem import Problem, Severity
from batchrunner.core.retry import Step
from batchrunner.core.typed import value_of


def problems(node: yamltext.Node | None, said: Mapping[str, Any] | None) -> Iterator[Problem]:
    """Yield what is wrong with the usable values of `retry`, which stands at `node`."""
    if node is None or not isinstance(said, dict):
        return
    policy = retry.Policy.of(said)
    for step in Step:
        patience, entry = policy.steps[step], value_of(node, step)
        if patience.first_s > patience.longest_s and entry is not None:
            key = "first_wait" if "first_wait" in said[step] else "longest_wait"
            message = f"the first wait is {patience.first_s:g} s, longer than the longest, {patience.longest_s:g} s"
            yield _problem(entry, key, "out-of-range", message, path=f"retry.{step}.{key}")
    for code, tries in said.get("render", {}).items():
        yield from _code(value_of(node, "render"), code, tries)


def _code(node: yamltext.Node | None, code: str, tries: int) -> Iterator[Problem]:
    """Yield why a render that failed with this code may not start over, or a slip in the code."""
    assert node is not None
    path = f"retry.render.{code}"
    if tries and retry.blames_the_input(code):
        message = f"{code} says that the input or the request is at fault: the same again fails again"
        yield _problem(node, code, "not-possible", message, path=path, hint="leave it out, and mend the input")
    elif code not in retry.KNOWN_CODES and (near := findings.nearest(code, retry.KNOWN_CODES)):
        message, hint = f"{yamltext.quoted(code)} is not a listed error code", f"did you mean {near}?"
        yield _problem(node, code, "unlisted", message, path=path, hint=hint, severity=Severity.WARNING)


def _problem(
    node: yamltext.Node,
    key: str,
    code: str,
    message: str,
    *,
    path: str,
    hint: str | None = None,
    severity: Severity = Severity.ERROR,
) -> Problem:
    """A problem that stands at a key of a node."""
    place = yamltext.place_of(value_of(node, key) or node)
    return Problem(place=place, code=code, message=message, path=path, hint=hint, severity=severity)
