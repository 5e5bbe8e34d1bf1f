"""`dashboard`: a page on this machine that follows runs in other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchrunner.cli import options, show, signals
from batchrunner.errors import Exit

if TYPE_CHECKING:
    from batchrunner.api.pages import Served


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
    from batchrunner.api.pages import served

    most: Any = {name: cap for name, cap in caps.items() if cap is not None}
    asyncio.run(_shown(served(place, state=state, variables=var, caps=most, host=host, port=port)))
    return Exit.OK


async def _shown(serving: AbstractAsyncContextManager[Served]) -> None:
    """Say where it is, until it is ended."""
    ended = asyncio.Event()
    async with serving as page:
        show.say(f"dashboard: {page.address}")
        if not page.is_local:
            show.say("this is plain HTTP: whoever sees the traffic sees the token; a tunnel (ssh -L) keeps it private")
        with signals.in_two_stages(ended.set, ended.set):
            await ended.wait()
