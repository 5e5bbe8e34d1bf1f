"""What the tests with a cluster share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Processes
from tests.support.program import wait_for


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A scheduler and two workers that no test kills."""
    made = Processes(tmp_path_factory.mktemp("cluster"))
    made.start_scheduler()
    for _ in range(2):
        made.add_worker()
    wait_for(lambda: made.count() == 2)
    yield made
    made.stop()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Processes]:
    """A scheduler and two workers to be killed."""
    made = Processes(tmp_path / "cluster")
    made.start_scheduler()
    for _ in range(2):
        made.add_worker()
    wait_for(lambda: made.count() == 2)
    yield made
    made.stop()
