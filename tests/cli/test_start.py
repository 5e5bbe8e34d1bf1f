"""What a command loads before it does anything: the quick ones must not wait for libraries they have no use for."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from tests.support import nights

HEAVY = {
    "aiohttp", "apprise", "av", "httpx", "httpx_aiohttp", "jinja2", "leather", "numpy", "opentelemetry", "PIL", "rich",
    "starlette", "tenacity", "uvicorn",
}  # fmt: skip
ALL = HEAVY | {"asyncio", "pydantic", "sqlite3", "yaml"}
CODE = """
import sys
sys.argv = ["batchrunner", *sys.argv[1:]]
from batchrunner.__main__ import main
try:
    main()
except SystemExit as left:
    print(left.code)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*words: str) -> tuple[str, set[str]]:
    """Return the exit code, and the modules that were loaded when the command had run."""
    ended = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=True, timeout=60)
    *_, code, modules = ended.stdout.splitlines()
    return code, set(modules.split())


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["completion", "bash"]])
def test_what_reads_nothing_loads_nothing(words: list[str]) -> None:
    code, modules = loaded(*words)
    assert code in {"0", "None"}
    assert not modules & (ALL - {"asyncio"})


@pytest.mark.parametrize("more", [[], ["--json"], ["--state", "night.state.db"]])
def test_status_loads_what_reads_the_state_file_and_no_more(tmp_path: Path, more: list[str]) -> None:
    manifest = tmp_path / "night.yaml"
    state = nights.write_state(manifest, [nights.done("a"), nights.failed("b"), nights.uncertain("c")])
    manifest.write_text("version: 1\njobs: []\n")
    code, modules = loaded("status", str(manifest), *(str(state) if each.endswith("db") else each for each in more))
    assert code == "0"
    assert "sqlite3" in modules, "it was read"
    assert not modules & HEAVY


def test_the_http_libraries_come_without_a_terminal() -> None:
    code = 'import sys, batchrunner.provider.client, httpx; print("rich" in sys.modules, callable(httpx.main))'
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == ["False", "True"]
