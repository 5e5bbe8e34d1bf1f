"""Carries out actions: one call of an adapter each, and the event it leads to. It decides nothing.

What a failure means is asked of `core.retry`; what happens next is up to the engine. Nothing here changes a job.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from batchrunner import carrying, feeding, reserve, storage
from batchrunner.carrying import Carrier, Here
from batchrunner.core import events, retry
from batchrunner.core.assets import Key, Sent, may_be_gone
from batchrunner.core.events import Event
from batchrunner.core.job import Action, Job
from batchrunner.core.learning import history
from batchrunner.core.outputs import mark_of
from batchrunner.core.retry import USUAL, Again, Failure, GiveUp, Instant, Policy, Step, Verdict
from batchrunner.core.spec import Asset, Output
from batchrunner.errors import (
    AddressExpired,
    DiskFull,
    InputProblem,
    NeverSent,
    NoAnswer,
    ProviderError,
    Rejected,
    TransferError,
)
from batchrunner.provider import wire
from batchrunner.provider.client import Client
from batchrunner.traffic import Traffic
from batchrunner.uploads import UploadLog, Uploads

ROOM_HOLDS_S = 1.0
"""Seconds for which the state file's disk, once it had room, is believed to have it."""


class Performer:
    """Turns an action and a job into an event, with the real provider, network and disk."""

    def __init__(
        self,
        *,
        client: Client,
        root: Path,
        now: Callable[[], Instant],
        jitter: Callable[[], float],
        policy: Policy = USUAL,
        held: Mapping[Key, Sent] | None = None,
        upload_log: UploadLog | None = None,
        never_again: Mapping[str, int] | None = None,
        state_folder: Path | None = None,
        sources: feeding.Sources | None = None,
        carrier: Carrier | None = None,
    ) -> None:
        """Hand in the adapters.

        Args:
            client: the provider.
            root: the manifest's folder; inputs and outputs are relative to it.
            now: the clock.
            jitter: a random number in (0, 1] for every wait.
            policy: how often and how patiently what failed is tried again.
            held: what earlier runs uploaded.
            upload_log: where uploads are remembered for later runs.
            never_again: attempts by job id that do not start over at no cost: whether they did is not on record.
            state_folder: where what is bought is recorded: nothing is bought without room there.
            sources: the jobs that others are made from.
            carrier: who carries bytes; by default this process, with the client's own connections.
        """
        self._sources = sources
        self._policy = policy
        self._never_again = never_again or {}
        self._state_folder = state_folder
        self._saw_room_at: Instant | None = None
        self._client = client
        self._root = root
        self._now = now
        self._jitter = jitter
        self._addresses: dict[str, tuple[wire.Download, ...]] = {}
        self._missed: Counter[str] = Counter()
        self.traffic = Traffic()
        self._carrier = carrier or Here(put=client.put, fetch=client.fetch)
        self._uploads = Uploads(
            client=client,
            carrier=self._carrier,
            root=root,
            now=now,
            traffic=self.traffic,
            held=held or {},
            log=upload_log,
        )

    async def __call__(self, action: Action, job: Job) -> Event:
        """Carry out one action; whatever goes wrong in the world becomes an event too."""
        match action:
            case Action.UPLOAD:
                return await self._upload(job)
            case Action.SUBMIT:
                return await self._submit(job)
            case Action.POLL:
                return await self._poll(job)
            case Action.DOWNLOAD:
                event = await self._download(job)
                if isinstance(event, events.RenderFailed):
                    await asyncio.to_thread(self.sweep, [job])
                return event
            case Action.RECONCILE:
                raise AssertionError("evidence is read for all lost submissions at once, by `witness`")
            case _:
                assert_never(action)

    # --- upload ---

    async def _upload(self, job: Job) -> Event:
        try:
            if job.spec.source is not None:
                assets = await self._render_of_another(job)
            else:
                assets = await self._uploads.assets([each for each in job.spec.inputs if each.path is not None])
        except (ProviderError, TransferError) as error:
            return self._step_failed(Step.UPLOAD, job, retry.failure_of(error))
        return events.Uploaded(at=self._now(), assets=assets)

    async def _render_of_another(self, job: Job) -> tuple[Asset, ...]:
        """What the provider knows the render by that a job is made from; it is uploaded only where it must be."""
        assert self._sources is not None
        found = feeding.feed(job, self._sources, now=self._now())
        if isinstance(found, Asset):
            return (found,)
        try:
            (asset,) = await self._uploads.assets([found])
        except InputProblem as error:
            again = f"`batchrunner download` fetches {job.spec.source} again"
            if await asyncio.to_thread(self._is_there, str(found.path)):
                told = f"{found.path} is no longer what {job.spec.source} was rendered as; move it away, and {again}"
                raise InputProblem(told) from error
            raise InputProblem(f"{error}; {again}") from error
        source = self._sources.source(job.spec.source or "")
        return (replace(asset, project_id=source.project_id if source is not None else None),)

    def _is_there(self, written: str) -> bool:
        with suppress(OSError, TransferError):
            return self._place(written).seen().size >= 0
        return False

    def _place(self, written: str) -> storage.Place:
        return storage.at(self._root, written)

    # --- submit ---

    async def _submit(self, job: Job) -> Event:
        try:
            await self._make_sure_of_record()
            created = await self._client.create(job.kind, _paid_body(job))
        except NoAnswer as error:
            if error.project_id is not None:
                return events.Accepted(at=self._now(), project_id=error.project_id, credits=None)
            return events.AnswerLost(at=self._now(), failure=retry.failure_of(error))
        except Rejected as error:
            if not retry.proves_refusal(error.status):
                return events.AnswerLost(at=self._now(), failure=retry.failure_of(error))
            return await self._refused(job, retry.failure_of(error))
        except (NeverSent, DiskFull) as error:
            return await self._refused(job, retry.failure_of(error))
        if self._sources is not None:
            feeding.learn(job, self._sources)
        return events.Accepted(at=self._now(), project_id=created.project_id, credits=created.credits_charged)

    async def _make_sure_of_record(self) -> None:
        """Whether the state file can take the answer, looked at once a second at most.

        Raises:
            DiskFull: it may not.
        """
        now = self._now()
        is_fresh = self._saw_room_at is not None and 0 <= now - self._saw_room_at < ROOM_HOLDS_S
        if self._state_folder is None or is_fresh:
            return
        with suppress(OSError):  # a folder that is gone is noticed by the next write
            await asyncio.to_thread(reserve.check, self._state_folder)
        self._saw_room_at = now

    async def _refused(self, job: Job, failure: Failure) -> Event:
        now = self._now()
        if not job.is_renewed and may_be_gone(failure, job.assets, now=now):
            await self._uploads.forget(feeding.local_inputs(job, self._sources), job.assets)
            return events.Refused(at=now, failure=failure, verdict=Again(at=now), blames_inputs=True)
        return events.Refused(at=now, failure=failure, verdict=self._verdict(Step.SUBMIT, job, failure, now))

    # --- poll ---

    async def _poll(self, job: Job) -> Event:
        assert job.project_id is not None
        try:
            project = await self._look(job.project_id)
        except ProviderError as error:
            return self._look_failed(Step.POLL, job, error)
        if project.is_deleted:
            return self._gone(project.credits_charged, "the project was deleted at the provider")
        return self._seen(job, project)

    async def _look(self, project_id: str) -> wire.Project:
        """The project as it is now; keeps count of how often in a row the provider did not know it."""
        try:
            project = await self._client.project(project_id)
        except Rejected as error:
            self._missed[project_id] = self._missed[project_id] + 1 if error.status == 404 else 0
            raise
        self._missed.pop(project_id, None)
        return project

    def _seen(self, job: Job, project: wire.Project) -> Event:
        now, credits = self._now(), project.credits_charged
        match project.status:
            case wire.COMPLETE:
                self._addresses[project.id] = project.downloads
                return events.Rendered(at=now, status=project.status, credits=credits)
            case wire.ERROR:
                code = project.error_code or "unknown_error"
                failure = Failure(code=code, message=project.error_message or "the provider gave no reason")
                return self._broken(job, failure, credits)
            case wire.CANCELED:
                return events.Canceled(at=now, credits=credits)
            case _:
                return events.Looked(at=now, status=project.status, credits=credits)

    def _broken(self, job: Job, failure: Failure, credits: int | None) -> Event:
        """What becomes of a render that the provider gave up on; nothing starts over before its refund is seen."""
        now = self._now()
        verdict = retry.render_verdict(
            failure,
            credits=credits,
            retried=job.retried,
            broke_at=job.broke_at,
            now=now,
            jitter=self._jitter(),
            policy=self._policy,
        )
        if isinstance(verdict, Again) and self._never_again.get(job.id) == job.attempt:
            verdict = GiveUp()
        if verdict is None:
            return events.RefundAwaited(at=now, failure=failure, credits=credits)
        return events.RenderFailed(at=now, failure=failure, credits=credits, verdict=verdict)

    def _look_failed(self, step: Step, job: Job, error: ProviderError) -> Event:
        """Not known any more after enough looks that say so; those that failed otherwise say nothing of it."""
        assert job.project_id is not None
        failure = retry.failure_of(error)
        if retry.is_lost(failure, tries=self._missed[job.project_id]) and not job.is_final:
            return self._gone(None, "the provider does not know the project any more; every run asks for it again")
        return self._step_failed(step, job, failure)

    def _gone(self, credits: int | None, message: str) -> Event:
        failure = Failure(code=retry.PROJECT_GONE, message=message)
        return events.RenderFailed(at=self._now(), failure=failure, credits=credits, verdict=GiveUp())

    # --- download ---

    async def _download(self, job: Job) -> Event:
        assert job.project_id is not None
        try:
            addresses = self._addresses.pop(job.project_id, ())
            if not addresses:
                project = await self._look(job.project_id)
                if project.is_deleted and not job.is_final:
                    return self._gone(project.credits_charged, "the project was deleted at the provider")
                addresses = _addresses(project)
            fetched = [await self._fetch(job, number, address) for number, address in enumerate(addresses)]
        except AddressExpired as error:
            failure, now = retry.failure_of(error), self._now()
            return events.AddressExpired(at=now, verdict=self._verdict(Step.DOWNLOAD, job, failure, now))
        except ProviderError as error:
            return self._look_failed(Step.DOWNLOAD, job, error)
        except TransferError as error:
            return self._step_failed(Step.DOWNLOAD, job, retry.failure_of(error))
        outputs = tuple(output for output, _ in fetched)
        is_one = len(fetched) == 1  # whatever names the doubt names the file of it already
        doubts = [doubt if is_one else f"{output.path}: {doubt}" for output, doubt in fetched if doubt is not None]
        return events.Downloaded(at=self._now(), outputs=outputs, suspect="; ".join(doubts) or None)

    async def _fetch(self, job: Job, number: int, address: wire.Download) -> tuple[Output, str | None]:
        """One of a project's files, and why it may not be what was paid for, if so."""
        mark = _mark(job) + (f"-{number}" if number else "")
        fetching = carrying.fetching_of(job, root=self._root, url=address.url, mark=mark)
        brought = await self._carrier.bring(fetching, self.traffic)
        doubt = brought.doubt
        output = Output(
            path=brought.written,
            bytes=brought.bytes,
            sha256=brought.sha256,
            suspect_at_s=None if doubt is None else round(doubt.at_s, 3),
        )
        return output, None if doubt is None else doubt.words

    def sweep(self, jobs: Iterable[Job], *, only_own: bool = False) -> None:
        """Remove what unfinished downloads of these jobs left; `only_own` as in `storage.sweep`. Waits for the disk."""
        self.sweep_renders(((job.spec.output, job.id, job.project_id) for job in jobs), only_own=only_own)

    def sweep_renders(self, renders: Iterable[tuple[str, str, str | None]], *, only_own: bool = False) -> None:
        """The same by their output, job and project."""
        ended = ((output, job, project) for output, job, project in renders if project is not None)
        storage.sweep(self._root, ended, only_own=only_own)

    # --- verdicts ---

    def _step_failed(self, step: Step, job: Job, failure: Failure) -> Event:
        now = self._now()
        return events.StepFailed(at=now, failure=failure, verdict=self._verdict(step, job, failure, now))

    def _verdict(self, step: Step, job: Job, failure: Failure, now: Instant) -> Verdict:
        so_far = history(job, at=now)
        return retry.verdict(
            step, failure, so_far, now=now, jitter=self._jitter(), policy=self._policy, is_over=job.is_final
        )


def _paid_body(job: Job) -> dict[str, object]:
    """The request as it travels: named for this submission, with what was uploaded in place of local paths."""
    assert job.name is not None
    body = job.spec.body()
    body["name"] = job.name
    body["assets"] = body.get("assets", {}) | {asset.field: asset.file_path for asset in job.assets}
    return body


def _mark(job: Job) -> str:
    """Part of the partial file's name: of this render and of no other."""
    assert job.project_id is not None
    return mark_of(job.id, job.project_id)


def _addresses(project: wire.Project) -> tuple[wire.Download, ...]:
    if not project.downloads:
        raise TransferError(f"the provider gives no address for project {project.id} (status {project.status})")
    return project.downloads
