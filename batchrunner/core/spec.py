"""What an attempt is to render, what goes in and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from batchrunner.core.kind import Kind
from batchrunner.core.retry import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One asset of the request.

    Attributes:
        field: its key under `assets` in the request body.
        path: for a local file, its path relative to the manifest's folder; else None.
        reference: for anything else, what is sent as it stands (an address, a provider's file path).
        media: `video` or `image`, as the upload endpoint calls it.
        sha256: of a local file's content when the attempt was opened, lower-case hex.
        size: of a local file, in bytes.
        job: for another job's render, that job's id.
        made_from: for another job's render, the fingerprint of what the manifest asks of that job.
    """

    field: str
    media: str
    path: str | None = None
    reference: str | None = None
    sha256: str | None = None
    size: int = 0
    job: str | None = None
    made_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What an attempt is to render; fixed when the attempt is opened.

    Attributes:
        request: the body as it travels, as JSON text, without `name` and with local inputs as they were written.
        output: path of the result relative to the manifest's folder, with forward slashes.
        seconds: length asked for.
        hold: credits that must be assumed until it settles; None where no price is known.
        basis: what the likely price was learned from, if it was.
        is_priced: whether hold comes from a published rate, rather than from the manifest.
        low: the least it can cost if it renders; None where no price is known.
        expected: what it will most likely cost; None where no price is known.
        model: what renders it, aliases and `default` followed as far as the account's plan was known; of
            video-to-video, the style's model. None in records of before it was kept.
        fps: frames a second of the clip, where it was probed.
        fingerprint: hash of the request and of its inputs' content.
        tags: the job's own when the attempt was opened; jobs are selected by them.
        priority: the job's own then.
        asked: the fingerprint of what the manifest asked for, where a person had another take made, perhaps with
            other fields (`redo`); None where the attempt is the manifest's own.
        edits: the fields that were set for that take alone, as `path=value`.
        needs: ids of jobs that must be done before it is bought.
    """

    kind: Kind
    request: str
    inputs: tuple[Input, ...]
    output: str
    seconds: float
    fingerprint: str
    low: int | None = None
    expected: int | None = None
    hold: int | None = None
    is_priced: bool = True
    basis: str | None = None
    model: str | None = None
    fps: float | None = None
    tags: tuple[str, ...] = ()
    priority: int = 0
    asked: str | None = None
    edits: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def source(self) -> str | None:
        """The id of the job whose render it is made from, if it is made from one."""
        for each in self.inputs:
            if each.job is not None:
                return each.job
        return None

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Ids of the jobs that it cannot be bought before, the one that it is made from first."""
        source = self.source
        return self.needs if source is None else (source, *self.needs)

    def body(self) -> dict[str, Any]:
        """The request body, a fresh copy each time."""
        body: dict[str, Any] = from_json(self.request)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An input that the provider now holds: what to send for `field`, and until when it is kept.

    Attributes:
        is_reused: it had been sent before this job asked for it.
        project_id: of another job's render, the project that made it, however it was brought there.
    """

    field: str
    file_path: str
    expires_at: Instant
    is_reused: bool = False
    project_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file on disk, whole and checked.

    Attributes:
        path: relative to the manifest's folder, with forward slashes.
        suspect_at_s: where the job is suspect for this file: seconds into it of a picture that shows why.
    """

    path: str
    bytes: int
    sha256: str
    suspect_at_s: float | None = None
