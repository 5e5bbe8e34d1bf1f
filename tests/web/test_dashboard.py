"""The dashboard over real runs of the sandbox: its figures, its guard, its actions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
import json
import os
from pathlib import Path
import shutil
import socket
import sqlite3
import stat
import subprocess
import time
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from batchrunner import batch as batches, inwords, snapshots
from batchrunner.board import Board
from batchrunner.core import record
from batchrunner.core.job import Job
from batchrunner.desk import Desk, Hands
from batchrunner.gallery import Folders
from batchrunner.pictures import Pictures
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import Settings
from batchrunner.web.guard import HEADERS, Guard
from tests.support.desks import Page, dashboard
from tests.support.program import Program, Provider

EVIL = "<img src=x onerror=alert(1)>\u202e"
MANIFEST = """\
version: 1
output: renders/{{id}}.mp4
budget: {{credits: 5000}}
limits: {{in_flight: 2}}
defaults:
  image-to-video: {{end_seconds: 5, model: ltx-2.3, resolution: 480p, style: {{prompt: {prompt}}}}}
jobs:
{jobs}
"""


def write(program: Program, media: Path, *ids: str, name: str = "night") -> Path:
    for each in ("a.png", "b.png"):
        shutil.copy(media / each, program.folder)
    jobs = "\n".join(f"  - {{id: {each}, kind: image-to-video, input: a.png}}" for each in ids)
    path = program.folder / f"{name}.yaml"
    path.write_text(MANIFEST.format(jobs=jobs, prompt=json.dumps(EVIL)), encoding="utf-8")
    return path


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Program]:
    """A provider whose renders take a while, and where jobs named `lost` come to nothing until told otherwise."""
    folder = tmp_path / "work"
    folder.mkdir()
    faults = tmp_path / "faults.json"
    message = {"code": "invalid_parameters", "message": EVIL}
    faults.write_text(json.dumps([{"step": "render", "job": "night/lost*", "count": 1, "render_error": message}]))
    settings = Settings(
        data_dir=tmp_path / "sandbox", scale=0.1, credits=100_000, latency_s=2.5, faults=faults, no_render=True
    )
    with launch.start(settings) as running:
        yield Program(folder=folder, provider=Provider(base_url=running.base_url))


@pytest.fixture
def done(program: Program, media: Path) -> Program:
    write(program, media, "one", "two")
    assert program.run("run", "night.yaml").code == 0
    return program


@pytest.fixture(scope="module")
def page(provider: Provider, tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[Page]:
    """A dashboard of a batch that is done, which is only looked at."""
    program = Program(folder=tmp_path_factory.mktemp("looked-at"), provider=provider)
    write(program, media, "one", "two")
    assert program.run("run", "night.yaml").code == 0
    with dashboard(program, "night.yaml") as opened:
        yield opened


def only(page: Page) -> str:
    (batch,) = page.overview()
    return str(batch["id"])


# --- figures ---------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_status(done: Program) -> None:
    told = done.status(done.folder / "night.yaml")
    with dashboard(done, "night.yaml") as page:
        news = page.news(only(page))
    summary = news["summary"]
    assert summary["jobs"] == told["totals"]["jobs"] == 2
    assert summary["by_state"] == told["totals"]["by_state"]
    credits = summary["credits"]
    assert {name: credits[name] for name in told["totals"]["credits"]} == told["totals"]["credits"]
    assert (credits["reserved"], credits["cap"]) == (0, 5000)
    assert [job["charged"] for job in news["jobs"]] == [job["credits"]["charged"] for job in told["jobs"]]
    assert not summary["is_running"]
    assert summary["ends_at"] is None


def test_each_job_has_a_log_of_its_own(done: Program) -> None:
    (one, two) = done.status(done.folder / "night.yaml")["jobs"]
    with dashboard(done, "night.yaml") as page:
        batch = only(page)
        numbers = {job["id"]: job["n"] for job in page.news(batch)["jobs"]}
        told = page.client.get(f"/api/m/{batch}/jobs/{numbers['one']}/log").json()["log"]
        nobody = page.client.get(f"/api/m/{batch}/jobs/99/log").status_code
        nowhere = page.client.get("/api/m/nothing/jobs/0/log").status_code
    written = done.run("log", "night.yaml", "one", "--json").json()
    assert [(each["at"], each["event"]) for each in told] == [(each["at"], each["event"]) for each in written]
    texts = " ".join(each["text"] for each in told)
    assert one["project_id"] in texts
    assert two["project_id"] not in texts
    assert (nobody, nowhere) == (404, 404)


def test_only_what_changed_is_told_again(page: Page) -> None:
    batch = only(page)
    first = page.news(batch)
    again = page.news(batch, first["mark"])
    assert (first["is_all"], len(first["jobs"])) == (True, 2)
    assert (again["is_all"], again["jobs"], again["log"]) == (False, [], [])
    assert page.news(batch, "0-0")["is_all"]
    assert page.news(batch, "rubbish")["is_all"]


def test_many_pages_at_once_cost_one_telling_of_all_jobs(done: Program, monkeypatch) -> None:
    pictures = Pictures(done.folder / "cache")
    hands = Hands(plan=lambda *_: pytest.fail("nothing is bought"), run=lambda *_: pytest.fail("nothing is bought"))
    desk = Desk(
        done.folder / "night.yaml",
        words=inwords.of_event,
        note=inwords.note,
        clean=str,
        hands=hands,
        pictures=pictures,
    )
    told: list[int] = []
    tell = Desk._job

    def counted(self: Desk, board: Board, number: int, job: Job) -> dict[str, Any]:
        told.append(number)
        return tell(self, board, number, job)

    monkeypatch.setattr(Desk, "_job", counted)
    (batch,) = [each["id"] for each in desk.overview()]
    with ThreadPoolExecutor(12) as pages:
        news = list(pages.map(lambda _: desk.news(batch, None), range(12)))
    pictures.close()
    assert sorted(told) == [0, 1]
    assert all(each is not None and [job["id"] for job in each["jobs"]] == ["one", "two"] for each in news)


def test_several_manifests_of_a_folder_stand_side_by_side(done: Program, media: Path) -> None:
    write(done, media, "three", name="day")
    with dashboard(done) as page:
        assert [each["name"] for each in page.overview()] == ["night.yaml"]
        assert done.run("run", "day.yaml").code == 0
        for _ in range(100):
            if len(page.overview()) == 2:
                break
            time.sleep(0.1)
        assert [(each["name"], each["over"]) for each in page.overview()] == [("night.yaml", 2), ("day.yaml", 1)]


def test_a_state_file_alone_is_followed_too(done: Program) -> None:
    (done.folder / "night.yaml").unlink()
    for place in ("night.yaml", "night.state.db"):
        with dashboard(done, place) as page:
            assert [(each["name"], each["over"]) for each in page.overview()] == [("night.yaml", 2)]
    ended = done.run("dashboard", "gone.yaml")
    assert (ended.code, "there is no gone.yaml, and no state file of it" in ended.err) == (2, True)


def test_a_run_is_followed_as_it_goes(slow: Program, media: Path) -> None:
    write(slow, media, *(f"j{number}" for number in range(6)))
    process = begun(slow)
    with dashboard(slow, "night.yaml") as page:
        batch = only(page)
        summary = page.until(batch, lambda each: each["waits"])
        assert summary["is_running"]
        assert {each["step"] for each in summary["waits"]} <= {"upload", "submit"}
        assert any("limits.in_flight" in each["why"] for each in summary["waits"])
        told = slow.status(slow.folder / "night.yaml")
        assert told["is_running"]
        news = page.news(batch)
        mark, seen = news["mark"], {job["id"] for job in news["jobs"] if job["files"]}
        assert len(seen) < 6
        while process.poll() is None:
            news = page.news(batch, mark)
            assert not news["is_all"]
            mark = news["mark"]
            seen |= {job["id"] for job in news["jobs"] if job["files"]}
            time.sleep(0.1)
        process.communicate()
        ended = page.until(batch, lambda each: not each["is_running"])
        seen |= {job["id"] for job in page.news(batch, mark)["jobs"] if job["files"]}
    assert seen == {f"j{number}" for number in range(6)}
    assert ended["by_state"] == {"done": 6}
    assert ended["waits"] == []


# --- pictures and files ----------------------------------------------------------------------------------------------


def test_pictures_and_files_are_those_on_record(done: Program) -> None:
    with dashboard(done, "night.yaml") as page:
        base = f"/api/m/{only(page)}/jobs"
        for which in ("before", "after", "loop"):
            answer = page.client.get(f"{base}/0/{which}.webp")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
            assert answer.content[8:12] == b"WEBP"
        clip = page.client.get(f"{base}/1/files/0")
        assert clip.headers["content-type"] == "video/mp4"
        assert clip.content == (done.folder / "renders" / "two.mp4").read_bytes()
        part = page.client.get(f"{base}/1/files/0", headers={"Range": "bytes=0-3"})
        assert (part.status_code, len(part.content)) == (206, 4)
        (done.folder / "renders" / "two.mp4").write_bytes(b"another")
        assert page.client.get(f"{base}/1/files/0").status_code == 404


def renamed(program: Program, path: str, size: int) -> None:
    """A state file that says another path of the only result of its first job, as one that came from elsewhere may."""
    with contextlib.closing(sqlite3.connect(program.folder / "night.state.db")) as db:
        body, last = db.execute("SELECT body, last_event FROM job WHERE id = 'one'").fetchone()
        job = record.job_from_text(body)
        outputs = (replace(job.outputs[0], path=path, bytes=size),)
        db.execute(snapshots.PUT, snapshots.row(replace(job, outputs=outputs), is_current=True, last_event=last))
        db.commit()


def test_a_file_outside_the_folders_of_the_batch_is_not_served(done: Program, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    clip = done.folder / "renders" / "one.mp4"
    secret = Path(shutil.copy(clip, outside / "secret.mp4"))
    (done.folder / "link.mp4").symlink_to(secret)
    for path in (str(secret), os.path.relpath(secret, done.folder), "link.mp4", "a\0b"):
        renamed(done, path, secret.stat().st_size)
        with dashboard(done, "night.yaml") as page:
            base = f"/api/m/{only(page)}/jobs/0"
            assert page.client.get(f"{base}/files/0").status_code == 404
            for which in ("after", "loop"):
                answer = page.client.get(f"{base}/{which}.webp")
                assert (answer.status_code, "outside the folders" in answer.json()["error"]) == (404, True)
    ended = done.run("report", "night.yaml", "-o", "-")
    assert ended.code == 0, ended.err
    report = ended.out
    assert "it lies outside the folders of this batch" in report


def test_results_may_lie_in_a_folder_that_is_written_whole(program: Program, media: Path, tmp_path_factory) -> None:
    disk, clips = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("clips")
    manifest = write(program, media, "one")
    shutil.copy(media / "a.png", clips)
    text = manifest.read_text().replace("renders/{id}.mp4", f"file://{disk}/{{id}}.mp4")
    manifest.write_text(text.replace("input: a.png", f"input: file://{clips}/a.png"))
    folders = Folders.of(batches.read(manifest))
    for path in (f"{disk}/one.mp4", f"file://{disk}/one.mp4", "one.mp4"):
        assert folders.result(path) is not None
    assert folders.input(f"{clips}/a.png") is not None
    assert folders.result(f"{clips}/a.png") is None
    assert folders.input("/etc/hostname") is None


def test_a_folder_of_results_may_be_a_link(done: Program, tmp_path_factory) -> None:
    disk = tmp_path_factory.mktemp("disk") / "renders"
    (done.folder / "renders").rename(disk)
    (done.folder / "renders").symlink_to(disk)
    with dashboard(done, "night.yaml") as page:
        base = f"/api/m/{only(page)}/jobs/0"
        assert page.client.get(f"{base}/files/0").status_code == 200
        assert page.client.get(f"{base}/after.webp").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/m/{batch}/jobs/2/after.webp",
        "/api/m/{batch}/jobs/-1/after.webp",
        "/api/m/{batch}/jobs/0/../../../../night.yaml",
        "/api/m/{batch}/jobs/0/secret.webp",
        "/api/m/{batch}/jobs/0/files/1",
        f"/api/m/{{batch}}/jobs/0/files/{'9' * 5000}",
        f"/api/m/{{batch}}/jobs/{'9' * 5000}/files/0",
        "/api/m/{batch}/jobs/0/files/night.state.db",
        "/api/m/{batch}/jobs/0/files/..%2f..%2fnight.yaml",
        "/api/m/..%2fnight.yaml",
        "/api/m/nobody",
        "/api/m/nobody/events",
        "/static/..%2fcatalog.yaml",
        "/static/catalog.yaml",
        "/static/migrations%2f0001_first.sql",
    ],
)
def test_no_address_chooses_a_file(page: Page, path: str) -> None:
    url = httpx.URL(page.url + path.format(batch=only(page)))
    assert page.client.get(url).status_code == 404


# --- the guard -------------------------------------------------------------------------------------------------------


def test_every_answer_keeps_the_page_to_itself(page: Page) -> None:
    for path in ("/", "/m/0", "/static/dashboard.js", "/api/overview", "/nothing"):
        headers = page.client.get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS
    text = page.client.get("/").text
    assert "script-src 'self'" in HEADERS["Content-Security-Policy"]
    assert "<script>" not in text
    assert " style=" not in text
    assert page.token not in text


def test_odd_marks_origins_and_cookies_are_no_bug(page: Page) -> None:
    batch = only(page)
    assert page.news(batch, f"1-{'9' * 5000}")["is_all"]
    answer = page.client.post(f"/api/m/{batch}/ask", json={"action": "pause"}, headers={"Origin": "http://["})
    assert answer.status_code == 403


def test_a_strange_cookie_of_another_server_hides_no_reader() -> None:
    guard = Guard("0.0.0.0", own=frozenset({"studio"}))
    for odd in ("a b{}=1", 'x[]="', "batchrunner", "batchrunner=other"):
        assert guard.may_read(Headers({"cookie": f"{odd}; batchrunner={guard.cookie}; z"}))
        assert not guard.may_read(Headers({"cookie": odd}))
    assert guard.knows("studio:8000")
    assert not guard.knows("evil.example:8000")


def test_connections_on_which_nothing_comes_are_closed(page: Page) -> None:
    url = httpx.URL(page.url)
    silent = [socket.create_connection((url.host, url.port)) for _ in range(110)]
    for each in silent:
        each.settimeout(60)
        assert each.recv(1) == b""  # closed by the other side
        each.close()
    assert page.client.get("/").status_code == 200


def test_a_state_file_that_somebody_has_for_himself_holds_up_no_page(done: Program) -> None:
    with contextlib.closing(sqlite3.connect(done.folder / "night.state.db", isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        with dashboard(done, "night.yaml") as page:
            began = time.monotonic()
            assert page.overview()[0]["trouble"] is not None
            assert time.monotonic() - began < 5


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.0.2.1", "", "[::1"])
def test_another_name_is_refused(page: Page, host: str) -> None:
    assert page.client.get("/api/overview", headers={"Host": host}).status_code in {400, 421}
    assert page.client.get("/", headers={"Host": host}).status_code in {400, 421}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Batchrunner-Token": ""},
        {"X-Batchrunner-Token": "guessed"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
def test_an_action_needs_the_token_and_our_own_page(page: Page, headers: dict[str, str]) -> None:
    for path in (f"/api/m/{only(page)}/ask", f"/api/m/{only(page)}/do", "/session"):
        answer = page.client.post(path, json={"action": "retry"}, headers=headers)
        assert answer.status_code == 403, path


def test_others_than_this_machine_need_the_token_to_read(done: Program) -> None:
    with dashboard(done, "night.yaml", "--host", "0.0.0.0") as page:
        assert "//0.0.0.0" not in page.url
        assert page.client.get("/").status_code == 200
        local = f"http://127.0.0.1:{page.url.rpartition(':')[2]}"
        with httpx.Client(base_url=local) as stranger:
            assert stranger.get("/").status_code == 200
            assert stranger.get("/api/overview").status_code == 401
            assert stranger.get("/api/overview", headers={"Cookie": "batchrunner=x; ="}).status_code == 401
            assert stranger.get("/api/overview", headers={"Host": "evil.example"}).status_code == 421
            key = {"Origin": local, "X-Batchrunner-Token": page.token}
            assert stranger.post("/session", headers=key).status_code == 204
            assert page.token not in str(stranger.cookies)
            assert stranger.get("/api/overview").status_code == 200


def test_the_token_is_in_no_file(done: Program) -> None:
    with dashboard(done, "night.yaml") as page:
        page.ask(only(page), "retry")
        token = page.token.encode()
    assert not [path for path in done.folder.rglob("*") if path.is_file() and token in path.read_bytes()]


def begun(program: Program) -> subprocess.Popen[str]:
    """A run that goes on, as far as that it has its state file."""
    process = program.start("run", "night.yaml")
    for _ in range(300):
        if (program.folder / "night.state.db").exists():
            break
        time.sleep(0.05)
    return process


# --- actions ---------------------------------------------------------------------------------------------------------


def test_pausing_stops_the_buying_and_resuming_goes_on(slow: Program, media: Path) -> None:
    ids = [f"j{number}" for number in range(8)]
    write(slow, media, *ids)
    process = begun(slow)
    with dashboard(slow, "night.yaml") as page:
        batch = only(page)
        page.until(batch, lambda each: each["by_state"].get("rendering"))
        asked = page.ask(batch, "pause").json()
        assert asked["lines"][0].startswith("It costs nothing.")
        assert page.do(batch, asked["ticket"]).status_code == 200
        assert page.do(batch, asked["ticket"]).status_code == 409  # a ticket is good once
        control = slow.folder / "night.state.db.control"
        assert stat.S_IMODE(control.stat().st_mode) == 0o600
        page.until(batch, lambda each: each["paused"])
        # All that was bought is collected, and nothing is bought.
        paused = page.until(batch, lambda each: set(each["by_state"]) <= {"ready", "uploaded", "done"})
        bought = len(slow.provider.creates("night"))
        assert 0 < bought < len(ids)
        assert all("paused" in each["why"] for each in paused["waits"])
        assert (paused["ends_at"], slow.status(slow.folder / "night.yaml")["forecast"]) == (None, None)
        time.sleep(2.5)
        assert len(slow.provider.creates("night")) == bought
        assert process.poll() is None
        (hold,) = {job["hold"] for job in page.news(batch)["jobs"]}
        asked = page.ask(batch, "resume").json()
        left = len(ids) - bought
        assert f"{left} jobs for {left * hold:,} credits at the most" in asked["lines"][0].replace("1 jobs", "1 job")
        page.do(batch, asked["ticket"])
        page.until(batch, lambda each: not each["is_running"])
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(slow.provider.creates("night")) == len(ids)
    assert not control.exists()


def test_what_was_asked_of_another_run_pauses_nothing(program: Program, media: Path) -> None:
    write(program, media, "one")
    control = program.folder / "night.state.db.control"
    for said in ('{"run": "another", "paused": true}', "rubbish", "[" * 900, '{"run": 1}'):
        control.write_text(said)
        assert program.run("run", "night.yaml", "--rerender").code == 0
    assert program.status(program.folder / "night.yaml")["totals"]["by_state"] == {"done": 1}


def test_pausing_nothing_is_refused(page: Page) -> None:
    for action in ("pause", "resume"):
        answer = page.ask(only(page), action)
        assert (answer.status_code, answer.json()["error"]) == (409, "no run goes on")
    assert page.ask(only(page), "explode").status_code == 404


def test_a_retry_says_its_price_and_buys_just_that(slow: Program, media: Path) -> None:
    write(slow, media, "lost", "well")
    assert slow.run("run", "night.yaml").code == 4
    with dashboard(slow, "night.yaml") as page:
        batch = only(page)
        numbers = {job["id"]: job["n"] for job in page.news(batch)["jobs"]}
        refused = page.ask(batch, "retry", [numbers["well"]])
        assert refused.json()["error"] == "there is no failed or canceled job among these"
        creates = len(slow.provider.creates("night"))
        asked = page.ask(batch, "retry", [numbers["lost"]]).json()
        price = slow.run("plan", "night.yaml", "--retry-failed", "--json").json()["totals"]["credits"]
        assert asked["lines"][0] == (
            f"1 job to try again: {price['expected']:,} credits expected, {price['hold']:,} at the most."
        )
        assert "invalid_parameters: 1 job; the input or the request is at fault" in asked["lines"][1]
        assert len(slow.provider.creates("night")) == creates
        assert page.do(batch, asked["ticket"]).json() == {"said": "The retry has begun."}
        ended = page.until(batch, lambda each: each["said"] and each["retry"] is None)
        assert ended["said"][-1]["text"] == "the retry is over"
        assert page.until(batch, lambda each: each["over"] == 2)["by_state"] == {"done": 2}
    assert slow.provider.creates_by_job("night") == {"lost": 2, "well": 1}


def test_a_retry_keeps_within_the_caps_that_the_dashboard_was_started_with(slow: Program, media: Path) -> None:
    write(slow, media, "lost", "well")
    assert slow.run("run", "night.yaml").code == 4
    with dashboard(slow, "night.yaml", "--max-credits", "1") as page:
        batch = only(page)
        asked = page.ask(batch, "retry").json()
        assert "at most 1 credits for this retry." in asked["lines"][-1]
        page.do(batch, asked["ticket"])
        page.until(batch, lambda each: each["said"])
    assert slow.provider.creates_by_job("night") == {"lost": 1, "well": 1}


def test_a_retry_that_waits_for_its_window_says_so_and_can_be_called_off(slow: Program, media: Path) -> None:
    manifest = write(slow, media, "lost", "well")
    assert slow.run("run", "night.yaml").code == 4
    start = (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest.write_text(manifest.read_text().replace("jobs:", f'window: {{start: "{start}"}}\njobs:'))
    with dashboard(slow, "night.yaml") as page:
        batch = only(page)
        assert page.ask(batch, "cancel").json()["error"] == "no retry that was begun here goes on"
        first, second = (page.ask(batch, "retry").json() for _ in range(2))
        assert any(line.startswith("buying begins at ") for line in first["lines"])
        assert "; buying begins at " in page.do(batch, first["ticket"]).json()["said"]
        assert page.do(batch, second["ticket"]).json()["error"] == "a retry that was begun here still goes on"
        waits = page.until(batch, lambda each: each["said"])
        assert "buying begins at " in waits["retry"]
        assert "buying begins at " in waits["said"][-1]["text"]
        refused = page.ask(batch, "retry")
        assert (refused.status_code, refused.json()["hint"]) == (409, "wait for its end, or call it off")
        asked = page.ask(batch, "cancel").json()
        assert page.do(batch, asked["ticket"]).json() == {"said": "The retry is called off."}
        summary = page.news(batch)["summary"]
        assert (summary["retry"], summary["said"][-1]["text"]) == (None, "the retry was called off")
        assert page.ask(batch, "retry").status_code == 200
    assert slow.provider.creates_by_job("night") == {"lost": 1, "well": 1}


def test_a_retry_beside_a_run_is_refused_in_the_words_of_the_command(slow: Program, media: Path) -> None:
    write(slow, media, "lost", "well", "third", "fourth", "fifth")
    process = begun(slow)
    with dashboard(slow, "night.yaml") as page:
        batch = only(page)
        page.until(batch, lambda each: each["by_state"].get("failed"))
        refused = page.ask(batch, "retry")
        assert refused.status_code == 409
        assert "is in use by another run (pid" in refused.json()["error"]
        assert "wait for it or stop it" in refused.json()["hint"]
    process.communicate(timeout=60)


def test_hostile_text_is_only_ever_data(slow: Program, media: Path) -> None:
    write(slow, media, "lost")
    slow.run("run", "night.yaml")
    with dashboard(slow, "night.yaml") as page:
        answer = page.client.get(f"/api/m/{only(page)}")
    (job,) = answer.json()["jobs"]
    assert answer.headers["content-type"] == "application/json"
    assert "\u202e" not in answer.text
    assert job["prompt"] == EVIL.replace("\u202e", "\\u202e")
    assert EVIL[:-1] in job["reason"]


def test_a_submission_in_doubt_says_what_a_person_types(slow: Program, media: Path) -> None:
    lost = [{"step": "create", "count": 1, "drop": "after"}, {"step": "account", "freeze_balance": True}]
    httpx.put(f"{slow.provider.base_url}/_sandbox/faults", json=lost).raise_for_status()
    write(slow, media, "one")
    assert slow.run("run", "night.yaml").code == 9
    told = slow.run("status", "night.yaml").out
    with dashboard(slow, "night.yaml") as page:
        (job,) = page.news(only(page))["jobs"]
    assert job["doubt"]["adopt"] == "batchrunner adopt night.yaml one PROJECT_ID"
    assert job["doubt"]["resolve"] == "batchrunner resolve night.yaml one --not-created"
    assert all(job["doubt"][each] in told for each in ("adopt", "resolve", "sent_as", "library"))


def test_a_body_that_is_none_is_refused(page: Page) -> None:
    path = f"/api/m/{only(page)}/ask"
    for content in (b"", b"[]", b"{", b'{"action": 3}', b'{"action": "retry", "jobs": ["x"]}'):
        assert page.client.post(path, content=content).status_code == 400, content
    assert page.client.post(path, content=b" " * 300_000).status_code == 413
