"""How fast large files come and go, and in how much memory, beside curl.

    python benchmarks/transferring.py [MEGABYTES] [--rounds N] [--json FILE]

The storage is a process of its own that sends zeros without reading them and throws away what it gets. Of batchrunner
the transfer alone is measured, in a process of its own: with its checksum, its partial file and its syncing, without
the look into the clip. curl writes to the same disk, and syncs nothing; `curl, synced` is followed by `sync FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from functools import partial
import hashlib
from multiprocessing import get_context
import os
from pathlib import Path
import shutil
import socket
import subprocess
import sys
from tempfile import TemporaryDirectory
import threading
import time
from typing import Any

import measuring

from batchrunner import transfer, viewers
from batchrunner.__main__ import SWITCH_S
from batchrunner.core.space import Bound
from batchrunner.provider.client import Client

PIECE = 1 << 20
MEGABYTE = 1_000_000


# --- the storage -----------------------------------------------------------------------------------------------------


def serve(size: int) -> None:
    """Answer every GET with so many zeros, and every PUT when all of it has come; says its port first."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, size), daemon=True).start()


def answer(connection: socket.socket, size: int) -> None:
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        head, _, body = head.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            connection.sendall(
                b'HTTP/1.1 200 OK\r\nETag: "zeros"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % size
            )
            send_zeros(connection, size)
        else:
            take(connection, head, came=len(body))
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


def send_zeros(connection: socket.socket, size: int) -> None:
    with os.fdopen(os.memfd_create("zeros"), "w+b") as file:
        file.truncate(size)
        connection.sendfile(file, count=size)


def take(connection: socket.socket, head: bytes, *, came: int) -> None:
    lines = head.lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    if b"expect: 100-continue" in lines:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    buffer = bytearray(PIECE)
    while came < length:
        came += connection.recv_into(buffer) or length


# --- the clients -----------------------------------------------------------------------------------------------------


async def down(url: str, folder: Path, size: int, _: str) -> None:
    async with Client(base_url=url, key="none") as client:
        await transfer.download(
            url,
            target=folder / "came.bin",
            mark="benchmark",
            bound=Bound(likely=size, most=size),
            fetch=client.fetch,
            check=partial(viewers.see, lambda _: None),
            meter=lambda _: None,
        )


async def up(url: str, folder: Path, size: int, sha256: str) -> None:
    async with Client(base_url=url, key="none") as client:
        await transfer.upload(folder / "goes.bin", url, sha256=sha256, size=size, put=client.put, meter=lambda _: None)


def ours(way: str, url: str, folder: Path, size: int, sha256: str) -> dict[str, float]:
    sys.setswitchinterval(SWITCH_S)  # as the command line does
    idle = measuring.peak_mb()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    asyncio.run({"down": down, "up": up}[way](url, folder, size, sha256))
    return {
        "wall s": time.perf_counter() - wall_s,
        "cpu s": time.process_time() - cpu_s,
        "MB above idle": measuring.peak_mb() - idle,
    }


def curl(way: str, url: str, folder: Path, *, is_synced: bool) -> dict[str, float]:
    given = ["-o", "came.bin"] if way == "down" else ["-T", "goes.bin"]
    ended = measuring.measured(["curl", "-sS", "--fail", *given, url], env={}, folder=folder)
    began = time.perf_counter()
    if is_synced:
        subprocess.run(["sync", "came.bin"], cwd=folder, check=True)
    return {"wall s": ended.wall_s + time.perf_counter() - began, "cpu s": ended.cpu_s}


def apart(*given: Any) -> dict[str, float]:
    """Ours, in a process of its own, so that its memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(ours, given)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]))
    parser = measuring.parser(__doc__)
    parser.add_argument("megabytes", nargs="?", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="of which the quickest is shown")
    told = parser.parse_args()
    with (
        TemporaryDirectory() as name,
        subprocess.Popen(
            [sys.executable, __file__, "--serve", str(told.megabytes * MEGABYTE)], stdout=subprocess.PIPE, text=True
        ) as storage,
    ):
        try:
            assert storage.stdout is not None
            figures = compare(f"http://127.0.0.1:{storage.stdout.readline().strip()}/file", Path(name), told)
        finally:
            storage.kill()
    measuring.tell(figures, to=told.json)


def compare(url: str, folder: Path, told: argparse.Namespace) -> list[dict[str, Any]]:
    size = told.megabytes * MEGABYTE
    goes = folder / "goes.bin"
    with goes.open("wb") as file:
        file.truncate(size)
        digest = hashlib.file_digest(goes.open("rb"), "sha256").hexdigest()
    ways: dict[tuple[str, str], Callable[[], dict[str, float]]] = {
        ("batchrunner", "down"): lambda: apart("down", url, folder, size, digest),
        ("curl", "down"): lambda: curl("down", url, folder, is_synced=False),
        ("curl, synced", "down"): lambda: curl("down", url, folder, is_synced=True),
        ("batchrunner", "up"): lambda: apart("up", url, folder, size, digest),
        ("curl", "up"): lambda: curl("up", url, folder, is_synced=False),
    }
    found: dict[tuple[str, str], list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(told.rounds):  # in turn, so that what else goes on strikes all alike
        for way, run in ways.items():
            found[way].append(run())
            (folder / "came.bin").unlink(missing_ok=True)
    rows = []
    for (client, direction), rounds in found.items():
        quickest = min(rounds, key=lambda each: each["wall s"])
        rows.append({"way": direction, "client": client, "MB/s": size / MEGABYTE / quickest["wall s"], **quickest})
    return [{**row, "load": os.getloadavg()[0], "free GB": shutil.disk_usage(folder).free / 1e9} for row in rows]


if __name__ == "__main__":
    main()
