"""The same batch by other means, as a program of its own: started by rendering.py, which measures it.

    python benchmarks/rivals.py sdk-threads|sdk-async|httpx JOBS AT_ONCE

Renders `clips/0.mp4` and those that follow into `renders`, in the folder where it is started.

- `sdk-threads` is the official SDK, one `generate` a job in a pool of threads.
- `sdk-async` is its async client, a `gather` under a semaphore.
- `httpx` is the shortest loop that does the same: no state, no retries, no checks, a look every half second.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import sys
from typing import Any

LOOK_EVERY_S = 0.5
"""As the official SDK does."""


def body(number: int) -> dict[str, Any]:
    return {
        "start_seconds": 0,
        "end_seconds": 1,
        "fps_resolution": "HALF",
        "name": f"job-{number}",
        "style": {"art_style": "Ink", "version": "v2"},
        "assets": {"video_source": "file", "video_file_path": f"clips/{number}.mp4"},
    }


def kept_in(number: int) -> str:
    """A folder for each: the SDK names files by their address, and those of two jobs alike."""
    folder = Path("renders") / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def by_threads(jobs: int, at_once: int) -> None:
    from magic_hour import Client  # noqa: PLC0415 - each way loads only what it needs

    sdk = Client(token=os.environ["MAGIC_HOUR_API_KEY"], base_url=os.environ["MAGIC_HOUR_BASE_URL"])

    def one(number: int) -> None:
        sdk.v1.video_to_video.generate(**body(number), download_directory=kept_in(number))

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(jobs)))


async def by_gather(jobs: int, at_once: int) -> None:
    from magic_hour import AsyncClient  # noqa: PLC0415 - each rival loads its own

    sdk = AsyncClient(token=os.environ["MAGIC_HOUR_API_KEY"], base_url=os.environ["MAGIC_HOUR_BASE_URL"])
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with places:
            await sdk.v1.video_to_video.generate(**body(number), download_directory=kept_in(number))

    await asyncio.gather(*(one(number) for number in range(jobs)))


async def by_httpx(jobs: int, at_once: int) -> None:
    import httpx  # noqa: PLC0415 - as above

    places = asyncio.Semaphore(at_once)
    bearer = {"Authorization": f"Bearer {os.environ['MAGIC_HOUR_API_KEY']}"}
    limits = httpx.Limits(max_connections=at_once)
    api = httpx.AsyncClient(
        base_url=os.environ["MAGIC_HOUR_BASE_URL"], headers=bearer, limits=limits, timeout=60, trust_env=False
    )
    storage = httpx.AsyncClient(limits=limits, timeout=60, trust_env=False)

    async def one(number: int) -> None:
        wanted = body(number)
        async with places:
            asked = {"items": [{"type": "video", "extension": "mp4"}]}
            target = (await api.post("/v1/files/upload-urls", json=asked)).json()["items"][0]
            content = Path(f"clips/{number}.mp4").read_bytes()  # noqa: ASYNC240 - as people write it
            (await storage.put(target["upload_url"], content=content)).raise_for_status()
            wanted["assets"]["video_file_path"] = target["file_path"]
            project = (await api.post("/v1/video-to-video", json=wanted)).json()["id"]
            path = f"/v1/video-projects/{project}"
            while (seen := (await api.get(path)).json())["status"] != "complete":  # noqa: ASYNC110 - as people write it
                await asyncio.sleep(LOOK_EVERY_S)
            clip = await storage.get(seen["downloads"][0]["url"])
            (Path(kept_in(number)) / "clip.mp4").write_bytes(clip.content)

    async with api, storage:
        await asyncio.gather(*(one(number) for number in range(jobs)))


def main() -> None:
    way, jobs, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if way == "sdk-threads":
        by_threads(jobs, at_once)
    else:
        asyncio.run({"sdk-async": by_gather, "httpx": by_httpx}[way](jobs, at_once))


if __name__ == "__main__":
    main()
