"""Local inputs brought to the provider, each content once: for many jobs, at the same time or one after the other.

What was sent is remembered by content while the provider keeps it. Jobs that need the same content at the same time
wait for one upload; addresses that are asked for in the same turn of the loop are asked for in one request, with some
for the files that come next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from batchrunner.carrying import Carrier, Sending
from batchrunner.core import assets as holding, retry
from batchrunner.core.assets import Key, Sent
from batchrunner.core.retry import Instant
from batchrunner.core.spec import Asset, Input
from batchrunner.errors import AddressExpired, InputProblem, ProviderError, Rejected
from batchrunner.provider import wire
from batchrunner.provider.client import Client
from batchrunner.traffic import Traffic

T = TypeVar("T")

MOST_ADDRESSES = 50
"""Addresses asked for in one request; the provider publishes no limit."""


SPARE_S = 60.0
"""For so many seconds an address is used that was asked for with others; how long they live is not published."""


class UploadLog(Protocol):
    """Where uploads are remembered for later runs."""

    def note_upload(self, key: Key, sent: Sent) -> None:
        """Have it written with whatever is written next; it takes the place of an earlier one of the same key."""

    async def settle(self) -> None:
        """Return when all that was noted is on disk."""

    async def forget_upload(self, key: Key, sent: Sent) -> None:
        """Return when it is off the disk; another one of the same key stays."""


class Shared(Generic[T]):
    """Work that several wait for: each gets what comes of it, and it ends early only when nobody waits any more."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._task = asyncio.ensure_future(work)
        self._waiting = 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or is about to because nobody waits."""
        return self._task.done() or self._task.cancelling() > 0

    async def result(self) -> T:
        """What comes of it, or the exception that it ended with."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task])


@dataclass(slots=True)
class _Batch:
    """Addresses that are asked for together."""

    asked: list[Key] = field(default_factory=list)
    answer: Shared[list[wire.UploadTarget | ProviderError]] | None = None
    has_left: bool = False

    @property
    def takes_more(self) -> bool:
        is_gone = self.has_left or (self.answer is not None and self.answer.is_over)
        return not is_gone and len(self.asked) < MOST_ADDRESSES


