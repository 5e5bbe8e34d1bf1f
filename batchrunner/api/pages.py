"""What people look at: the report of a batch, and the dashboard."""

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
from typing import Any, Final, Literal, TypedDict, get_args

from batchrunner import inwords, places, reporting, statefile
from batchrunner.api import buying, planning
from batchrunner.api.buying import place_of
from batchrunner.api.twins import twin
from batchrunner.api.values import Plan
from batchrunner.batch import Batch
from batchrunner.core import plain
from batchrunner.core.selection import EVERYTHING, Selection
from batchrunner.desk import Desk, Hands
from batchrunner.errors import UsageError
from batchrunner.pictures import Pictures
from batchrunner.recorder import redactor
from batchrunner.reporting import Drawn, Form
from batchrunner.web import serving
from batchrunner.web.dashboard import serving_desk
from batchrunner.web.guard import Guard

# --- the report ------------------------------------------------------------------------------------------------------


def report_text(
    manifest: str | Path | Batch,
    *,
    form: Form = "html",
    state: str | Path | None = None,
    select: Selection = EVERYTHING,
    pictures: bool = True,
) -> str:
    """The report of a batch as text, from its state file; also while a run goes on.

    A page (`form="html"`) has its pictures in it, and links as they lead from the current folder.

    Raises:
        UsageError: there is no state file, or a word of the selection fits no job.
        StateUnusable: the state file cannot be used.
    """
    path, where = place_of(manifest, state)
    read = reporting.read(path, state=where, selection=select)
    if _form(form) != "html":
        return reporting.text(read, form)
    return reporting.page(read, Path.cwd(), Drawn(wanted=pictures))


def write_report(
    manifest: str | Path | Batch,
    file: str | Path | None = None,
    *,
    form: Form = "html",
    state: str | Path | None = None,
    select: Selection = EVERYTHING,
    pictures: bool = True,
    assets: str | Path | None = None,
) -> Path:
    """Write the report of a batch to a file, by default `<manifest>.report.html` beside the manifest; gives its path.

    Args:
        manifest: its file, or as `load` gave it.
        file: where it goes; a report that is there is replaced, and nothing else is.
        form: `html`, `md`, `json`, `csv` or `junit`.
        state: the state file, where it is not beside the manifest.
        select: the jobs that it tells of.
        pictures: whether a page has any; without, nothing is decoded.
        assets: a folder for the pictures of a page, which else are in the page.

    Raises:
        UsageError: as `report_text`; or the file cannot be written, or is something else.
        StateUnusable: the state file cannot be used.
    """
    path, where = place_of(manifest, state)
    if file is None and _form(form) != "html":
        raise UsageError(f"name the file that the report goes to as {form}")
    if form != "html" and (assets is not None or not pictures):
        raise UsageError("assets and pictures are for pages", hint='leave out form, or say form="html"')
    target = reporting.page_beside(path) if file is None else Path(file)
    read = reporting.read(path, state=where, selection=select)
    reporting.refuse_to_overwrite(target, read)
    if form == "html":
        drawn = Drawn(assets=None if assets is None else Path(assets), wanted=pictures)
        text = reporting.page(read, target.resolve().parent, drawn)
    else:
        text = reporting.text(read, form)
    reporting.write(target, text)
    return target


def _form(form: str) -> str:
    forms = get_args(Form)
    if form not in forms:
        raise UsageError(f"form is {', '.join(forms[:-1])} or {forms[-1]}, not {form!r}")
    return form


report_text_async = twin(report_text)
write_report_async = twin(write_report)

# --- the dashboard ---------------------------------------------------------------------------------------------------


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
    place: Path, *, state: Path | None, variables: Mapping[str, str], caps: Caps, host: str, port: int
) -> AsyncIterator[Served]:
    """Serve the dashboard of a manifest, or of a folder of manifests, while in the block.

    What was begun from the page ends with it, at once, and nothing is lost by that.

    Raises:
        UsageError: there is no such batch, or nothing can listen there.
    """
    place, state = _found(place, state)
    pictures = Pictures(places.pictures_folder(os.environ))
    try:
        desk = _desk(place, state, variables, pictures, caps)
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


def _desk(place: Path, state: Path | None, variables: Mapping[str, str], pictures: Pictures, caps: Caps) -> Desk:
    secrets = redactor()
    return Desk(
        place,
        state=state,
        words=inwords.of_event,
        note=inwords.note,
        clean=lambda text: plain.shown(secrets.text(text)),
        hands=_hands(state, variables, caps),
        pictures=pictures,
    )


def _hands(state: Path | None, variables: Mapping[str, str], caps: Caps) -> Hands:
    """The library's own functions."""

    def plan(manifest: Path, select: Selection) -> Plan:
        return planning.plan_retry(planning.load(manifest, state=state, variables=variables), select=select)

    async def run(made: Any, tell: Callable[[str], None]) -> object:
        return await buying.run_telling(made, tell, **caps)

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
        place: a manifest, or a folder.
        state: the state file, where it is not beside the manifest.
        variables: values for `${NAME}` that a retry needs.
        max_credits: the most that each retry from the page may spend; `max_credits_per_job` the most for a job.
        host: where it listens; anything but this machine itself needs the token to read, too.
        port: by default a free one.
    """

    place: str | Path = "."
    state: str | Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    max_credits: int | None = None
    max_credits_per_job: int | None = None
    host: str = "127.0.0.1"
    port: int = 0
    _serving: _Serving | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> str:
        """Begin to serve; gives the address.

        Raises:
            UsageError: there is no such batch, or nothing can listen there.
        """
        if self._serving is not None:
            raise UsageError("this dashboard is served already")
        begun: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=self._run, args=(begun,), name="batchrunner-dashboard", daemon=True)
        thread.start()
        try:
            address, loop, ended = begun.result()
        except Exception:
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
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

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
        async with served(
            Path(self.place),
            state=None if self.state is None else Path(self.state),
            variables=self.variables,
            caps=caps,
            host=self.host,
            port=self.port,
        ) as page:
            begun.set_result((page.address, asyncio.get_running_loop(), ended))
            await ended.wait()
