"""Arguments and options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
import os
from pathlib import Path
import re
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from batchrunner.cli import completion
from batchrunner.core.kind import Kind

if TYPE_CHECKING:
    from batchrunner.core.selection import Selection

Decorated = Callable[..., Any]


class ManifestFile(click.Path):
    """A manifest, which need not be there: its state file may be. A folder is told with what was probably meant."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if Path(value).is_dir():
            from batchrunner import places

            self.fail(
                f"{str(value)!r} is a folder, not a manifest ({places.hint_for_a_folder(Path(value))})", param, ctx
            )
        return super().convert(value, param, ctx)


class NewFile(click.Path):
    """A file to be written; `-`, which is standard output elsewhere, is none."""

    name = "file"

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if str(value) == "-":
            self.fail("'-' would be standard output, which this does not go to; name a file", param, ctx)
        return super().convert(value, param, ctx)


@dataclass(slots=True)
class Batch:
    """The files that a command was given; what knows neither may advise commands by `advice.filled`."""

    manifest: Path | None = None
    state: Path | None = None


def _note_manifest(context: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
    context.find_root().ensure_object(Batch).manifest = value
    return value


def _note_state(context: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
    context.find_root().ensure_object(Batch).state = value
    return value


manifest = click.argument("manifest", type=ManifestFile(), callback=_note_manifest)
any_manifest = click.argument("manifest", type=ManifestFile(), required=False, callback=_note_manifest)

state = click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_note_state,
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

history = click.option(
    "--history",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Also learn prices from the state files in this folder.",
)

retry_failed = click.option("--retry-failed", is_flag=True, help="Try jobs again that failed or were canceled.")

log_and_events = (
    log,
    no_log,
    click.option(
        "--events",
        metavar="FILE|-",
        help="Add every event to FILE as a line of JSON; - is standard output, where then nothing else goes.",
    ),
)


class _Moment(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4, which need not be there
    """A time of day, or a date with a time; `words` may stand in its place."""

    name = "time"

    def __init__(self, *words: str) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        from batchrunner.core import window

        if not isinstance(value, str) or value in self._words:
            return value
        try:
            return window.moment_of(value)
        except ValueError as error:
            also = f", or {self._words[0]}" if self._words else ""
            self.fail(f"{error}{also}", param, ctx)


WINDOW = (
    click.option(
        "--start-at",
        type=_Moment("now"),
        metavar="TIME",
        help="Buy nothing before: 22:00, a date with a time such as 2026-11-01T22:00, or now.",
    ),
    click.option(
        "--stop-at", type=_Moment(), metavar="TIME", help="Buy nothing from then on; what was bought is fetched."
    ),
    click.option(
        "--finish-by",
        type=_Moment(),
        metavar="TIME",
        help="Buy only what will be on disk by then, by past render times.",
    ),
)


class _Workers(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4, which need not be there
    """A number of worker processes, or the address of a scheduler."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        from batchrunner.core import workers
        from batchrunner.errors import UsageError

        try:
            return workers.wanted(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


workers = click.option(
    "--workers",
    type=_Workers(),
    metavar="ADDRESS|N",
    help="Have the bytes carried by a dask.distributed cluster, by its scheduler's address (tcp://HOST:8786), or by N"
    " processes on this machine.",
)


def max_credits(of: str = "this run") -> Callable[[Decorated], Decorated]:
    """The cap `of` what is begun."""
    return click.option("--max-credits", type=click.IntRange(min=0), help=f"Most that {of} may spend.")


max_credits_per_job = click.option(
    "--max-credits-per-job", type=click.IntRange(min=0), help="Most that one job may cost."
)


BUYING = (
    allow_unlisted,
    variables,
    history,
    *WINDOW,
    click.option(
        "--wait-for",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="MANIFEST",
        help="Begin when no run of this other manifest goes on any more. May be repeated.",
    ),
    max_credits(),
    max_credits_per_job,
    click.option(
        "--cutoff",
        type=click.Choice(["soft", "hard"]),
        help="At a cap: soft collects what was bought, hard leaves at once.",
    ),
    click.option(
        "--on-no-credits",
        type=click.Choice(["stop", "wait"]),
        default="stop",
        show_default=True,
        help="When the account cannot pay: stop buying, or wait for a top-up.",
    ),
    click.option(
        "--webhook-port",
        type=click.IntRange(0, 65535),
        help="Listen for the provider's notices here, 0 for a free port; the secret is MAGIC_HOUR_WEBHOOK_SECRET.",
    ),
    click.option("--webhook-host", help="With a webhook port: the address to listen on.  [default: 127.0.0.1]"),
    workers,
    click.option("--ignore-disk-space", is_flag=True, help="Buy even where the results surely do not fit on the disk."),
    click.option("--no-upload-cache", is_flag=True, help="Send inputs again that an earlier run already sent."),
    click.option(
        "--on-job-done",
        metavar="COMMAND",
        help="Run this for each job that is done, with the job as JSON on its input.",
    ),
    click.option("--no-notices", is_flag=True, help="Send no notices."),
    click.option(
        "-y",
        "--yes",
        is_flag=True,
        help="Do not ask before spending credits; what is done but changed is left as it is.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress, only the summary."),
    *log_and_events,
    as_json,
)


def window(command: Decorated) -> Decorated:
    """Let a command be told when may be bought."""
    return _with(WINDOW, command)


def buying(command: Decorated) -> Decorated:
    """Give a command that spends credits what every such command can be told."""
    return _with(BUYING, command)


def _with(given: Sequence[Callable[[Decorated], Decorated]], command: Decorated) -> Decorated:
    for option in reversed(given):
        command = option(command)
    return command


# --- selection -----------------------------------------------------------------------------------------------------


STATES: Final = (
    "new",
    "ready",
    "uploaded",
    "submitting",
    "rendering",
    "rendered",
    "uncertain",
    "done",
    "failed",
    "canceled",
)
"""What `--state` selects by; the job machine is not imported for it."""


class _StateOrFile(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4, which need not be there
    """A state of jobs, to select by; anything else is the state file, which must look like one.

    A slip in a state must never begin another state file: everything would be bought again.
    """

    name = "state|file"
    envvar_list_splitter = os.pathsep

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the states, and leave files to the shell."""
        del ctx, param
        states = [CompletionItem(state) for state in STATES if state.startswith(incomplete)]
        return states or [CompletionItem(incomplete, type="file")]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """Tell the two apart."""
        path = Path(value)
        if isinstance(value, Path) or value in STATES:
            return value  # type: ignore[no-any-return]
        from batchrunner.core import findings

        if path.name == value and not path.suffix and not path.exists():
            self.fail(f"there is no state {value!r} ({findings.did_you_mean(value, STATES)})", param, ctx)
        return path


def _only(more: str = "") -> Callable[[Decorated], Decorated]:
    return click.option(
        "--only",
        multiple=True,
        metavar="ID",
        shell_complete=completion.jobs,
        help=f"Only these jobs, by id or pattern{more}. May be repeated.",
    )


SELECTING = (
    click.option(
        "--exclude",
        multiple=True,
        metavar="ID",
        shell_complete=completion.jobs,
        help="Leave these jobs out, by id or pattern. May be repeated.",
    ),
    click.option("--tag", multiple=True, metavar="TAG", help="Only jobs with one of these tags. May be repeated."),
    click.option(
        "--kind", multiple=True, type=click.Choice([str(kind) for kind in Kind]), help="Only jobs of this kind."
    ),
    click.option(
        "--state",
        multiple=True,
        type=_StateOrFile(),
        metavar="STATE|FILE",
        help=f"Only jobs in this state ({', '.join(STATES)}; may be repeated). Anything else is the state file;"
        " default: <manifest>.state.db beside the manifest.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        help="Only the first so many of them, by priority and order; those that are done count, too.",
    ),
    click.option("--sample", type=click.IntRange(min=1), help="Only so many of them, drawn by lot."),
    click.option("--seed", type=int, help="With --sample: another draw; the same seed draws the same.  [default: 0]"),
)


def selecting(command: Decorated) -> Decorated:
    """Let a command be for some of the jobs: it is given `selection`, and `state` for the state file."""
    return _selecting(command, _only())


def selecting_to_buy(command: Decorated) -> Decorated:
    """The same for a command that renders jobs once more that are done, changed since and named by their id."""
    return _selecting(command, _only("; a changed job named by its id is bought again"))


def _selecting(command: Decorated, only: Callable[[Decorated], Decorated]) -> Decorated:
    @wraps(command)
    def told(manifest: Path, **given: Any) -> Any:
        words = {name: given.pop(name) for name in ("only", "exclude", "tag", "kind", "limit", "sample", "seed")}
        states = given.pop("state")
        state = _state_file(states)
        click.get_current_context().find_root().ensure_object(Batch).state = state
        return command(manifest, selection=_selection(words, states), state=state, **given)

    return _with((only, *SELECTING), told)


def _selection(words: dict[str, Any], states: Sequence[str | Path]) -> Selection:
    from batchrunner.core.selection import Selection

    if words["seed"] is not None and words["sample"] is None:
        raise click.UsageError("--seed is for --sample")
    return Selection(
        only=words["only"],
        exclude=words["exclude"],
        tags=words["tag"],
        kinds=tuple(Kind(kind) for kind in words["kind"]),
        states=tuple(state for state in states if isinstance(state, str)),
        limit=words["limit"],
        sample=words["sample"],
        seed=words["seed"] or 0,
    )


def _state_file(states: Sequence[str | Path]) -> Path | None:
    files = [state for state in states if isinstance(state, Path)]
    if len(files) > 1:
        raise click.UsageError(f"--state names two state files: {files[0]} and {files[1]}")
    return files[0] if files else None
