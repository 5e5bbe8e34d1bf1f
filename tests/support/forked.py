"""Processes that find their modules loaded: each is forked from one that has them, and is otherwise on its own.

A short command is loading for the most part, and the suite runs hundreds. What only a start of its own shows is left to
those that are started and watched (`Program.start`), and to those for whom Python is to read another environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
import importlib
import multiprocessing
from multiprocessing.context import ForkServerContext
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Final
import warnings

MODULES: Final = (
    *("batchrunner.__main__", "batchrunner.cli.run", "batchrunner.running", "batchrunner.planning"),
    "tests.support.crash_child",
)
"""What nearly every command loads; it loads the rest for itself."""

READ_AT_START: Final = ("PYTHON", "LC_", "LANG", "LD_", "SSL_", "COVERAGE_")
"""Beginnings of the names of variables that Python, or a module while it is loaded, reads once."""


def can_run(env: Mapping[str, str]) -> bool:
    """Whether a process with that environment is the same as one that was started with it."""
    is_there = "forkserver" in multiprocessing.get_all_start_methods()
    return is_there and _read_at_start(env) == _read_at_start(os.environ)


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env[name] for name in env if name.startswith(READ_AT_START) and name != "PYTHONWARNINGS"}


def run(
    module: str, words: Sequence[str], *, folder: Path, env: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """What `python -m module` comes to with these words, by the module's `main`: exit code, output and errors.

    Raises:
        TimeoutError: it took longer, and was killed.
    """
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        given = {"words": words, "folder": folder, "env": dict(env), "out": out, "err": err}
        process = _context().Process(target=_begin, args=(module,), kwargs=given)
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{module} {' '.join(words)}")
        return process.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))
    return context


def _begin(module: str, *, words: Sequence[str], folder: Path, env: dict[str, str], out: Path, err: Path) -> None:
    """In the new process: put on what a start would have given it, and go."""
    for number, path, flags in (
        (0, Path(os.devnull), os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT),
        (2, err, os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(folder)
    sys.argv = [module, *words]
    warnings.resetwarnings()
    if env.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")
    importlib.import_module("batchrunner.__main__" if module == "batchrunner" else module).main()
