"""What the tests of the commands share."""

from __future__ import annotations

import json
import shutil

import pytest

from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from tests.support.program import Program, Provider


@pytest.fixture
def own(tmp_path, media, request):
    """A program with a provider of its own, which misbehaves as the test's marker says."""
    rules = getattr(request, "param", [])
    (tmp_path / "faults.json").write_text(json.dumps(rules))
    settings = Settings(data_dir=tmp_path / "sandbox", scale=0.1, credits=100_000, faults=tmp_path / "faults.json")
    with launch.start(settings) as running:
        for file in media.iterdir():
            shutil.copy(file, tmp_path)
        yield Program(folder=tmp_path, provider=Provider(base_url=running.base_url))
