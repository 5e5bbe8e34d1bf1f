"""`dashboard`: a page on this machine that follows runs in other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

import click

from batchrunner.cli import options, show, signals
from batchrunner.errors import Exit, UsageError

if TYPE_CHECKING:
    from batchrunner.core.selection import Selection
    from batchrunner.desk import Desk, Hands
    from batchrunner.pictures import Pictures


@click.command(short_help="Follow runs in a browser.")
@click.argument("place", metavar="[MANIFEST|FOLDER]", type=click.Path(path_type=Path), default=Path())
@options.state
@options.variables
@options.max_credits("each retry from the page")
@options.max_credits_per_job
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others need the token to read.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="a free one", help="Port.")
def dashboard(
    place: Path, *, state: Path | None, var: Mapping[str, str], host: str, port: int, **caps: int | None
) -> int:
    """Follow runs in a browser: MANIFEST's, or those of all manifests of FOLDER (default: this one).

    The address is printed with a token in it, which actions need: to pause the buying, to resume it, to try jobs
    again. Ends with Ctrl-C; runs in other processes go on.
    """
    from batchrunner import places, statefile
    from batchrunner.pictures import Pictures

    if place.suffix == ".db" and place.is_file() and state is None:
        place, state = place.with_name(f"{place.stem.removesuffix('.state')}.yaml"), place
    if not place.exists() and not (state or statefile.path_for(place)).exists():
        raise UsageError(f"there is no {place}, and no state file of it")
    if place.is_dir() and state is not None:
        raise UsageError("--state is for one manifest, and this is a folder")
    pictures = Pictures(places.pictures_folder(os.environ))
    try:
        asyncio.run(_serve(_desk(place, state, var, pictures, _caps(caps)), host, port))
    finally:
        pictures.close()
    return Exit.OK


async def _serve(desk: Desk, host: str, port: int) -> None:
    from batchrunner.web import serving
    from batchrunner.web.dashboard import serving_desk
    from batchrunner.web.guard import Guard

    guard = Guard(host, own=serving.own_names())
    listener = serving.listen(host, port, what="browsers", hint="name another --port, or --host")
    ended = asyncio.Event()
    async with serving_desk(desk, listener, guard):
        show.say(f"dashboard: {serving.address_for_people(listener)}/#token={guard.token}")
        if not guard.is_local:
            show.say("this is plain HTTP: whoever sees the traffic sees the token; a tunnel (ssh -L) keeps it private")
        with signals.in_two_stages(ended.set, ended.set):
            await ended.wait()
        await desk.leave()


def _desk(place: Path, state: Path | None, variables: Mapping[str, str], pictures: Pictures, caps: Caps) -> Desk:
    from batchrunner.cli import progress, status
    from batchrunner.core import plain
    from batchrunner.desk import Desk
    from batchrunner.recorder import redactor

    secrets = redactor()
    return Desk(
        place,
        state=state,
        words=progress.words,
        note=status.note,
        clean=lambda text: plain.shown(secrets.text(text)),
        hands=_hands(state, variables, caps),
        pictures=pictures,
    )


class Caps(TypedDict, total=False):
    """Caps of each retry from the page, as of `run`, on top of the manifest's."""

    max_credits: int
    max_credits_per_job: int


def _caps(given: Mapping[str, int | None]) -> Caps:
    caps: Caps = {}
    if (most := given["max_credits"]) is not None:
        caps["max_credits"] = most
    if (most := given["max_credits_per_job"]) is not None:
        caps["max_credits_per_job"] = most
    return caps


def _hands(state: Path | None, variables: Mapping[str, str], caps: Caps) -> Hands:
    """The library's own functions."""
    from batchrunner.api import buying, planning
    from batchrunner.api.values import Plan
    from batchrunner.desk import Hands

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
