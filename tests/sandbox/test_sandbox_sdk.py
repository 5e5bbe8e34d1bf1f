"""The official SDK, which nobody here wrote, runs its whole `generate` against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from magic_hour import AsyncClient, Client
import pytest

KEY = "mhk_sandbox"


@pytest.fixture(autouse=True)
def fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGIC_HOUR_POLL_INTERVAL", "0.02")


@pytest.fixture
def sdk(shared: Any) -> Iterator[Client]:
    with httpx.Client(trust_env=False, timeout=30) as transport:
        yield Client(token=KEY, base_url=shared.base_url, httpx_client=transport)


@pytest.mark.parametrize("rate", [("FULL", 24), ("HALF", 12)])
def test_video_to_video(sdk: Client, clip: Path, probe: Any, tmp_path: Path, rate: tuple[Any, int]) -> None:
    fps_resolution, fps = rate
    frames = fps * 3 // 4
    result = sdk.v1.video_to_video.generate(
        name="a/0001",
        start_seconds=0.25,
        end_seconds=1.0,
        fps_resolution=fps_resolution,
        style={"art_style": "Ink", "version": "v2", "prompt_type": "custom", "prompt": "rain"},
        assets={"video_source": "file", "video_file_path": str(clip)},
        download_directory=str(tmp_path),
    )
    assert (result.status, result.name, result.type_) == ("complete", "a/0001", "VIDEO_TO_VIDEO")
    assert (result.credits_charged, result.fps) == (2 * frames, fps)
    assert result.downloaded_paths is not None
    movie = probe(Path(result.downloaded_paths[0]))
    assert (movie.codec, movie.pixels) == ("h264", "yuv420p")
    assert (movie.frames, movie.fps) == (frames, fps)
    assert movie.seconds == pytest.approx(0.75, abs=1 / fps)
    assert movie.size == (result.width, result.height)


def test_image_to_video(sdk: Client, still: Path, probe: Any, tmp_path: Path) -> None:
    result = sdk.v1.image_to_video.generate(
        end_seconds=3,
        assets={"image_file_path": str(still)},
        style={"prompt": "slow push in"},
        audio=True,
        download_directory=str(tmp_path),
    )
    assert (result.status, result.type_, result.credits_charged) == ("complete", "IMAGE_TO_VIDEO", 3 * (48 + 24))
    assert result.downloaded_paths is not None
    movie = probe(Path(result.downloaded_paths[0]))
    assert movie.size == (128, 72)  # 1280x720 at a tenth
    assert (movie.frames, movie.fps) == (72, 24)
    assert movie.sound_s == pytest.approx(3, abs=0.1)


def test_an_end_image_is_what_the_video_ends_with(
    sdk: Client, still: Path, red_still: Path, probe: Any, tmp_path: Path
) -> None:
    # The SDK uploads the first image only.
    result = sdk.v1.image_to_video.generate(
        end_seconds=3,
        assets={
            "image_file_path": str(still),
            "end_image_file_path": sdk.v1.files.upload_file(red_still),
        },
        download_directory=str(tmp_path),
    )
    assert result.downloaded_paths is not None
    movie = probe(Path(result.downloaded_paths[0]))
    assert movie.last.getpixel((64, 36)) == pytest.approx((254, 0, 0), abs=12)
    red, green, blue = movie.first.getpixel((64, 36))
    assert (green, blue) == pytest.approx((red, red), abs=12)


def test_account_poll_and_delete(sdk: Client, still: Path) -> None:
    account = sdk.v1.account.list()
    assert account.tier == "creator"
    assert account.subscription is not None
    created = sdk.v1.image_to_video.create(
        end_seconds=1, model="ltx-2.5", assets={"image_file_path": sdk.v1.files.upload_file(still)}
    )
    assert created.credits_charged == created.estimated_frame_cost == 48
    assert sdk.v1.video_projects.get(id=created.id).id == created.id
    sdk.v1.video_projects.delete(id=created.id)
    with pytest.raises(Exception, match="404"):
        sdk.v1.video_projects.get(id=created.id)


async def test_the_async_client(shared: Any, still: Path, tmp_path: Path) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as transport:
        sdk = AsyncClient(token=KEY, base_url=shared.base_url, httpx_client=transport)
        result = await sdk.v1.image_to_video.generate(
            end_seconds=1,
            model="ltx-2.5",
            assets={"image_file_path": str(still)},
            download_directory=str(tmp_path),
        )
    assert result.status == "complete"
