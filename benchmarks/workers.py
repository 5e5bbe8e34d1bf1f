"""A bad night with workers, and how fast they carry.

    python benchmarks/workers.py [--jobs 300] [--night | --speed] [--files 300] [--megabytes 32] [--json FILE]

The night: a sandbox in a process of its own, a scheduler and two workers, and a batch of that many jobs; while it goes
on, a worker is killed with `kill -9` twice, the scheduler once, the run itself once. In the end all jobs are done, none
was paid for twice, the ledger is the provider's, and no file or environment of a worker holds the key.

The speed: files that are fetched from a storage on loopback, checked and looked into, and files that are sent there, by
this process alone, by one worker and by two.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
import hashlib
import itertools
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
from tempfile import TemporaryDirectory
import time

import measuring

sys.path.insert(0, str(Path(__file__).parents[1]))

from batchrunner.carrying import Carrier, Fetching, Here, Sending
from batchrunner.core.space import Bound
from batchrunner.distributed import joined
from batchrunner.provider import courier as couriers
from batchrunner.provider.guard import Guard
from batchrunner.provider.proxies import Proxies
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from batchrunner.traffic import Traffic
from batchrunner.worker import Sights
from tests.support.cluster import Processes, wait_for
from tests.support.media import write_clip, write_still
from tests.support.program import Program, Provider, check_books
from tests.test_crash import mixed_jobs

LOOPBACK = Guard(allows_local=True, needs_tls=False)


def media_of(folder: Path) -> None:
    write_clip(folder / "a.mp4", fps=24, seconds=1.0, hue=0.1)
    write_clip(folder / "b.mp4", fps=30, seconds=1.0, hue=0.6)
    write_still(folder / "a.png", hue=0.3)
    write_still(folder / "b.png", hue=0.8)


# --- the night -------------------------------------------------------------------------------------------------------


def night(jobs: int, folder: Path) -> dict[str, object]:
    settings = Settings(data_dir=folder / "sandbox", latency_s=0.3, no_render=True, credits=10_000_000)
    batch = folder / "batch"
    batch.mkdir()
    media_of(batch)
    manifest = batch / "night.yaml"
    text = mixed_jobs(jobs).replace("in_flight: 3, uploads: 3, downloads: 3", "in_flight: 20, uploads: 8, downloads: 8")
    manifest.write_text(text)
    cluster = Processes(folder / "cluster")
    with launch.start(settings) as running:
        program = Program(folder=batch, provider=Provider(base_url=running.base_url))
        began = time.monotonic()
        try:
            secrets = secrets_in(trouble(program, manifest, cluster, jobs), cluster)
        finally:
            cluster.stop()
        status = check_books(program, manifest, jobs=jobs)
        charged = sum(each["charged"] for each in program.provider.creates("night"))
        row = {
            "jobs": jobs,
            "done": status["totals"]["by_state"].get("done", 0),
            "wall s": time.monotonic() - began,
            "paid twice": sum(count > 1 for count in program.provider.creates_by_job("night").values()),
            "charged": charged,
            "in the ledger": status["totals"]["credits"]["charged"],
            "keys seen": secrets,
            "load": os.getloadavg()[0],
        }
        assert charged == row["in the ledger"], row
        return row


def trouble(program: Program, manifest: Path, cluster: Processes, jobs: int) -> set[bytes]:
    """Kill what can be killed while it goes on; the environments of all workers."""
    cluster.start_scheduler()
    for _ in range(2):
        cluster.add_worker()
    wait_for(lambda: cluster.count() == 2)
    environs = {environ_of(each) for each in cluster.workers}
    output = manifest.parent / "out"

    def done() -> int:
        return len(list(output.glob("*.mp4"))) if output.exists() else 0

    words = ("run", manifest.name, "--workers", cluster.address, "-q")
    process = program.start(*words)

    def reach(share: float) -> None:
        wait_for(lambda: done() >= share * jobs or process.poll() is not None, timeout_s=600)
        assert process.poll() is None, process.communicate()
        print(f"  at {done()} files:", end=" ")

    for share in (0.1, 0.3):
        reach(share)
        victim = next(each for each in cluster.workers if each.poll() is None)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        environs.add(environ_of(cluster.add_worker()))
        print("kill -9 of a worker, and a new one")
    reach(0.5)
    cluster.kill_scheduler()
    cluster.start_scheduler()
    environs |= {environ_of(cluster.add_worker()) for _ in range(2)}
    print("kill -9 of the scheduler; another one, with two new workers")
    reach(0.7)
    process.kill()
    process.communicate()
    print("kill -9 of the run; it is run again")
    ended = program.run(*words, timeout_s=600)
    assert ended.code in {0, 9}, ended.err  # 9: killed just as a submission was on its way, that one is in doubt
    return environs


def environ_of(process: subprocess.Popen[bytes]) -> bytes:
    return Path(f"/proc/{process.pid}/environ").read_bytes()


def secrets_in(environs: set[bytes], cluster: Processes) -> int:
    """How many keys and signatures stand in the environments and files of workers; none may."""
    files = [each.read_bytes() for each in cluster.folder.rglob("*") if each.is_file()]
    found = Counter(name for name in (API_KEY, "Signature=") for text in (*environs, *files) if name.encode() in text)
    print(f"  looked into {len(environs)} environments and {len(files)} files of workers for keys and signatures")
    assert not found, found
    return sum(found.values())


# --- the speed -------------------------------------------------------------------------------------------------------

SERVER = """
import http.server, socketserver, sys
data = open(sys.argv[1], "rb").read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def speed(files: int, megabytes: int, folder: Path) -> Iterator[dict[str, object]]:
    media_of(folder)
    clip = (folder / "a.mp4").read_bytes()
    padding = megabytes * 1_000_000 - len(clip)
    # A box of the kind "free" may hold anything: the clip can be played, and has any size.
    large = clip + padding.to_bytes(4, "big") + b"free" + random.Random(1).randbytes(padding - 8)
    for name, content, count in (("small", clip, files), ("large", large, max(1, files // 12))):
        file = folder / f"{name}.bin"
        file.write_bytes(content)
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(file)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/r.mp4"
            for way, workers in itertools.product(("down", "up"), (0, 1, 2)):
                root = folder / f"{name}-{way}-{workers}"
                root.mkdir()
                one = fetching(root, url) if way == "down" else sending(root, url, content)
                took = asyncio.run(carried(workers, one, root, count))
                yield {
                    "way": way,
                    "workers": workers,
                    "files": count,
                    "MB each": len(content) / 1e6,
                    "wall s": took,
                    "files/s": count / took,
                    "MB/s": count * len(content) / took / 1e6,
                    "load": os.getloadavg()[0],
                }
                shutil.rmtree(root)
        finally:
            server.kill()
            server.wait()


One = Callable[[Carrier, int], Awaitable[object]]
"""Carries one file, by its number."""


def fetching(root: Path, url: str) -> One:
    def one(carrier: Carrier, number: int) -> Awaitable[object]:
        wanted = Fetching(
            written=f"r{number}.mp4",
            root=root,
            mark=f"{number:012x}",
            bound=Bound(likely=10**9, most=10**10),
            seconds=1.0,
            wants_sound=False,
            source=None,
            url=url,
        )
        return carrier.bring(wanted, Traffic())

    return one


def sending(root: Path, url: str, content: bytes) -> One:
    (root / "in.mp4").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    given = Sending(written="in.mp4", root=root, sha256=sha256, size=len(content), url=url)
    return lambda carrier, _: carrier.send(given, Traffic())


async def carried(workers: int, one: One, root: Path, count: int) -> float:
    courier = couriers.independent(LOOPBACK, Proxies())
    here = Here(put=courier.put, fetch=courier.fetch)
    try:
        if not workers:
            return await timed(here, one, range(count))
        sights = Sights(root=root, marker=".marker", content="here")
        async with joined(workers, sights=sights, guard=LOOPBACK, tell=print) as cluster:
            await timed(cluster.carrier(here), one, range(count, count + 16))  # warms them up
            return await timed(cluster.carrier(here), one, range(count))
    finally:
        await courier.aclose()


async def timed(carrier: Carrier, one: One, numbers: range) -> float:
    admitted = asyncio.Semaphore(8)

    async def admit(number: int) -> None:
        async with admitted:
            await one(carrier, number)

    began = time.monotonic()
    await asyncio.gather(*map(admit, numbers))
    return time.monotonic() - began


def main() -> None:
    asked = measuring.parser(__doc__)
    asked.add_argument("--jobs", type=int, default=300)
    asked.add_argument("--files", type=int, default=300, help="small ones; of large ones a twelfth")
    asked.add_argument("--megabytes", type=int, default=32, help="that a large one has")
    asked.add_argument("--night", action="store_true", help="only the night")
    asked.add_argument("--speed", action="store_true", help="only the speed")
    given = asked.parse_args()
    figures = []
    with TemporaryDirectory() as folder:
        if given.night or not given.speed:
            (Path(folder) / "night").mkdir()
            figures.append(night(given.jobs, Path(folder) / "night"))
            print(measuring.table(figures))
        if given.speed or not given.night:
            (Path(folder) / "speed").mkdir()
            carried_so = list(speed(given.files, given.megabytes, Path(folder) / "speed"))
            print(measuring.table(carried_so))
            figures += carried_so
    measuring.write(figures, to=given.json)


if __name__ == "__main__":
    main()
