"""What a job's chain means for its plan: whether what it is made from is made again, and whether it must wait.

A render is made from one project, and the job on record knows which (`Asset.project_id`): so whatever made another
project of the same job since (a changed manifest, `retry`, `redo`) is noticed, and nothing has to be foreseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.selection import BROKEN, code_of
from batchrunner.core.spec import Input, Spec

if TYPE_CHECKING:
    from batchrunner.core.plan import Entry

FIELD = "video_file_path"
"""The one asset that another job's render can be: both kinds render a video, and only one takes a video."""


def input_of(job_id: str, asked: Spec) -> Input:
    """The input of a job that is made from the render of another, of which the manifest asks for `asked`."""
    return Input(field=FIELD, media="video", job=job_id, made_from=asked.fingerprint)


def fps_of(asked: Spec) -> float | None:
    """Frames a second of the render that is asked for, as far as they can be known before it is there."""
    if asked.kind is not Kind.VIDEO_TO_VIDEO or asked.fps is None:
        return None
    # FULL keeps the clip's rate, HALF, the default, takes half of it (OpenAPI 2026-09).
    return asked.fps if asked.body().get("fps_resolution") == "FULL" else asked.fps / 2


def project_of(job: Job) -> str | None:
    """The project that a job's render is, or is to be, made from; None where that is not settled."""
    return next((asset.project_id for asset in job.assets if asset.project_id is not None), None)


def made_again(job: Job, spec: Spec, entries: Mapping[str, Entry]) -> str | None:
    """Whether what a job was made from was made again since, or will be by this plan; in words, None if not."""
    if spec.source is None:
        return None
    fed_by, source = project_of(job), entries.get(spec.source)
    if fed_by is None or source is None:
        return None
    if source.will_buy or source.known is None:
        return f"its input, job {source.id}, is rendered again"
    if (source.stands or source.known).project_id != fed_by:
        return f"its input, job {source.id}, was rendered again"
    # Whoever renders that one again changes this one, too; so both are asked for at once.
    return f"its input, job {source.id}, is out of date" if source.made_again is not None else None


def waits(spec: Spec, entries: Mapping[str, Entry]) -> str | None:
    """Why a job cannot be bought by this plan whatever happens, in words; None where all that it waits for may come."""
    for job_id in spec.waits_for:
        why = _never_comes(entries[job_id], is_input=job_id == spec.source)
        if why is not None:
            return f"waits for {job_id}, {why}"
    return None


def _never_comes(entry: Entry, *, is_input: bool) -> str | None:
    """Why this plan does not bring what another job waits for; None where it does, or has it."""
    if entry.will_buy:
        return None
    known = entry.known
    if known is None or known.state in {State.READY, State.UPLOADED}:
        return "which waits, too" if entry.is_selected else "which is not selected"
    if known.state in BROKEN:
        return f"which {known.state}: {code_of(known)}; `retry` tries it again"
    if known.state is State.UNCERTAIN:
        return "which is uncertain: a person must decide"
    if is_input and entry.is_changed:
        return "which changed and is not rendered again; --rerender buys both"
    return None


def order_words(spec: Spec) -> str:
    """What a job that is to be bought waits for first; nothing where it waits for none."""
    ids = spec.waits_for
    if not ids:
        return ""
    return f", after {', '.join(ids[:3])}" + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
