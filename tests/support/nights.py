"""Batches as they are on record in the morning, made of events alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
import hashlib
import json
from pathlib import Path
from typing import Any

from batchrunner import store
from batchrunner.core import events, job as machine, ledger
from batchrunner.core.events import Event
from batchrunner.core.job import Job
from batchrunner.core.kind import Kind
from batchrunner.core.retry import Failure, GiveUp
from batchrunner.core.spec import Input, Output, Spec
from batchrunner.report import read
from batchrunner.report.model import Origin, Report
from batchrunner.report.read import Log, Record

START = 1_790_000_000.0
"""2026-09-21, 14:13 UTC."""

Life = list[tuple[str, int, Event]]


def spec_of(*, prompt: str = "slow", model: str = "kling-3.0", **more: Any) -> Spec:
    request = {"end_seconds": 5, "model": model, "style": {"prompt": prompt}, "assets": {"image_file_path": "a.png"}}
    still = Input(field="image_file_path", media="image", path="a.png", sha256="aa", size=9)
    given: dict[str, Any] = {"model": model, "expected": 240, "hold": 240, "inputs": (still,), **more}
    return Spec(
        kind=Kind.IMAGE_TO_VIDEO,
        request=json.dumps(request),
        output="r.mp4",
        seconds=5,
        fingerprint="f",
        **given,
    )


def bought(job_id: str, *, at: float = START, attempt: int = 1, credits: int = 240, spec: Spec | None = None) -> Life:
    """An attempt up to the moment at which the provider took it."""
    happened = [
        events.Opened(at=at, id=job_id, attempt=attempt, spec=spec or spec_of()),
        events.Uploaded(at=at + 1, assets=()),
        events.SubmitStarted(at=at + 2, name=f"night/{job_id} [{attempt}]"),
        events.Accepted(at=at + 3, project_id=f"project-{job_id}-{attempt}", credits=credits),
    ]
    return [(job_id, attempt, event) for event in happened]


def done(
    job_id: str,
    *,
    at: float = START,
    took_s: float = 60,
    suspect: str | None = None,
    file: Path | None = None,
    **given: Any,
) -> Life:
    life = bought(job_id, at=at, **given)
    _, attempt, _ = life[0]
    data = b"x" * 1000 if file is None else file.read_bytes()
    output = Output(
        path=f"renders/{job_id}.mp4",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        suspect_at_s=1.5 if suspect else None,
    )
    return [
        *life,
        (job_id, attempt, events.Rendered(at=at + 3 + took_s, status="complete", credits=None)),
        (job_id, attempt, events.Downloaded(at=at + 5 + took_s, outputs=(output,), suspect=suspect)),
    ]


def failed(
    job_id: str, *, code: str = "nsfw", message: str = "flagged", left: int | None = 0, at: float = START, **given: Any
) -> Life:
    life = bought(job_id, at=at, **given)
    _, attempt, _ = life[0]
    failure = Failure(code=code, message=message)
    return [*life, (job_id, attempt, events.RenderFailed(at=at + 40, failure=failure, credits=left, verdict=GiveUp()))]


def uncertain(job_id: str, *, at: float = START, **given: Any) -> Life:
    lost = events.AnswerLost(at=at + 30, failure=Failure(code="no_answer", message="reset"))
    told = events.Unknowable(at=at + 60, evidence="240 credits are missing", is_paid=True)
    return [*bought(job_id, at=at, **given)[:3], (job_id, 1, lost), (job_id, 1, told)]


def jobs_of(log: Log) -> tuple[list[Job], list[Job]]:
    """The current attempts of a log, and those before them."""
    attempts: dict[tuple[str, int], Job] = {}
    for _, job, _ in machine.replay_all(log):
        attempts[job.id, job.attempt] = job
    newest = dict(attempts.keys())
    current = [job for (job_id, attempt), job in attempts.items() if newest[job_id] == attempt]
    return current, [job for job in attempts.values() if job not in current]


def _in_order(lives: Iterable[Life]) -> Life:
    return sorted((each for life in lives for each in life), key=lambda each: each[2].at)


def record_of(*lives: Life) -> Record:
    log = _in_order(lives)
    jobs, earlier = jobs_of(log)
    return Record(jobs=jobs, earlier=earlier, log=log, lines=list(ledger.lines(log)))


class Advice:
    """Commands as the command line advises them, in short."""

    library = "https://example.com/library"
    download = "batchrunner download night.yaml"
    ledger = "batchrunner ledger night.yaml --refunds-due"

    def note(self, job: Job) -> str:
        return f"{job.trouble.code}: {job.trouble.message}" if job.trouble else ""

    def retry(self, code: str) -> str:
        return f"batchrunner retry night.yaml --code {code}"

    def answers(self, job: Job) -> tuple[str, str]:
        return f"batchrunner adopt night.yaml {job.id} PROJECT_ID", f"batchrunner resolve night.yaml {job.id}"


def report_of(
    *lives: Life, cap: int | None = 6000, name: str = "night.yaml", clean: Callable[[str], str] = str
) -> Report:
    origin = Origin(manifest=name, state_file="night.state.db", version="0.1.0", made_at=START + 10_000)
    return read.read(record_of(*lives), origin=origin, cap=cap, words=Advice(), clean=clean)


def clock(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def write_state(manifest: Path, lives: Iterable[Life]) -> Path:
    """A state file in which all of this happened."""
    path = store.path_for(manifest)
    log = _in_order(lives)
    with store.open_for_run(path, run_id="night", now=START) as file:
        file.append_now([(event, job) for _, job, event in machine.replay_all(log)])
        file.end_run(at=START + 9_000, exit_code=0)
    return path
