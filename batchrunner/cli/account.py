"""`account`: the plan and the balance behind the key."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit

if TYPE_CHECKING:
    from batchrunner.provider import wire


@click.command()
@options.as_json
def account(*, as_json: bool) -> int:
    """Show the plan and the credits of the account; spends nothing, and says whether the key is accepted."""
    found = asyncio.run(_read())
    if as_json:
        show.as_json({"id": found.id, "tier": found.tier, "credits": found.credits})
    else:
        show.line(f"plan     {found.tier or 'not told'}\ncredits  {show.credits(found.credits)}")
    return Exit.OK


async def _read() -> wire.Account:
    from batchrunner import access

    async with access.client(access.access(os.environ)) as client:
        return await access.account(client)
