"""`completion`: what the Tab key offers, and the script that asks for it.

The shell waits while this runs, so nothing heavy is imported; and whatever goes wrong, nothing is offered rather than
told in the middle of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
import os
from pathlib import Path
import shlex
from typing import Final

import click
from click.shell_completion import get_completion_class

from batchrunner.errors import Exit

SHELLS: Final = ("bash", "zsh", "fish")
PROGRAM: Final = "batchrunner"
VARIABLE: Final = "_BATCHRUNNER_COMPLETE"
"""Set by the script, so that the program says what could follow instead of running; click's own name for it."""

MOST: Final = 500
"""Ids offered at once."""

LARGEST_READ: Final = 300_000
"""Bytes of a manifest that are read for its ids while the shell waits: some tenths of a second."""

UNCERTAIN: Final = "uncertain"
"""The state of that name; the job machine is not imported for it."""

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


@click.command(short_help="Print the script that lets a shell complete with Tab.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the script that lets SHELL complete commands, options, manifests and job ids."""
    maker = get_completion_class(shell)
    assert maker is not None, shell
    click.echo(maker(context.find_root().command, {}, PROGRAM, VARIABLE).source())
    return Exit.OK


# --- what can follow -------------------------------------------------------------------------------------------------


def jobs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids of the manifest that was typed: those on record, and those it writes out."""
    return _offered(lambda beginning: _known(context, beginning), incomplete)


def uncertain(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids of jobs that wait for a person's word; it is taken for no others."""
    return _offered(lambda beginning: _recorded(context, beginning, state=UNCERTAIN), incomplete)


def _known(context: click.Context, beginning: str) -> Iterator[str]:
    yield from _recorded(context, beginning)
    manifest = _manifest(context)
    if manifest is not None and manifest.stat().st_size <= LARGEST_READ:
        yield from _written(manifest)


def _manifest(context: click.Context) -> Path | None:
    """Return the manifest on the line; before an option's value is complete, click has named no argument yet."""
    named: Path | None = context.params.get("manifest")
    return Path(context.args[0]) if named is None and context.args else named


def _recorded(context: click.Context, beginning: str, *, state: str | None = None) -> list[str]:
    from batchrunner import statefile

    path = _state_file(context.params.get("state"))
    if path is None and (manifest := _manifest(context)) is not None:
        path = statefile.path_for(manifest)
    return statefile.job_ids(path, beginning=beginning, state=state, limit=MOST) if path is not None else []


def _state_file(given: Path | Sequence[str | Path] | None) -> Path | None:
    """The state file that was typed; where `--state` selects jobs, too, it is given a list of both."""
    if given is None or isinstance(given, Path):
        return given
    return next((each for each in given if isinstance(each, Path)), None)


def _written(manifest: Path) -> Iterator[str]:
    """Yield the ids that a manifest writes out; whatever else is in it is not looked at."""
    from batchrunner.core import yamltext

    text = manifest.read_text(encoding="utf-8-sig")
    _, items = yamltext.outline(text, source="", stream="jobs", report=lambda _: None)
    for item in items:
        node = item.entries["id"].node if isinstance(item, yamltext.MapNode) and "id" in item.entries else None
        if isinstance(node, yamltext.ScalarNode) and isinstance(node.value, str) and not {"{", "$"} & {*node.value}:
            yield node.value


def _offered(find: Callable[[str], Iterable[str]], beginning: str) -> list[str]:
    """Return what is found for the beginning of a word, as the shell wants it; what fails ends the list."""
    is_bash = os.environ.get(VARIABLE, "").startswith("bash")
    ids: dict[str, None] = {}
    with suppress(Exception):
        for job_id in find(beginning):
            if job_id.startswith(beginning) and job_id.isprintable() and len(ids) < MOST:
                ids[job_id] = None
    # bash puts in what it is given; the other shells quote it themselves.
    return [shlex.quote(job_id) if is_bash else job_id for job_id in ids]
