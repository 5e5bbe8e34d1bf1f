"""The till of an account: what it leaves in the person's state folder."""

from __future__ import annotations

import os
from pathlib import Path
import stat

from batchrunner.till import Noted, Till


async def test_nobody_else_may_read_what_it_keeps(tmp_path: Path) -> None:
    state = tmp_path / "a.state.db"
    state.touch()
    before = os.umask(0)
    try:
        with Till.of({"HOME": str(tmp_path)}, provider="sandbox", account="acc") as till:
            await till.wait(batch=tmp_path / "a.yaml", tell=lambda _words: None)
            till.note(Noted(state=state, root=tmp_path))
    finally:
        os.umask(before)
    assert till.batches() == (Noted(state=state, root=tmp_path),)
    folder = tmp_path / ".local" / "state" / "batchrunner" / "accounts"
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.glob("*/*")}
    assert modes == dict.fromkeys(("batches.jsonl", "holder", "lock"), 0o600)
