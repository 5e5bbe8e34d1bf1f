"""What the benchmarks share: a sandbox that costs next to nothing, programs that are measured, and figures that are
written.

A program is measured from outside, by what the kernel says of its process: wall and processor seconds from its start to
its end, and the most memory it held.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
import json
from multiprocessing import get_context
import os
from pathlib import Path
import platform
import resource
import struct
import subprocess
import sys
import time
from typing import Any
import urllib.request

from batchrunner.sandbox import launch
from batchrunner.sandbox.launch import Running
from batchrunner.sandbox.settings import API_KEY, Settings

RESULTS = Path(__file__).parent / "results"
"""Where figures go unless another file is named; git leaves it out."""

SCALE = 0.05
"""Of the sandbox's pictures: what a check of a result costs is the result's, and not what is compared here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a program took, in seconds and megabytes; `loadavg` is what else went on, in processes, when it ended."""

    code: int
    wall_s: float
    user_s: float
    system_s: float
    megabytes: float
    loadavg: float

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


def measured(command: Sequence[str], *, env: Mapping[str, str], folder: Path) -> Ended:
    """Run a program to its end; what it says goes to `said.txt` in the folder, and is shown when it fails."""
    said = folder / "said.txt"
    with said.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **env}, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        print(said.read_text(errors="replace")[-3000:], file=sys.stderr)
    return Ended(
        code=process.returncode,
        wall_s=wall_s,
        user_s=used.ru_utime,
        system_s=used.ru_stime,
        megabytes=used.ru_maxrss / 1024,
        loadavg=os.getloadavg()[0],
    )


@contextmanager
def sandbox(folder: Path, *, seconds: float, spread: float = 0.0) -> Iterator[Running]:
    """A sandbox in a process of its own whose renders take so long, and cost it nothing."""
    settings = Settings(
        data_dir=folder,
        no_render=True,
        scale=SCALE,
        latency_s=seconds,
        latency_spread=spread,
        credits=100_000_000,
        tier="pro",
    )
    with launch.start(settings) as running:
        yield running


def environment(running: Running, home: Path) -> dict[str, str]:
    """What a program needs to know to talk to a sandbox, with a home folder of its own."""
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "MAGIC_HOUR_BASE_URL": running.base_url,
        "MAGIC_HOUR_API_KEY": API_KEY,
        "MAGIC_HOUR_API_TOKEN": API_KEY,
        "BATCHRUNNER_RUN_YES": "1",
        # As for a person: what was compiled once is kept. Else every start compiles it again, for half a second.
        "PYTHONDONTWRITEBYTECODE": "",
    }


def ledger(running: Running) -> Any:
    """What the sandbox has on its books, with the number of requests by method and path."""
    with urllib.request.urlopen(f"{running.base_url}/_sandbox/ledger", timeout=60) as answer:
        return json.load(answer)


def cpu_of(pid: int) -> float:
    """Processor seconds that a living process has used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_clips(folder: Path, count: int) -> None:
    """Small clips of a second, each with a content of its own: a box that players skip tells them apart.

    In another process: what this one holds when it starts a program would count as the program's memory.
    """
    with get_context("spawn").Pool(1) as pool:
        pool.apply(_write_clips, (folder, count))


def _write_clips(folder: Path, count: int) -> None:
    import av  # noqa: PLC0415 - as above

    folder.mkdir(parents=True)
    first = folder / "0.mp4"
    with av.open(str(first), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(24):
            frame = av.VideoFrame(96, 64, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([64 + 4 * number]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = first.read_bytes()
    for number in range(1, count):
        (folder / f"{number}.mp4").write_bytes(content + struct.pack(">I4sI", 12, b"free", number))


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as text, under the names of their columns."""
    names = list(rows[0])
    cells = [[_shown(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(names)]
    lines = [names, *cells]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def peak_mb() -> float:
    """The most memory that this process ever held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parser(said: str | None) -> argparse.ArgumentParser:
    """Reads the command line of a benchmark; all of them write their figures, and take `--json`."""
    made = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = RESULTS / f"{Path(sys.argv[0]).stem}.json"
    made.add_argument("--json", type=Path, default=beside, metavar="FILE", help=f"where the figures go; now {beside}")
    return made


def tell(rows: Sequence[Mapping[str, object]], *, to: Path) -> None:
    """Print the figures as a table, and write them."""
    print(table(rows))
    write(rows, to=to)


def write(rows: Sequence[Mapping[str, object]], *, to: Path) -> None:
    """Write the figures as JSON, with the machine that they are of."""
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    written = {"at": when, "machine": machine, "loadavg": os.getloadavg(), "figures": list(rows)}
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(written, indent=1) + "\n")
    print(f"figures: {to}")
