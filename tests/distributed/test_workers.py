"""Transfers by workers: a real scheduler and real workers, against a sandbox."""

from __future__ import annotations

from hashlib import sha256
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

from batchrunner import crew
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from tests.support.program import Ended, Program, Provider, check_books, children, misbehave, wait_for
from tests.test_crash import lay_out, mixed_jobs

pytest.importorskip("distributed", reason="only who uses workers needs it")


def files(program: Program) -> dict[str, str]:
    return {each.name: sha256(each.read_bytes()).hexdigest() for each in (program.folder / "out").iterdir()}


def lines(program: Program, manifest: Path) -> Any:
    """The ledger, but for how long the account was followed."""
    ledger = program.here("ledger", manifest.name, "--json").json()
    del ledger["drift"]
    return ledger


@pytest.fixture
def patient(tmp_path, media):
    """A program with a provider of its own, whose misbehaviour can be changed while it runs."""
    (tmp_path / "faults.json").write_text("[]")
    settings = Settings(data_dir=tmp_path / "sandbox", scale=0.1, credits=100_000, faults=tmp_path / "faults.json")
    folder = tmp_path / "batch"
    folder.mkdir()
    with launch.start(settings) as running:
        yield Program(folder=folder, provider=Provider(base_url=running.base_url))


def test_a_run_with_workers_equals_one_without(program, media, calm):
    manifest = lay_out(program, media, "by-workers", mixed_jobs(6))
    ended = program.run("run", manifest.name, "--workers", calm.address)
    assert ended.code == 0, ended.err
    check_books(program, manifest, jobs=6)
    carried = files(program)
    ledger = lines(program, manifest)
    own_requests = manifest.with_suffix(".log").read_text()
    assert "/v1/files/upload-urls" in own_requests
    assert '"PUT"' not in own_requests, "not a byte was sent by the run itself"

    shutil.rmtree(program.folder / "out")
    fetched = program.run("download", manifest.name)
    assert fetched.code == 0, fetched.err
    assert files(program) == carried
    assert lines(program, manifest) == ledger
    for word in (API_KEY, "Signature", "Error", "Traceback"):
        assert word not in calm.words(), "and no worker was told what it need not know"


def test_a_worker_that_does_not_see_where_results_go_is_named_before_anything_is_bought(program, media, calm):
    """A folder by way of a process's own working folder is another one in every process."""
    manifest = lay_out(program, media, "astray", mixed_jobs(1))
    manifest.write_text(re.sub("(?m)^output: .*$", "output: file:///proc/self/cwd/new/{id}.mp4", manifest.read_text()))
    ended = program.run("run", manifest.name, "--workers", calm.address)
    assert ended.code == 2, ended.err
    assert re.search(r"the worker worker-\d .* cannot see /proc/self/cwd: No such file", ended.err)
    assert not program.provider.creates("astray")
    assert not list(program.folder.glob(".batchrunner*")), "the markers are gone"


def test_files_are_fetched_again_by_workers_of_our_own_which_hold_no_key(program, media):
    """With `--workers N`; their environment and their folder are looked into while they work."""
    manifest = lay_out(program, media, "by-own", mixed_jobs(2))
    assert program.run("run", manifest.name).code == 0
    carried = files(program)
    shutil.rmtree(program.folder / "out")
    (program.folder / "temporary").mkdir()
    program.env |= {"TMPDIR": str(program.folder / "temporary"), "NOTICES": "slack://a/b/c", "AWS_SECRET": "abc"}
    process = program.start("download", manifest.name, "--workers", "2")
    found = wait_for(lambda: len(seen := children(process.pid, "dask_worker")) == 2 and seen)
    environs = [Path(f"/proc/{pid}/environ").read_bytes() for pid in found]
    held = {path: path.read_bytes() for path in (program.folder / "temporary").rglob("*") if path.is_file()}
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert files(program) == carried
    assert out == ""
    assert all(environs), "they were read"
    assert held, "they had files"
    for text in [*environs, *held.values()]:
        for secret in (API_KEY, "MAGIC_HOUR", "slack://", "AWS_SECRET"):
            assert secret.encode() not in text
    assert list((program.folder / "temporary").iterdir()) == [], "nothing is left of them"
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))


@pytest.mark.parametrize("needs_buckets", [False, True])
def test_workers_of_our_own_get_what_python_needs_and_of_buckets_what_the_batch_needs(needs_buckets):
    needed = {"PATH": "/bin", "HOME": "/home/me", "LC_ALL": "C", "HTTPS_PROXY": "http://proxy", "DASK_LOGGING": "x"}
    of_buckets = {"AWS_SECRET_ACCESS_KEY": "a", "GOOGLE_APPLICATION_CREDENTIALS": "b", "AZURE_STORAGE_ACCOUNT_KEY": "c"}
    never = {"MAGIC_HOUR_API_KEY": "d", "MAGIC_HOUR_WEBHOOK_SECRET": "e", "BATCHRUNNER_NOTIFY": "f", "SLACK_TOKEN": "g"}
    got = crew.environment(needed | of_buckets | never, needs_buckets=needs_buckets)
    assert got == (needed | of_buckets if needs_buckets else needed)


