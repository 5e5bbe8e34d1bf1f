"""Events and jobs as text, for the log and the snapshot.

Every event body is written with the version of its shape. A shape that changes gets a new version here and a step
that lifts the old one, so that a log of any age can be read; old rows are never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from pydantic import TypeAdapter, ValidationError

from batchrunner.core.events import Event
from batchrunner.core.facts import Facts
from batchrunner.core.job import EVENTS, Job

EVENT_VERSION: Final = 1

EVENT_TYPES: Final[dict[str, type[Event]]] = {kind.__name__: kind for kind in EVENTS}
"""Every event by the name under which the log knows it."""


@cache
def _adapter(name: str) -> TypeAdapter[Event]:
    return TypeAdapter(EVENT_TYPES[name])


@cache
def _job_adapter() -> TypeAdapter[Job]:
    return TypeAdapter(Job)


@cache
def _job_reader() -> Callable[[str], Job]:
    """Without what the adapter does around it, which is a fifth of the time and of no use here."""
    reader: Callable[[str], Job] = _job_adapter().validator.validate_json
    return reader


def event_to_text(event: Event) -> str:
    """The event's body as JSON; its type's name is stored beside it."""
    return _adapter(type(event).__name__).dump_json(event).decode()


def event_from_text(name: str, version: int, text: str) -> Event:
    """The event that `event_to_text` wrote.

    Raises:
        ValueError: the name or the version is unknown here, or the text does not fit.
    """
    if version != EVENT_VERSION or name not in EVENT_TYPES:
        raise ValueError(f"event {name!r} version {version} is not known to this version of batchrunner")
    try:
        return _adapter(name).validate_json(text)
    except ValidationError as error:
        raise _unfit(f"an event {name!r}", error) from error


def job_to_text(job: Job) -> str:
    """The job's snapshot as JSON."""
    return _job_adapter().dump_json(job).decode()


def job_from_text(text: str) -> Job:
    """The job that `job_to_text` wrote.

    Raises:
        ValueError: the text is no job.
    """
    try:
        return _job_reader()(text)
    except ValidationError as error:
        raise _unfit("a job", error) from error


def _unfit(what: str, error: ValidationError) -> ValueError:
    """In our words, with the first place that is wrong; what stands there may be anything, and is not repeated."""
    place = ".".join(map(str, error.errors()[0]["loc"]))
    return ValueError(f"{what} in it makes no sense" + (f" (field {place!r})" if place else ""))


@cache
def _facts_adapter() -> TypeAdapter[Facts]:
    return TypeAdapter(Facts)


def facts_to_text(facts: Facts) -> str:
    """What was found in a file, as JSON."""
    return _facts_adapter().dump_json(facts).decode()


def facts_from_text(text: str) -> Facts:
    """The facts that `facts_to_text` wrote.

    Raises:
        ValueError: the text holds no facts.
    """
    return _facts_adapter().validate_json(text)
