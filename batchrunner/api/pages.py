"""The dashboard of a manifest, or of a folder of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import os
from pathlib import Path
import threading
from types import TracebackType
from typing import Any, Final, Literal, TypedDict

from batchrunner import inwords, places, statefile
from batchrunner.access import Access, access as access_of
from batchrunner.api import buying, given, planning
from batchrunner.api.buying import place_of
from batchrunner.api.twins import refuse_in_loop
from batchrunner.api.values import Plan
from batchrunner.batch import Batch
from batchrunner.core import plain
from batchrunner.core.selection import Selection
from batchrunner.desk import Desk, Hands
from batchrunner.errors import UsageError
from batchrunner.pictures import Pictures
from batchrunner.recorder import redactor
from batchrunner.web import serving
from batchrunner.web.dashboard import serving_desk
from batchrunner.web.guard import Guard


class Caps(TypedDict, total=False):
    """Caps of each retry from the page, as of `run`, on top of the manifest's."""

    max_credits: int
    max_credits_per_job: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A dashboard that is served: its address, the token in it, and whether only this machine can reach it."""

    address: str
    is_local: bool


@asynccontextmanager
async def served(
    place: Path,
    *,
    state: Path | None,
    variables: Mapping[str, str],
    caps: Caps,
    host: str,
    port: int,
    access: Access | None = None,
) -> AsyncIterator[Served]:
    """Serve the dashboard of a manifest, or of a folder of manifests, while in the block.

    What was begun from the page ends with it, at once, and nothing is lost by that. Without `access`, a retry goes to
    the provider of the environment.

    Raises:
        UsageError: there is no such batch, or nothing can listen there.
    """
    place, state = _found(place, state)
    pictures = Pictures(places.pictures_folder(os.environ))
    try:
        desk = _desk(place, state, pictures, _hands(state, variables, caps, access), key=access.key if access else "")
        guard = Guard(host, own=serving.own_names())
        listener = serving.listen(host, port, what="browsers", hint="name another port, or host")
        async with serving_desk(desk, listener, guard):
            address = f"{serving.address_for_people(listener)}/#token={guard.token}"
            try:
                yield Served(address=address, is_local=guard.is_local)
            finally:
                await desk.leave()
    finally:
        pictures.close()


def _found(place: Path, state: Path | None) -> tuple[Path, Path | None]:
    """The manifest or the folder, and the state file that was named, by itself or in place of its manifest."""
    if place.suffix == ".db" and place.is_file() and state is None:
        place, state = place.with_name(f"{place.stem.removesuffix('.state')}.yaml"), place
    if not place.exists() and not (state or statefile.path_for(place)).exists():
        raise UsageError(f"there is no {place}, and no state file of it")
    if place.is_dir() and state is not None:
        raise UsageError("a state file is one manifest's, and this is a folder")
    return place, state


def _desk(place: Path, state: Path | None, pictures: Pictures, hands: Hands, *, key: str) -> Desk:
    secrets = redactor(key)
    return Desk(
        place,
        state=state,
        words=inwords.of_event,
        note=inwords.note,
        clean=lambda text: plain.shown(secrets.text(text)),
        hands=hands,
        pictures=pictures,
    )


def _hands(state: Path | None, variables: Mapping[str, str], caps: Caps, access: Access | None) -> Hands:
    """The library's own functions."""

    def plan(manifest: Path, select: Selection) -> Plan:
        batch = planning.load(manifest, state=state, variables=variables)
        # Without a key there is a price, and nobody to buy from: better said before than after the yes.
        return planning.plan_retry(batch, select=select, access=access or access_of(os.environ))

    async def run(made: Any, tell: Callable[[str], None]) -> object:
        provider: Any = {} if access is None else {"access": access}
        return await buying.run_telling(made, tell, **caps, **provider)

    most = [f"{caps[key]:,} {what}" for key, what in _MOST if key in caps]
    told = f"The dashboard was started with a cap: at most {' and '.join(most)}." if most else None
    return Hands(plan=plan, run=run, cap_words=told)


_MOST: Final[tuple[tuple[Literal["max_credits", "max_credits_per_job"], str], ...]] = (
    ("max_credits", "credits for this retry"),
    ("max_credits_per_job", "credits for each job"),
)


@dataclass(slots=True, kw_only=True)
class _Serving:
    """A dashboard that is served by a thread of its own."""

    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    ended: asyncio.Event


@dataclass(slots=True)
class Dashboard:
    """The dashboard of a manifest, or of a folder of them, served for as long as the block, sync or async.

    The block gets its address. What stands in it after the `#` is the token that actions need: whoever has it can
    spend credits by a retry, as far as the caps of the manifest and these go.

    Attributes:
        place: a manifest, by its file or as `load` gave it, or a folder.
        state: the state file, where it is not beside the manifest.
        variables: values for `${NAME}` that a retry needs.
        max_credits: the most that each retry from the page may spend; `max_credits_per_job` the most for a job.
        host: where it listens; anything but this machine itself needs the token to read, too.
        port: by default a free one.
        access: the provider of a retry from the page, by default that of the environment.
    """

    place: str | Path | Batch = "."
    state: str | Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    max_credits: int | None = None
    max_credits_per_job: int | None = None
    host: str = "127.0.0.1"
    port: int = 0
    access: Access | None = None
    _serving: _Serving | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> str:
        """Begin to serve; gives the address.

        Raises:
            UsageError: there is no such batch, nothing can listen there, a value is none of its own, or an event loop
                runs in this thread.
        """
        refuse_in_loop("with Dashboard(…)", "async with Dashboard(…)")
        if self._serving is not None:
            raise UsageError("this dashboard is served already")
        self._refuse_wrong()
        begun: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=self._run, args=(begun,), name="batchrunner-dashboard", daemon=True)
        thread.start()
        try:
            address, loop, ended = begun.result()
        except BaseException:  # Ctrl-C, too: nothing that nobody can end may go on
            if not begun.cancel() and begun.exception() is None:
                _, loop, ended = begun.result()
                loop.call_soon_threadsafe(ended.set)
            thread.join()
            raise
        self._serving = _Serving(thread=thread, loop=loop, ended=ended)
        return address

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._serving is not None:
            self._serving.loop.call_soon_threadsafe(self._serving.ended.set)
            self._serving.thread.join()
            self._serving = None

    async def __aenter__(self) -> str:
        beginning = asyncio.create_task(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:  # the block is never entered, and so never left
            await asyncio.wait([beginning])
            if beginning.exception() is None:
                await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _refuse_wrong(self) -> None:
        for name in ("max_credits", "max_credits_per_job"):
            given.refuse_no_cap(name, getattr(self, name))
        given.refuse_no_variables(self.variables)
        given.refuse_no_port(self.port)
        if not isinstance(self.host, str):
            raise UsageError(f"host is the name or the address of this machine as text, not {self.host!r}")

    def _run(self, begun: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        try:
            asyncio.run(self._serve(begun))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for the beginning
            if not begun.done():
                begun.set_exception(error)

    async def _serve(self, begun: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        caps: Caps = {}
        if self.max_credits is not None:
            caps["max_credits"] = self.max_credits
        if self.max_credits_per_job is not None:
            caps["max_credits_per_job"] = self.max_credits_per_job
        ended = asyncio.Event()
        place, state = place_of(self.place, self.state)
        async with served(
            place,
            state=state,
            variables=self.variables,
            caps=caps,
            host=self.host,
            port=self.port,
            access=self.access,
        ) as page:
            begun.set_result((page.address, asyncio.get_running_loop(), ended))
            await ended.wait()
