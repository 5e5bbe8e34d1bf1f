"""What the tests with a cluster share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cluster import Processes
from tests.support.program import wait_for


@contextmanager
def two_workers(folder: Path) -> Iterator[Processes]:
    made = Processes(folder)
    made.start_scheduler()
    for _ in range(2):
        made.add_worker()
    try:
        wait_for(lambda: made.count() == 2)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A scheduler and two workers that no test kills."""
    with two_workers(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Processes]:
    """A scheduler and two workers to be killed."""
    with two_workers(tmp_path / "cluster") as made:
        yield made
