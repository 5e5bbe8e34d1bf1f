"""Arguments and options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re
from typing import Any

import click

from batchrunner.cli import completion

Decorated = Callable[..., Any]

manifest = click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False))

state = click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    help="State file; default: <manifest>.state.db beside the manifest.",
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")

allow_unlisted = click.option(
    "--allow-unlisted",
    is_flag=True,
    help="Let through models, styles and sizes that this version's catalogue does not know.",
)

sandbox = click.option(
    "--sandbox", is_flag=True, help="Use a sandbox on this machine instead of the provider: no key, no credits."
)

scale = click.option(
    "--scale",
    type=click.FloatRange(0.05, 2.0),
    default=0.5,
    show_default=True,
    help="With --sandbox: size of its pictures, 1 for nominal.",
)

log = click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Log file; default: <manifest>.log beside the state file.",
)

no_log = click.option("--no-log", is_flag=True, help="Keep no log.")

_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def _words(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """The values by name; the last word for a name counts."""
    words = {}
    for each in given:
        match = _VARIABLE.fullmatch(each)
        if match is None:
            said = f"{each.partition('=')[0]!r} is not of the form NAME=VALUE"
            raise click.BadParameter(said)
        words[match[1]] = match[2]
    return words


variables = click.option(
    "--var",
    "var",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_words,
    help="A value for ${NAME} in the manifest, over `vars` and the environment. May be repeated.",
)


rerender = click.option("--rerender", is_flag=True, help="Buy jobs again that are done but changed since.")

only = click.option(
    "--only",
    multiple=True,
    metavar="ID",
    shell_complete=completion.jobs,
    help="Only these jobs, by id or pattern; a changed job named by its id is bought again. May be repeated.",
)

history = click.option(
    "--history",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Also learn prices from the state files in this folder.",
)

retry_failed = click.option("--retry-failed", is_flag=True, help="Try jobs again that failed or were canceled.")
