"""The program: its commands, and the one place where errors become words and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
import io
from pathlib import Path
import platform
from shlex import quote
import sys
import tempfile
import traceback
from typing import Any

import click

from batchrunner import __version__
from batchrunner.cli import recorder, show, signals
from batchrunner.errors import BatchrunnerError, Exit, ManifestError

COMMANDS = {
    "init": "batchrunner.cli.init",
    "validate": "batchrunner.cli.validate",
    "config": "batchrunner.cli.config",
    "plan": "batchrunner.cli.plan",
    "run": "batchrunner.cli.run",
    "retry": "batchrunner.cli.retry",
    "redo": "batchrunner.cli.redo",
    "status": "batchrunner.cli.status",
    "download": "batchrunner.cli.download",
    "ledger": "batchrunner.cli.ledger",
    "log": "batchrunner.cli.log",
    "report": "batchrunner.cli.report",
    "dashboard": "batchrunner.cli.dashboard",
    "reconcile": "batchrunner.cli.reconcile",
    "adopt": "batchrunner.cli.settle",
    "resolve": "batchrunner.cli.settle",
    "account": "batchrunner.cli.account",
    "models": "batchrunner.cli.models",
    "schema": "batchrunner.cli.schema",
    "sandbox": "batchrunner.cli.sandbox",
    "demo": "batchrunner.cli.demo",
    "doctor": "batchrunner.cli.doctor",
    "notify": "batchrunner.cli.notify",
    "completion": "batchrunner.cli.completion",
}
"""Each module holds one command under its own name; it is imported when it is needed."""


class Program(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, in the order in which a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        for option in command.params:
            if isinstance(option, click.Option) and option.envvar is None:
                option.envvar = _variable(cmd_name, option)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed; an error is told while it is known for which batch it was."""
        try:
            return super().invoke(ctx)
        except BatchrunnerError as error:
            _say_error(error)
            return error.exit_code

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed, and its arguments; what is none is told with what was probably meant."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r} ({_meant(args[0])})")
        return super().resolve_command(ctx, args)


def _variable(command: str, option: click.Option) -> str:
    """The environment variable of an option: its flag as it is typed, where click takes the name of the argument."""
    flag = max(option.opts, key=len).lstrip("-")
    return f"BATCHRUNNER_{command}_{flag}".replace("-", "_").upper()


def _meant(word: str) -> str:
    """What may have been meant by a word that is no command."""
    from batchrunner.core import findings

    if (near := findings.nearest(word, tuple(COMMANDS))) is not None:
        return f"did you mean {near}?"
    if Path(word).exists():
        return f"a command comes first, such as: batchrunner {'init' if Path(word).is_dir() else 'run'} {quote(word)}"
    return "`batchrunner --help` shows all"


@click.group(
    cls=Program,
    context_settings={"auto_envvar_prefix": "BATCHRUNNER", "help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 unexpected error, 2 usage or manifest, 3 incomplete, 4 jobs failed, 5 unreachable, "
    "6 key refused, 7 out of credits, 8 budget reached, 9 uncertain, 10 window over, 11 locked, 12 state unusable, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="batchrunner")
def program() -> None:
    """Render many clips on Magic Hour from one manifest: nothing paid twice, every clip on disk.

    New here? Type `batchrunner demo`.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what it returns is the exit code, and every failure gets one here."""
    _prepare_streams()
    signals.end_as_interrupted()
    try:
        result = program.main(args=arguments, prog_name="batchrunner", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except SystemExit:
        # click's answer to a closed pipe: whoever read our output has gone, and nothing is left to say.
        return Exit.OK
    except Exception as error:  # noqa: BLE001 - the edge of the program: a bug ends here, in a file
        return _say_unwritten(error) if show.is_of_output(error) else _report_bug(error)
    return result if isinstance(result, int) else Exit.OK


def _prepare_streams() -> None:
    """A character that the terminal's encoding lacks is shown as `?` rather than ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _say_error(error: BatchrunnerError) -> None:
    """The error, and what to do next; a manifest's problems begin with their place, as editors want them."""
    if isinstance(error, ManifestError):
        show.problems(error.problems)
    else:
        show.say(f"error: {error}")
    if error.hint:
        from batchrunner.cli import advice

        advice.say(f"hint: {error.hint}")


def _say_unwritten(error: Exception) -> int:
    show.say(f"error: cannot write to standard output: {getattr(error, 'strerror', None) or error}")
    return Exit.USAGE


def _report_bug(error: Exception) -> int:
    """One line for the person, everything else into a file that can be attached to a report."""
    logged = recorder.note_crash(error)
    if logged is not None:
        return _say_bug(error, str(logged))
    report = "".join(
        [
            f"batchrunner {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            *traceback.format_exception(error),
        ]
    )
    with tempfile.NamedTemporaryFile("w", prefix="batchrunner-", suffix=".log", delete=False, encoding="utf-8") as file:
        from batchrunner.recorder import redactor

        file.write(redactor().text(report))
    return _say_bug(error, file.name)


def _say_bug(error: Exception, where: str) -> int:
    click.echo(f"error: this is a bug in batchrunner: {type(error).__name__}", err=True)
    click.echo(f"hint: nothing recorded is lost. Please report it with {where}", err=True)
    return Exit.BUG