HOLDING = """
import sys
from batchrunner import crew
folder, lock = crew._own_folder()
(folder / "key.pem").touch()
print(folder, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_run_leaves_of_its_workers_is_swept_and_not_that_of_one_that_lives(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (temporary / "batchrunner-workers-link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    runs, folders = [], []
    for _ in range(2):
        run = subprocess.Popen(
            [sys.executable, "-c", HOLDING],
            env={**os.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert run.stdout is not None
        runs.append(run)
        folders.append(Path(run.stdout.readline().strip()))
    runs[0].kill()
    runs[0].communicate()
    assert all((each / "key.pem").exists() for each in folders)
    crew._sweep()
    assert not folders[0].exists()
    assert (folders[1] / "key.pem").exists()
    runs[1].kill()
    runs[1].communicate()
    crew._sweep()
    assert [each.name for each in temporary.iterdir()] == ["batchrunner-workers-link"]


def test_a_worker_that_dies_in_the_middle_of_a_transfer(patient, media, own_cluster):
    manifest = lay_out(patient, media, "dies", mixed_jobs(4))
    misbehave(patient, {"step": "download", "trickle": 3000})
    process = patient.start("run", manifest.name, "--workers", own_cluster.address)
    wait_for(lambda: list((patient.folder / "out").glob(".*.part")))
    own_cluster.workers[0].send_signal(signal.SIGKILL)
    own_cluster.workers[0].wait()
    misbehave(patient)
    ended = ended_of(process)
    assert ended.code == 0, ended.err
    check_books(patient, manifest, jobs=4)


def ended_of(process: subprocess.Popen[str], timeout_s: float = 100) -> Ended:
    out, err = process.communicate(timeout=timeout_s)
    return Ended(code=process.returncode, out=out, err=err)


def test_a_scheduler_that_dies_an_engine_that_dies_and_all_is_carried_in_the_end(patient, media, own_cluster):
    manifest = lay_out(patient, media, "bad-night", mixed_jobs(8))
    misbehave(patient, {"step": "download", "trickle": 3000})
    process = patient.start("run", manifest.name, "--workers", own_cluster.address)
    wait_for(lambda: list((patient.folder / "out").glob(".*.part")))
    process.send_signal(signal.SIGKILL)
    process.communicate()

    process = patient.start("run", manifest.name, "--workers", own_cluster.address)
    wait_for(lambda: len(patient.provider.ledger()["downloads"]) > 6)
    own_cluster.kill_scheduler()
    own_cluster.start_scheduler()
    own_cluster.add_worker()
    misbehave(patient)
    ended = ended_of(process)
    assert ended.code in {0, 9}, ended.err  # killed just as a submission was on its way, that one is in doubt
    check_books(patient, manifest, jobs=8)


def test_no_scheduler_at_that_address(program, media, free_port):
    manifest = lay_out(program, media, "nobody", mixed_jobs(1))
    ended = program.run("run", manifest.name, "--workers", f"tcp://127.0.0.1:{free_port}")
    assert ended.code == 2
    assert f"no scheduler answers at tcp://127.0.0.1:{free_port}" in ended.err
    assert program.provider.creates("nobody") == []


def test_what_answers_there_is_no_scheduler(program, media):
    """As with the port of a dashboard: it speaks HTTP."""
    manifest = lay_out(program, media, "no-scheduler", mixed_jobs(1))
    address = program.provider.base_url.replace("http://", "tcp://")
    ended = program.run("run", manifest.name, "--workers", address)
    assert ended.code == 2, ended.err
    assert f"no scheduler answers at {address}" in ended.err
    assert "Warning" not in ended.err
    assert program.provider.creates("no-scheduler") == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tls://127.0.0.1:1", "hint: certificates for tls:// and wss:// are named in dask's configuration"),
        ("ucx://127.0.0.1:1", "dask.distributed has no support for ucx:// on this machine"),
    ],
)
def test_an_address_that_cannot_be_spoken_to_from_here(address, words, program, media):
    manifest = lay_out(program, media, "unspoken", mixed_jobs(1))
    ended = program.run("run", manifest.name, "--workers", address)
    assert ended.code == 2, ended.err
    said = " ".join(ended.err.split())
    assert f"{address} cannot be connected to" in said
    assert words in said
    assert "Warning" not in said, "a client that was half made is put away"


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("said", ["0", "65", "-1", "scheduler:8786", "http://scheduler:8786", "tcp://scheduler", "two"])
def test_what_is_neither_a_number_nor_an_address(said, program, media):
    manifest = lay_out(program, media, "wrong", mixed_jobs(1))
    ended = program.run("run", manifest.name, "--workers", said)
    assert ended.code == 2
    assert "is neither 1 to 64 workers nor the address of a scheduler" in " ".join(ended.err.split())


def test_a_run_without_workers_loads_nothing_of_the_cluster(program, media):
    manifest = lay_out(program, media, "plain", mixed_jobs(1))
    ended = program.python(
        "import sys\n"
        "from batchrunner.__main__ import main\n"
        f"sys.argv = ['batchrunner', 'run', {manifest.name!r}, '-y']\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    assert ended.code == 0, ended.err
    loaded = set(ended.out.split())
    assert "batchrunner" in loaded
    assert not loaded & {"distributed", "dask", "msgpack", "cloudpickle"}


def test_python_gives_workers_as_the_command_does(program, media, calm):
    manifest = lay_out(program, media, "in-python", mixed_jobs(2))
    ended = program.python(
        f"import batchrunner\nresult = batchrunner.run(batchrunner.load({manifest.name!r}), yes=True,"
        f" workers={calm.address!r})\nprint(result.exit_code)\n"
        "try:\n    batchrunner.run(batchrunner.load('in-python.yaml'), workers=0)\n"
        "except batchrunner.UsageError as error:\n    print(error)\n"
    )
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] in {"0", "Exit.OK"}, ended.out
    assert "neither 1 to 64 workers" in ended.out
    check_books(program, manifest, jobs=2)
