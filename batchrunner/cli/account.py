"""`account`: the plan and the balance behind the key."""

from __future__ import annotations

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit


@click.command(short_help="Show plan and credits; says whether the key is accepted.")
@options.as_json
def account(*, as_json: bool) -> int:
    """Show the plan and the credits of the account; spends nothing, and says whether the key is accepted."""
    from batchrunner.api.setup import account as read

    found = read()
    if as_json:
        show.as_json({"id": found.id, "tier": found.tier, "credits": found.credits})
    else:
        show.line(f"plan     {found.tier or 'not told'}\ncredits  {show.credits(found.credits)}")
    return Exit.OK
