"""What a run takes from the account's other batches on this machine, however many nights these are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import time
from typing import Any

import pytest

from batchrunner import access as providers, assembly, batch, caps, prediction, session as sessions, store
from batchrunner.access import Access
from batchrunner.batch import Batch
from batchrunner.core.evidence import Baseline, Quiet
from batchrunner.core.plan import Wishes
from batchrunner.planning import preview
from batchrunner.till import Noted, Till
from tests.test_session import ACCOUNT, MANIFEST, lives, night, unnamed_model

__all__ = ["night"]

DAY = 86400.0
ACCESS = Access(base_url="http://127.0.0.1:1", key="k")


@pytest.fixture
def till(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Till:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Till.of(os.environ, provider=ACCESS.provider, account=ACCOUNT.id)


def other(night: Batch, till: Till, name: str, *, days_ago: float, life: Callable[..., Any] | None = None) -> Path:
    """Another batch of the account, last written so long ago."""
    manifest = night.root / f"{name}.yaml"
    manifest.write_text(MANIFEST.replace("renders/", f"{name}/"))
    made = batch.read(manifest)
    lives(made, {"tower": life} if life is not None else {})
    with store.open_for_run(made.state, run_id=name, now=1.0) as file:
        for owned, mine in providers.owners(ACCESS, ACCOUNT):
            file.note_fact(owned, mine)
    till.note(Noted(state=made.state, root=made.root))
    at = time.time() - days_ago * DAY
    os.utime(made.state, (at, at))
    return made.state


@contextmanager
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The state files that are opened to be read meanwhile."""
    paths: list[Path] = []
    real = store.open_to_read

    def open_to_read(path: Path, **options: Any) -> Any:
        paths.append(path)
        return real(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(store, "open_to_read", open_to_read)
        yield paths


@pytest.mark.parametrize("is_set_back", [False, True])
async def test_a_run_reads_only_those_that_may_have_something_open(night, till, monkeypatch, is_set_back) -> None:
    """A year of nights is not read again at the beginning of each; but where a clock was set back, nobody can tell."""
    late = other(night, till, "yesterday", days_ago=0.5, life=lambda life: life[:4])
    old = other(night, till, "last-month", days_ago=30, life=lambda life: life[:4])
    if is_set_back:
        ahead = Baseline(at=time.time() + DAY, credits=1000, ledger=0)
        with store.open_for_run(night.state, run_id="ahead", now=1.0) as file:
            file.append_now([], quiet=Quiet(baseline=ahead, moves=True))
    with opened(monkeypatch) as paths:
        async with providers.client(ACCESS) as client:
            with sessions.begin(night, sessions.Order(), access=ACCESS, account=ACCOUNT) as session:
                assembly.engine(
                    session,
                    client=client,
                    access=ACCESS,
                    account=ACCOUNT,
                    till=till,
                    observe=lambda *_: None,
                    tell=lambda _: None,
                )
    assert paths == ([old, late] if is_set_back else [late])


def test_of_another_batch_all_is_read_that_may_still_change(night, till) -> None:
    path = other(night, till, "yesterday", days_ago=0.5, life=lambda life: life[:4])
    with store.open_to_read(path) as view:
        assert view is not None
        assert [job.id for job in view.unsettled()] == ["tower"]
        assert {job.id for job in view.all_attempts()} == {"tower", "hero"}


def test_a_day_is_counted_over_what_was_written_lately(night, till) -> None:
    """One that cannot be read may hold any amount, but none of today's where it was last written long ago."""
    night.path.write_text(f"budget: {{per_day: 100}}\n{MANIFEST}")
    path = other(night, till, "broken", days_ago=30)
    path.write_bytes(path.read_bytes()[:5000])

    def unreadable() -> str | None:
        return caps.spending(batch.read(night.path), [], ACCOUNT, provider=ACCESS.provider, till=till).unreadable

    assert unreadable() == str(path)  # it was just written
    month_ago = time.time() - 30 * DAY
    os.utime(path, (month_ago, month_ago))
    assert unreadable() is None


def test_render_times_are_learned_from_the_last_events_of_another_batch(night, till, monkeypatch) -> None:
    path = other(night, till, "yesterday", days_ago=0.5, life=unnamed_model)
    with store.open_to_read(path) as view:
        assert view is not None
        last = [job for job, _, _ in view.events()][-1]
        assert [job.id for job in view.latest_attempts(1)] == [last]
        assert {job.id for job in view.latest_attempts(1000)} == {"hero", "tower"}
    made = preview(night, wishes=Wishes()).plan
    with opened(monkeypatch) as paths:
        assert prediction.of_plan(night, made, ACCOUNT, access=ACCESS) is not None
    assert path in paths