class Uploads:
    """Gives each local input's place at the provider, and sends only what is not there yet."""

    def __init__(
        self,
        *,
        client: Client,
        carrier: Carrier,
        root: Path,
        now: Callable[[], Instant],
        traffic: Traffic,
        held: Mapping[Key, Sent],
        log: UploadLog | None,
    ) -> None:
        """Hand in the adapters.

        Args:
            client: the provider.
            carrier: who sends the bytes.
            root: the folder that inputs are relative to.
            now: the clock.
            traffic: counts what is sent.
            held: what earlier runs sent.
            log: told of each upload after it has ended; None remembers for this run only.
        """
        self._client = client
        self._carrier = carrier
        self._root = root
        self._now = now
        self._traffic = traffic
        self._held = dict(held)
        self._log = log
        self._flights: dict[Key, tuple[str, Shared[Sent]]] = {}
        self._batch = _Batch()
        self._spare: dict[tuple[str, str], list[tuple[Instant, wire.UploadTarget]]] = {}
        self._may_spare = True

    async def assets(self, inputs: Sequence[Input]) -> tuple[Asset, ...]:
        """What to send for these local inputs, once all of them are with the provider.

        Raises:
            ProviderError: no address could be got.
            TransferError: one of them could not be sent, or is no longer what it was.
        """
        if len(inputs) == 1:
            return (await self._asset(inputs[0]),)  # the event that tells of it is written next, and the upload with it
        found = await asyncio.gather(*(self._settled_asset(each) for each in inputs), return_exceptions=True)
        # Told only when all of them have ended, so that what was sent of the others is kept.
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return tuple([each for each in found if isinstance(each, Asset)])

    async def forget(self, inputs: Sequence[Input], assets: Sequence[Asset]) -> None:
        """Rely no longer on what stands behind these assets, here and in later runs; newer uploads stay."""
        by_field = {asset.field: asset.file_path for asset in assets}
        for each in inputs:
            if each.path is None:
                continue
            key = holding.key_of(each)
            sent = self._held.get(key)
            if sent is not None and sent.file_path == by_field.get(each.field):
                del self._held[key]
                if self._log is not None:
                    await self._log.forget_upload(key, sent)

    async def _settled_asset(self, each: Input) -> Asset:
        """As `_asset`, and on disk: the other inputs of its job may take hours."""
        asset = await self._asset(each)
        if self._log is not None:
            await self._log.settle()
        return asset

    async def _asset(self, each: Input) -> Asset:
        key = holding.key_of(each)
        sent = self._held.get(key)
        is_reused = sent is not None and holding.is_reliable(sent.expires_at, now=self._now())
        if sent is None or not is_reused:
            sent = await self._sent_once(key, each)
        return Asset(field=each.field, file_path=sent.file_path, expires_at=sent.expires_at, is_reused=is_reused)

    async def _sent_once(self, key: Key, each: Input) -> Sent:
        """The upload of this content that is under way, or a new one."""
        while True:
            path, flight = self._flights.get(key, (None, None))
            if flight is None or flight.is_over or path is None:
                assert each.path is not None
                path, flight = each.path, Shared(self._send(key, each))
                self._flights[key] = path, flight
            try:
                return await flight.result()
            except InputProblem:
                if path == each.path:
                    raise
                # It is the other file that changed, not this one, which held the same.
            finally:
                if flight.is_over and self._flights.get(key) == (path, flight):
                    del self._flights[key]

    async def _send(self, key: Key, each: Input) -> Sent:
        try:
            sent = await self._send_to_new_address(key, each)
        except AddressExpired:
            # Nothing is wrong with the file: a new address is tried at once, and only then is it a failure.
            self._spare.clear()
            sent = await self._send_to_new_address(key, each)
        if self._log is not None:
            self._log.note_upload(key, sent)
        self._held[key] = sent
        return sent

    async def _send_to_new_address(self, key: Key, each: Input) -> Sent:
        assert each.path is not None
        target = await self._address(key)
        # Dated by its beginning: where the provider counts from is not documented.
        sent = Sent(file_path=target.file_path, sent_at=self._now())
        sending = Sending(written=each.path, root=self._root, sha256=key.sha256, size=each.size, url=target.upload_url)
        await self._carrier.send(sending, self._traffic)
        return sent

    # --- addresses ---

    async def _address(self, key: Key) -> wire.UploadTarget:
        """A new address; asked for together with all that are wanted in this turn of the loop, and some to spare."""
        spare = self._spare_for(key)
        if spare is not None:
            return spare
        if not self._batch.takes_more:
            self._batch = _Batch()
        batch, number = self._batch, len(self._batch.asked)
        batch.asked.append(key)
        if batch.answer is None:
            batch.answer = Shared(self._ask(batch))  # a task of its own: it starts after this turn of the loop
        answer = (await batch.answer.result())[number]
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    async def _ask(self, batch: _Batch) -> list[wire.UploadTarget | ProviderError]:
        batch.has_left = True
        count = len(batch.asked)
        # About as many as are sent now will be sent next, and most likely of the same sort.
        spare = min(MOST_ADDRESSES, len(self._flights)) - count if self._may_spare else 0
        asked = [*batch.asked, *([batch.asked[-1]] * spare)]
        try:
            targets = await self._targets(asked)
        except Rejected as error:
            if error.status not in retry.BLAMES_THE_REQUEST or len(asked) == 1:
                raise
            self._may_spare = False
        else:
            self._keep_spare(batch.asked[-1], targets[count:])
            return [*targets[:count]]
        # One that is not allowed must not spoil it for the others.
        return list(await asyncio.gather(*(self._target_or_error(key) for key in batch.asked)))

    def _keep_spare(self, key: Key, targets: Sequence[wire.UploadTarget]) -> None:
        now = self._now()
        self._spare.setdefault((key.media, key.extension), []).extend((now, target) for target in targets)

    def _spare_for(self, key: Key) -> wire.UploadTarget | None:
        """An address that was asked for a moment ago, and that nobody has used."""
        kept = self._spare.get((key.media, key.extension), [])
        while kept:
            asked_at, target = kept.pop()
            if 0 <= self._now() - asked_at < SPARE_S:
                return target
        return None

    async def _target_or_error(self, key: Key) -> wire.UploadTarget | ProviderError:
        try:
            [target] = await self._targets([key])
        except ProviderError as error:
            return error
        return target

    async def _targets(self, keys: Sequence[Key]) -> list[wire.UploadTarget]:
        return await self._client.upload_targets([(key.media, key.extension) for key in keys])
