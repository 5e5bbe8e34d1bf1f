"""What is left after the process is gone: everything that was answered for."""

from __future__ import annotations

import contextlib
from datetime import datetime
import json
from pathlib import Path
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import httpx
import pytest

from batchrunner.errors import BatchrunnerError
from batchrunner.sandbox import launch
from batchrunner.sandbox.books import Books
from batchrunner.sandbox.journal import Journal
from batchrunner.sandbox.settings import Settings

STILL = {"end_seconds": 3, "assets": {"image_file_path": "https://example.com/a.png"}}


def test_a_killed_sandbox_goes_on_where_it_was(start: Any, still: Path) -> None:
    running, caller = start(latency_s=1)
    upload = caller.upload(still, "image")
    done = caller.render("/v1/image-to-video", {**STILL, "assets": {"image_file_path": upload}})
    body = caller.http.get(done["downloads"][0]["url"]).content
    open_ids = [caller.api("POST", "/v1/image-to-video", STILL).json()["id"] for _ in range(4)]
    caller.wait(open_ids[0], until=("rendering",))
    before = caller.ledger()
    account = caller.api("GET", "/v1/account").json()["id"]
    running.kill()

    _, caller = start(credits=5, latency_s=0)
    assert caller.api("GET", "/v1/account").json()["id"] == account
    for project_id in open_ids:
        assert caller.wait(project_id)["status"] == "complete"
    after = caller.ledger()
    assert (after["credits"], after["entries"]) == (before["credits"], before["entries"])
    assert [job["id"] for job in after["creates"]] == [job["id"] for job in before["creates"]]
    assert caller.http.get(caller.project(done["id"])["downloads"][0]["url"]).content == body
    again = caller.render("/v1/image-to-video", {**STILL, "assets": {"image_file_path": upload}})
    assert again["status"] == "complete"


@pytest.mark.parametrize("seconds", [2.5, 4.0])
def test_what_is_due_later_comes_after_a_restart(start: Any, seconds: float) -> None:
    running, caller = start(no_render=True)
    caller.http.post(caller.base_url + "/_sandbox/credits", json={"credits": 7})
    failure = {"code": "nsfw", "refund": "late", "refund_after": seconds}
    caller.rules({"job": "fail", "render_error": failure}, {"settle": {"factor": 0.5}, "late_settle": seconds})
    for name, status in (("fail", "error"), ("dear", "complete")):
        assert caller.render("/v1/image-to-video", {**STILL, "name": name})["status"] == status
    before = caller.books()
    running.kill()
    assert before["credits"] == 100_007 - 2 * 144

    _, caller = start(no_render=True)
    deadline = time.monotonic() + 20
    while not all(job["settled_at"] for job in caller.books()["creates"]):
        assert time.monotonic() < deadline
    after = caller.books()
    assert [(job["charged"], job["refunded"]) for job in after["creates"]] == [(0, 144), (72, 0)]
    assert (after["credits"], after["entries"][: len(before["entries"])]) == (100_007 - 72, before["entries"])
    settled = [datetime.fromisoformat(job["settled_at"]) for job in after["creates"]]
    done = [datetime.fromisoformat(job["at"]) for job in after["creates"]]
    for begin, end in zip(done, settled, strict=True):
        assert (end - begin).total_seconds() >= seconds


