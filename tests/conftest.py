"""What the tests share: a real sandbox in its own process, real media, the real program."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal

from hypothesis import HealthCheck, settings
import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.media import write_clip, write_still
from tests.support.program import Program, Provider

# How fast a machine is says nothing of the code: a busy one must not fail a test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long bytes name no case: some hold random data or a time, and so differ from process to process."""
    return argname if isinstance(val, bytes) and len(val) > 40 else None


# A shell that starts the tests in the background has them ignore Ctrl-C, and with them the programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _home_of_nobody(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may read or write the person's own home, or use their key."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    for name in list(os.environ):
        if name.startswith(("MAGIC_HOUR_", "BATCHRUNNER_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips of 1 s (24 and 30 frames a second) and two stills."""
    folder = tmp_path_factory.mktemp("media")
    write_clip(folder / "a.mp4", fps=24, seconds=1.0, hue=0.1)
    write_clip(folder / "b.mp4", fps=30, seconds=1.0, hue=0.6)
    write_still(folder / "a.png", hue=0.3)
    write_still(folder / "b.png", hue=0.8)
    return folder


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """A sandbox that all tests of this worker share; each test tells its own jobs by its manifest's name."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("sandbox"), scale=0.1, credits=10_000_000)
    with launch.start(settings) as running:
        yield Provider(base_url=running.base_url)


@pytest.fixture
def program(provider: Provider, tmp_path: Path) -> Program:
    """The command line in its own process, in an empty folder, with the shared sandbox as its provider."""
    return Program(folder=tmp_path, provider=provider)
