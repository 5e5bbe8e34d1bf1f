"""Brings the render of one job to the provider as the input of another: by its address there, or else as a file.

Part of the performer. Which of the two it is, is stored with what was brought (`Asset`), so that nothing is found out
again after a crash.
"""

from __future__ import annotations

from typing import Protocol

from batchrunner.core import assets as holding
from batchrunner.core.job import Job, State
from batchrunner.core.retry import Instant
from batchrunner.core.spec import Asset, Input
from batchrunner.errors import TransferError


class Sources(Protocol):
    """The jobs that others are made from."""

    def source(self, job_id: str) -> Job | None:
        """A job as it is now."""

    @property
    def sends_files(self) -> bool:
        """Whether renders are brought as files because their addresses are refused."""

    def refused_address(self) -> None:
        """Note that the provider took a file where it had refused the address of the same render."""


def feed(job: Job, sources: Sources, *, now: Instant) -> Asset | Input:
    """What to send for the render that a job is made from: its address, or the file to upload first.

    Raises:
        TransferError: there is no such render, or it is not on disk where it must be.
    """
    (link,) = (each for each in job.spec.inputs if each.job is not None)
    assert link.job is not None
    source = sources.source(link.job)
    if source is None or source.project_id is None or source.state not in {State.RENDERED, State.DONE}:
        raise TransferError(f"{link.job}, which it is made from, is not rendered")
    is_on_disk = source.state is State.DONE and bool(source.outputs)
    if job.is_renewed and not is_on_disk:
        raise TransferError(f"the render of {link.job} is not on disk, and the provider refuses its address")
    if is_on_disk and (job.is_renewed or sources.sends_files):
        return holding.as_file(source.outputs[0], link.field)
    return holding.by_address(link.field, source.project_id, now=now)


def local_inputs(job: Job, sources: Sources | None) -> tuple[Input, ...]:
    """What of a job is, or can be, uploaded: its own files, and the file of the render that it is made from."""
    source = sources.source(job.spec.source) if sources is not None and job.spec.source is not None else None
    renders = source.outputs[:1] if source is not None else ()
    files = tuple(holding.as_file(each, link.field) for each in renders for link in job.spec.inputs if link.job)
    return (*(each for each in job.spec.inputs if each.path is not None), *files)


def learn(job: Job, sources: Sources) -> None:
    """Take in that a submission was accepted: as a file, after the address had been refused, or otherwise."""
    is_file = any(asset.project_id is not None and not holding.is_by_address(asset) for asset in job.assets)
    if job.is_renewed and is_file:
        sources.refused_address()
