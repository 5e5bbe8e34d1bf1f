"""A manifest as text: every job written out, so that it reads back as it was resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
import json
import re
from typing import Any, Final

from batchrunner.core import yamltext
from batchrunner.core.expand import ResolvedJob
from batchrunner.core.inputs import Source
from batchrunner.core.problem import Problem

# YAML 1.2.2, sections 5.1 and 5.4: what may not stand in a text as it is, beside what JSON escapes anyway; and marks
# that reverse the direction of a terminal's text.
_ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")

_RESOLVED: Final = frozenset({"version", "output", "defaults", "jobs"})
"""Keys of a manifest that are already part of its resolved jobs, or are written anew."""


def head_of(text: str, *, source: str) -> dict[str, Any]:
    """What a manifest says beside its jobs and how they are made up: limits, budget and the like, as it stands there.

    `text` is of a manifest without errors.
    """
    root, _ = yamltext.outline(text, source=source, stream="jobs", report=_leave)
    if not isinstance(root, yamltext.MapNode):
        return {}
    return {key: yamltext.plain(entry.node) for key, entry in root.entries.items() if key not in _RESOLVED}


def _leave(_: Problem) -> None:
    """Take the report of what the reader reports."""


def values_of(job: ResolvedJob, *, path: Callable[[str], str]) -> dict[str, Any]:
    """A job as a manifest says it, but for its output; `path` tells how a local input is written there."""
    local = {given.field: path(given.value) for given in job.inputs if given.source is Source.LOCAL}
    own = {"tags": list(job.tags), "priority": job.priority, "hold": job.hold}
    return {
        "id": job.id,
        "kind": str(job.kind),
        **{key: value for key, value in own.items() if value},
        **job.request,
        "assets": {**job.request["assets"], **local},
    }


def text_of(head: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]) -> str:
    """The manifest of these values, one line a key."""
    return "\n".join(_lines(head, jobs)) + "\n"


def _lines(head: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for key, value in head.items():
        yield f"{key}: {_written(value)}"
    yield "jobs:"
    for job in jobs:
        for number, (key, value) in enumerate(job.items()):
            yield f"  {' ' if number else '-'} {key}: {_written(value)}"


def _written(value: Any) -> str:
    """A value as JSON, which YAML reads as it is meant; more is escaped than JSON asks for."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