@pytest.mark.parametrize("answers_before", [1, 7, 30])
def test_no_create_that_was_answered_is_forgotten(start: Any, answers_before: int) -> None:
    running, caller = start(latency_s=60)
    answered: list[str] = []

    def submit_until_it_dies() -> None:
        with contextlib.suppress(httpx.TransportError):
            while True:
                answered.append(caller.api("POST", "/v1/image-to-video", STILL).json()["id"])

    threads = [threading.Thread(target=submit_until_it_dies) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < answers_before:
        assert any(thread.is_alive() for thread in threads)
    running.kill()
    for thread in threads:
        thread.join()

    _, caller = start(latency_s=60)
    ledger = caller.ledger()
    known = [job["id"] for job in ledger["creates"]]
    assert set(answered) <= set(known)
    assert len(known) <= len(answered) + len(threads)
    assert ledger["credits"] == 100_000 - 144 * len(known)


def test_old_addresses_work_after_a_restart_on_the_same_port(start: Any) -> None:
    running, caller = start()
    address = caller.render("/v1/image-to-video", STILL)["downloads"][0]["url"]
    port = httpx.URL(address).port
    running.stop()
    start(port=port)
    assert caller.http.get(address).status_code == 200


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    Books(Journal(tmp_path), credits=10).close()
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"accepted","id":"c')
    books = Books(Journal(tmp_path), credits=99)
    assert (books.balance, books.projects) == (10, {})
    books.close()
    assert path.read_bytes() == whole


def test_a_journal_of_before_there_was_trouble(tmp_path: Path) -> None:
    order: dict[str, Any] = {
        "kind": "image-to-video",
        "image": {"origin": "elsewhere", "ref": "https://example.com/a.png"},
    }
    order |= {"end_image": None, "end_s": 3, "resolution": "720p", "fps": 24, "audio": False, "prompt": ""}
    accepted = {"event": "accepted", "at": "1", "name": "a", "order": order, "body": {}, "held": 7, "fps": 24}
    records = [
        {"event": "opened", "account": "c1", "secret": "s", "credits": 100, "at": "0"},
        accepted | {"id": "p1"},
        accepted | {"id": "p2"},
        {"event": "failed", "id": "p1", "at": "2", "code": "nsfw", "message": "no"},
        {"event": "completed", "id": "p2", "at": "3", "charged": 7, "fps": 24, "width": 2, "height": 2},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    books = Books(Journal(tmp_path), credits=5)
    assert (books.balance, books.projects["p1"].refunded, books.projects["p1"].settled_at) == (93, 7, "2")
    assert books.projects["p2"].settled_at == "3"
    books.close()


def test_a_damaged_line_before_the_last_is_told(tmp_path: Path) -> None:
    Books(Journal(tmp_path), credits=10).close()
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"not json\n" + path.read_bytes())
    with pytest.raises(BatchrunnerError, match=r"journal\.jsonl:1: damaged"):
        Journal(tmp_path)
    path.unlink()
    Journal(tmp_path).close()  # the lock was let go


def test_one_data_folder_is_for_one_sandbox(start: Any, tmp_path: Path) -> None:
    start()
    with pytest.raises(BatchrunnerError, match="already used by another sandbox"):
        launch.start(Settings(data_dir=tmp_path / "data"))


def test_a_taken_port(start: Any, tmp_path: Path) -> None:
    running, _ = start()
    port = httpx.URL(running.base_url).port
    assert port is not None
    with pytest.raises(BatchrunnerError, match="cannot listen on"):
        launch.start(Settings(data_dir=tmp_path / "other", port=port))


def test_a_child_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BatchrunnerError, match=r"the sandbox did not start: .*file cannot be used: File exists"):
        launch.start(Settings(data_dir=tmp_path / "file"))


def test_stopping_is_graceful_and_can_be_repeated(start: Any) -> None:
    running, caller = start()
    assert caller.http.get(caller.base_url + "/_sandbox/health").json() == {"status": "ok"}
    running.stop()
    running.stop()
    assert running.process.returncode == 0


def test_stopping_gives_up_a_render(start: Any) -> None:
    running, caller = start(latency_s=60)
    project_id = caller.api("POST", "/v1/image-to-video", STILL).json()["id"]
    caller.wait(project_id, until=("rendering",))
    began = time.monotonic()
    running.stop()
    assert running.process.returncode == 0
    assert time.monotonic() - began < 5


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    program = f"""
        import os, sys
        from pathlib import Path
        from batchrunner.sandbox import launch
        from batchrunner.sandbox.settings import Settings
        running = launch.start(Settings(data_dir=Path({str(tmp_path)!r})))
        print(running.base_url, flush=True)
        os._exit(9)
    """
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert parent.returncode == 9, parent.stderr
    address = parent.stdout.strip() + "/_sandbox/health"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx.get(address, trust_env=False)
        except httpx.ConnectError:
            return
        except httpx.TransportError:
            pass  # it ended in the middle of this one
        time.sleep(0.05)
    raise AssertionError("the sandbox outlived its parent")


def test_the_command_says_where_it_listens(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "batchrunner.sandbox", f"--data-dir={tmp_path}", "--exit-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert httpx.get(ready["base_url"] + "/_sandbox/health", trust_env=False).status_code == 200
        process.communicate(timeout=10)
    assert process.returncode == 0
