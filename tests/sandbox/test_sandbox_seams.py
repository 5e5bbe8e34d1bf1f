"""The two places where trouble can be put in, and the settings that a child process is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import threading
import time
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
import uvicorn

from batchrunner.errors import UsageError
from batchrunner.sandbox import __main__ as command, launch, server
from batchrunner.sandbox.books import Books, Project
from batchrunner.sandbox.journal import Journal
from batchrunner.sandbox.passage import Call, Fate, Proceed
from batchrunner.sandbox.renderer import RenderError
from batchrunner.sandbox.settings import Settings

BEARER = {"Authorization": "Bearer mhk_sandbox"}
STILL = {"name": "a/1", "end_seconds": 3, "assets": {"image_file_path": "https://example.com/a.png"}}


class Trouble:
    """Loses the answer to every accepted create, and calls every render indecent."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def through(self, call: Call, proceed: Proceed) -> Response:
        self.calls.append(call)
        answer = await proceed()
        return JSONResponse({"message": "lost"}, 502) if call.step == "create" else answer

    @staticmethod
    def foretell(project: Project) -> Fate:
        return Fate(error=RenderError("nsfw", f"not {project.name}"))


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def base_url(tmp_path: Path, trouble: Trouble) -> Iterator[str]:
    settings = Settings(data_dir=tmp_path, scale=0.1)
    books = Books(Journal(tmp_path), credits=settings.credits)
    app = server.create_app(settings, books, through=trouble.through, foretell=trouble.foretell)
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(10)
    books.close()


def test_every_step_passes_with_the_name_of_its_job(base_url: str, trouble: Trouble, http: Any) -> None:
    assert http.get(base_url + "/v1/account", headers=BEARER).status_code == 200
    assert http.post(base_url + "/v1/image-to-video", json=STILL, headers=BEARER).status_code == 502
    ledger = http.get(base_url + "/_sandbox/ledger").json()
    project_id = ledger["creates"][0]["id"]
    assert http.get(f"{base_url}/v1/video-projects/{project_id}", headers=BEARER).status_code == 200
    assert trouble.calls == [
        Call(step="account"),
        Call(step="create", job="a/1", kind="image-to-video", model="default", input="https://example.com/a.png"),
        Call(step="project", job="a/1", kind="image-to-video", model="default", input="https://example.com/a.png"),
    ]


def test_what_becomes_of_a_project_can_be_foretold(base_url: str, http: Any) -> None:
    http.post(base_url + "/v1/image-to-video", json=STILL, headers=BEARER)
    deadline = time.monotonic() + 30
    while (job := http.get(base_url + "/_sandbox/ledger").json()["creates"][0])["status"] != "error":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert job["charged"] == 0
    project = http.get(f"{base_url}/v1/video-projects/{job['id']}", headers=BEARER).json()
    assert project["error"] == {"code": "nsfw", "message": "not a/1"}


def test_a_child_is_given_every_setting(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        host="::1",
        port=1234,
        scale=0.3,
        latency_s=0.5,
        credits=7,
        tier="pro",
        render_workers=5,
        upload_ttl_s=1.5,
        download_ttl_s=2.5,
        asset_ttl_s=3.5,
        latency_spread=0.4,
        no_render=True,
        faults=tmp_path / "faults.json",
        chaos="wild",
        seed=11,
        webhook_url="http://127.0.0.1:1/hook",
    )
    arguments = launch._command(settings)
    options = command.parser().parse_args(arguments[arguments.index("batchrunner.sandbox") + 1 :])
    assert command.settings_of(options) == settings
    assert options.exit_with_parent


@pytest.mark.parametrize("wrong", [{"scale": 0}, {"render_workers": 0}, {"credits": -1}, {"latency_spread": 1.5}])
def test_settings_that_make_no_sense(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Settings(data_dir=tmp_path, **wrong)
