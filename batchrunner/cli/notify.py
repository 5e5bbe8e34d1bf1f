"""`notify`: where notices go, and a test of it."""

from __future__ import annotations

import os
from typing import Any

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit, UsageError


@click.command(short_help="Show where notices of runs go, or send one.")
@click.option("--test", "tests", is_flag=True, help="Send a notice to each address.")
@options.as_json
def notify(*, tests: bool, as_json: bool) -> int:
    """Show where notices of runs are sent, or try it; addresses are shown without their passwords.

    They are read from BATCHRUNNER_NOTIFY and from the file `notify` in the configuration folder, one a line, in the
    form of https://github.com/caronc/apprise/wiki.
    """
    from batchrunner import notify as sending, places
    from batchrunner.core import notices
    from batchrunner.environ import NOTIFY

    file = places.notify_path(os.environ)
    services = sending.opened(sending.addresses(os.environ, file))
    if tests and not services:
        raise UsageError("there is no address to send to", hint=f"put one into {NOTIFY} or {file}")
    rows: list[dict[str, Any]] = [{"address": number, "service": each.name} for number, each in enumerate(services, 1)]
    if tests:
        for row, service in zip(rows, services, strict=True):
            row["took_it"] = service.send(notices.trial())
    if as_json:
        show.as_json(rows)
    for row in () if as_json else rows:
        said = {True: ": took the notice", False: ": took no notice", None: ""}[row.get("took_it")]
        show.line(f"{row['address']}. {row['service']}{said}")
    if not services and not as_json:
        show.line(f"no notices are sent; put addresses into {NOTIFY} or {file}")
    return Exit.OK if all(row.get("took_it", True) for row in rows) else Exit.INCOMPLETE
