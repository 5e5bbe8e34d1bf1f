"""A real sandbox in its own process, real clips, and a client that is nothing but HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
import time
from typing import Any

import av
from av.filter import Graph
import httpx
from PIL import Image
import pytest

from batchrunner.sandbox import launch, movie
from batchrunner.sandbox.launch import Running
from batchrunner.sandbox.settings import API_KEY, Settings

BEARER = {"Authorization": f"Bearer {API_KEY}"}
FINAL = ("complete", "error", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    frames: int
    fps: float
    seconds: float
    size: tuple[int, int]
    codec: str
    pixels: str
    sound_s: float
    first: Image.Image
    last: Image.Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The API of one sandbox, as plainly as it can be spoken."""

    base_url: str
    http: httpx.Client

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.http.request(method, self.base_url + path, json=body, headers=BEARER)

    def ledger(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(self.base_url + "/_sandbox/ledger").json()
        return answer

    def books(self) -> dict[str, Any]:
        """The ledger, after checking that every credit of it is accounted for."""
        ledger = self.ledger()
        charged = {job["id"]: job["charged"] for job in ledger["creates"]}
        assert ledger["credits"] == ledger["initial_credits"] + ledger["topped_up"] - sum(charged.values())
        balance, moved = ledger["initial_credits"], Counter[str | None]()
        for entry in ledger["entries"]:
            balance += entry["credits"]
            moved[entry["project"]] -= entry["credits"]
            assert entry["balance"] == balance >= 0
        assert balance == ledger["credits"]
        assert -moved.pop(None, 0) == ledger["topped_up"]
        assert moved == Counter(charged)
        for job in ledger["creates"]:
            assert 0 <= job["refunded"] <= job["held"]
        return ledger

    def rules(self, *rules: dict[str, Any]) -> None:
        """Put these rules of misbehaviour in force, and no others."""
        answer = self.http.put(self.base_url + "/_sandbox/faults", json=rules)
        assert answer.status_code == 200, answer.text

    def upload_address(self, kind: str, extension: str) -> dict[str, str]:
        answer = self.api("POST", "/v1/files/upload-urls", {"items": [{"type": kind, "extension": extension}]})
        item: dict[str, str] = answer.raise_for_status().json()["items"][0]
        return item

    def upload(self, path: Path, kind: str) -> str:
        item = self.upload_address(kind, path.suffix.removeprefix("."))
        self.http.put(item["upload_url"], content=path.read_bytes()).raise_for_status()
        return item["file_path"]

    def project(self, project_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.api("GET", f"/v1/video-projects/{project_id}").raise_for_status().json()
        return answer

    def wait(self, project_id: str, *, until: tuple[str, ...] = FINAL) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            project = self.project(project_id)
            if project["status"] in until:
                return project
            time.sleep(0.02)
        raise AssertionError(f"{project_id} did not become one of {until}")

    def render(self, path: str, body: Any) -> dict[str, Any]:
        answer = self.api("POST", path, body)
        assert answer.status_code == 200, answer.text
        return self.wait(answer.json()["id"])


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def start(tmp_path: Path, http: httpx.Client) -> Iterator[Callable[..., tuple[Running, Caller]]]:
    """Start a sandbox with these settings on the test's data folder; all are stopped at the end."""
    started: list[Running] = []

    def start_one(**settings: Any) -> tuple[Running, Caller]:
        chosen: dict[str, Any] = {"data_dir": tmp_path / "data", "scale": 0.1} | settings
        running = launch.start(Settings(**chosen))
        started.append(running)
        return running, Caller(base_url=running.base_url, http=http)

    yield start_one
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, http: httpx.Client) -> Iterator[Caller]:
    """One sandbox for the tests that leave nothing behind that another could notice."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("shared"), scale=0.1, credits=1_000_000)
    with launch.start(settings) as running:
        yield Caller(base_url=running.base_url, http=http)


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A clip whose frames all differ, with sound if asked for."""

    def make(
        *,
        size: tuple[int, int] = (96, 64),
        rate: Fraction = Fraction(24),
        frames: int = 24,
        sound: bool = False,
        suffix: str = "mp4",
    ) -> Path:
        path = tmp_path_factory.mktemp("clip") / f"clip.{suffix}"
        graph = Graph()
        graph.link_nodes(
            graph.add("testsrc2", f"size={size[0]}x{size[1]}:rate={rate}:duration={float(frames / rate) + 1}"),
            graph.add("format", "pix_fmts=yuv420p"),
            graph.add("buffersink"),
        ).configure()
        with movie.create(path, rate=rate, size=size, sound=sound) as film:
            for _ in range(frames):
                film.add_picture(graph.vpull())
            if sound:
                for block in movie.tone(float(frames / rate)):
                    film.add_sound(block)
        return path

    return make


@pytest.fixture(scope="session")
def clip(make_clip: Callable[..., Path]) -> Path:
    """One second, 24 frames, 96x64, no sound."""
    return make_clip()


@pytest.fixture(scope="session")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160x90, dark at the top and bright at the bottom."""
    path = tmp_path_factory.mktemp("still") / "still.png"
    Image.linear_gradient("L").resize((160, 90)).convert("RGB").save(path)
    return path


@pytest.fixture(scope="session")
def red_still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90x160, nothing but red."""
    path = tmp_path_factory.mktemp("red") / "red.png"
    Image.new("RGB", (90, 160), "red").save(path)
    return path


@pytest.fixture(scope="session")
def probe() -> Callable[[Path], Probe]:
    """All that is known of a movie after decoding every frame of it."""

    def read(path: Path) -> Probe:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            frames = list(container.decode(video))
            assert video.average_rate is not None
            assert video.duration is not None
            assert video.time_base is not None
            sounds = [float((s.duration or 0) * (s.time_base or 0)) for s in container.streams.audio]
            return Probe(
                frames=len(frames),
                fps=float(video.average_rate),
                seconds=float(video.duration * video.time_base),
                size=(video.width, video.height),
                codec=video.codec_context.name,
                pixels=video.codec_context.pix_fmt or "",
                sound_s=max(sounds, default=0.0),
                first=frames[0].to_image(),
                last=frames[-1].to_image(),
            )

    return read
