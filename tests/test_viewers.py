"""The programs that look into results: they judge as this process does, and whatever ends them, the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
from typing import Any, cast

import pytest

from batchrunner import carrying, storage, viewer, viewers as looking
from batchrunner.carrying import Fetching, Here, Source
from batchrunner.core.result import Doubt
from batchrunner.core.space import Bound
from batchrunner.errors import DamagedFile
from batchrunner.provider.client import Client
from batchrunner.sandbox import launch
from batchrunner.sandbox.settings import API_KEY, Settings
from batchrunner.traffic import Traffic
from batchrunner.viewer import Damaged, Failed, Looked, Original, Question
from batchrunner.viewers import COMMAND, CRASHED, Viewers
from tests.support import chaos
from tests.support.chaos import answers
from tests.support.program import Program, Provider, check_books, children, lives, misbehave, wait_for
from tests.test_watch import black, scene, until, write

VIEWER = "batchrunner.viewer"
ON_LINUX = Path("/proc/self/task").exists()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of every sort, and inputs to hold them against."""
    folder = tmp_path_factory.mktemp("clips")
    write(folder / "good.mp4", scene, seconds=2)
    write(folder / "black.mp4", black, seconds=2)
    write(folder / "still.mp4", lambda _: scene(1), seconds=2)
    write(folder / "half black.mp4", until(0.8, black), seconds=2)
    scene(0).save(folder / "still.png")
    good = (folder / "good.mp4").read_bytes()
    (folder / "cut ✂.mp4").write_bytes(good[: len(good) * 2 // 3])
    (folder / "no clip.mp4").write_bytes(b"<html>no video</html>")
    return folder


def fetching(
    root: Path, *, seconds: float = 2, wants_sound: bool = False, source: str | None = None, begins: float = 0
) -> Fetching:
    given = None
    if source is not None:
        size = (root / source).stat().st_size
        given = Source(written=source, size=size, media="image" if source.endswith("png") else "video", start_s=begins)
    return Fetching(
        written="out/r.mp4",
        root=root,
        mark="m1",
        bound=Bound(likely=10**8, most=10**9),
        seconds=seconds,
        wants_sound=wants_sound,
        source=given,
        url="http://127.0.0.1:1",
    )


def not_here() -> Doubt | None:
    raise AssertionError("no thread of this process is to look")


@asynccontextmanager
async def viewing(*command: str) -> AsyncIterator[tuple[Viewers, list[str]]]:
    """Programs that look, and what is told of them; none is left at the end."""
    said: list[str] = []
    async with Viewers(tell=said.append, command=command or COMMAND) as viewers:
        yield viewers, said
    assert not viewers._alive
    if ON_LINUX:
        assert not children(os.getpid(), VIEWER)


# --- what they say ---------------------------------------------------------------------------------------------------


CASES: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "good": ("good.mp4", {}, None),
    "good, by its input": ("good.mp4", {"source": "good.mp4"}, None),
    "black": ("black.mp4", {}, "it is black"),
    "black, as its input": ("black.mp4", {"source": "black.mp4"}, None),
    "black, not as its input": ("half black.mp4", {"source": "good.mp4"}, r"it is black from .* s to .* s"),
    "black, as the part of its input": ("black.mp4", {"source": "half black.mp4", "begins": 1}, None),
    "still": ("still.mp4", {"source": "still.png"}, "it stands still"),
    "silent": ("good.mp4", {"wants_sound": True}, "it is silent, and sound was asked for"),
    "short": ("good.mp4", {"seconds": 5}, r"it is 2\.00 s long where 5 s were asked for"),
    "cut": ("cut ✂.mp4", {}, "cut"),
    "no clip": ("no clip.mp4", {}, "no clip"),
}


async def outcome(asked: Any) -> Doubt | str | None:
    """What a look gives, or the words and the hint of what it raises."""
    try:
        found = await asked
    except DamagedFile as error:
        return f"{error} {error.hint}"
    assert found is None or isinstance(found, Doubt)
    return found


async def test_a_program_of_its_own_says_what_this_process_says(clips: Path) -> None:
    async with viewing() as (viewers, said):
        for name, (clip, how, words) in CASES.items():
            what = fetching(clips, **how)
            question = carrying.question_of(what, clips / clip)
            assert question is not None
            found = await outcome(viewers.see(question, not_here))
            assert found == await outcome(asyncio.to_thread(carrying.check, what, clips / clip)), name
            if name in {"cut", "no clip"}:
                assert isinstance(found, str)
                assert clip in found
            elif words is None:
                assert found is None, name
            else:
                assert isinstance(found, Doubt)
                assert re.fullmatch(words, found.words), name
        assert len(viewers._alive) == 1, "one was enough for all"
    assert said == []


async def test_an_input_that_is_not_what_was_sent_says_nothing_of_the_result(clips: Path) -> None:
    what = fetching(clips, source="black.mp4")
    question = carrying.question_of(what, clips / "black.mp4")
    assert question is not None
    assert question.source is not None
    async with viewing() as (viewers, _):
        for source in (replace(question.source, size=7), replace(question.source, path=clips / "none.mp4")):
            found = await viewers.see(replace(question, source=source), not_here)
            assert found is not None
            assert found.words == "it is black"


@pytest.mark.parametrize("written", ["s3://bucket/a.mp4", "gs://bucket/a.mp4"])
def test_what_is_in_a_bucket_is_no_question_for_another_program(clips: Path, written: str) -> None:
    source = Source(written=written, size=1, media="video", start_s=0)
    assert carrying.question_of(replace(fetching(clips), source=source), clips / "good.mp4") is None
    assert carrying.question_of(fetching(clips), storage.at(clips, written).readable) is None


QUESTIONS = [
    Question(path=Path("/a/b.mp4"), seconds=2, wants_sound=False, source=None),
    Question(
        path=Path("/ü/\udc80 \n.mp4"),
        seconds=0.1,
        wants_sound=True,
        source=Original(path=Path("/c\\d.png"), size=2**53, media="image", start_s=1.5),
    ),
]
ANSWERS: list[viewer.Answer] = [
    Looked(doubt=None),
    Looked(doubt=Doubt(words="it is “black”\nand more", at_s=1.25)),
    Looked(doubt=Doubt(words="short", at_s=5)),
    Damaged(words="no ü", hint=None),
    Damaged(words="no", hint="do"),
    Failed(name="OSError"),
]


def test_questions_and_answers_travel_as_they_are() -> None:
    for question in QUESTIONS:
        line = viewer.question_line(question)
        assert line.count(b"\n") == 1
        assert viewer.question_of(line) == question
    for answer in ANSWERS:
        line = viewer.answer_line(answer)
        assert line.count(b"\n") == 1
        assert viewer.answer_of(line) == answer
        for cut in range(len(line) - 1):
            assert viewer.answer_of(line[:cut]) is None
    for line in (b"", b"\n", b"null\n", b"[]\n", b'{"is": "Looked"}\n', b'{"is": "Other"}\n', b"\xff\n", viewer.READY):
        assert viewer.answer_of(line) is None


async def test_an_error_that_is_no_matter_of_the_file_is_raised_where_it_can_be_told(clips: Path) -> None:
    question = question_about(clips / "black.mp4", clips / "no\0name.mp4")
    async with viewing() as (viewers, said):
        with pytest.raises(ZeroDivisionError):
            await viewers.see(question, lambda: cast("None", 1 / 0))
        assert len(viewers._idle) == 1, "it goes on"
    assert said == []


# --- what ends them --------------------------------------------------------------------------------------------------


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Path]:
    """An input that a program never gets to the end of: once it has opened it, it is in the middle of a look."""
    if not ON_LINUX:
        pytest.skip("only Linux tells what files another process has opened")
    path = tmp_path / "stuck.mp4"
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR)  # so that nobody waits for the other end, and nothing comes
    yield path
    os.close(held)


def question_about(clip: Path, stuck: Path | None) -> Question:
    source = None if stuck is None else Original(path=stuck, size=0, media="video", start_s=0)
    return Question(path=clip, seconds=2, wants_sound=False, source=source)


def opened(pid: int) -> dict[str, str]:
    """What a process has opened, by the number of its descriptor."""
    return {each.name: str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}


async def caught(viewers: Viewers, stuck: Path, *, but: int | None = None) -> int:
    """The program that is in the middle of a look."""

    def found() -> int | None:
        for pid in [each.pid for each in viewers._alive if each.pid != but]:
            with suppress(OSError):
                if str(stuck) in opened(pid).values():
                    return pid
        return None

    pid: int = await asyncio.to_thread(wait_for, found)
    return pid


async def test_a_result_that_kills_two_programs_is_on_disk_and_in_doubt(
    clips: Path, tmp_path: Path, stuck: Path
) -> None:
    content = (clips / "black.mp4").read_bytes()
    async with viewing() as (viewers, said), answers(chaos.answer(content)) as server:
        async with Client(base_url=server.url, key=API_KEY) as client:
            here = Here(put=client.put, fetch=client.fetch, viewers=viewers)
            what = replace(fetching(tmp_path, source="stuck.mp4"), url=f"{server.url}/r.mp4")
            bringing = asyncio.create_task(here.bring(what, Traffic()))
            killed = None
            for _ in range(2):
                killed = await caught(viewers, stuck, but=killed)
                assert not (tmp_path / "out" / "r.mp4").exists()
                os.kill(killed, signal.SIGKILL)
            brought = await bringing
        assert brought.doubt == Doubt(words=CRASHED, at_s=0.0)
        assert [each.name for each in (tmp_path / "out").iterdir()] == ["r.mp4"]
        assert (tmp_path / "out" / "r.mp4").read_bytes() == content
        # The next result has nothing to do with it.
        assert await viewers.see(question_about(clips / "good.mp4", None), not_here) is None
    assert said == []


async def test_a_result_that_leads_two_programs_in_circles_is_in_doubt_and_holds_up_nobody(
    clips: Path, stuck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with viewing() as (viewers, said):
        with monkeypatch.context() as hasty:
            hasty.setattr(looking, "PATIENCE_S", 0.1)
            hasty.setattr(looking, "PATIENCE", 0.0)
            found = await viewers.see(question_about(clips / "black.mp4", stuck), not_here)
        assert found == Doubt(words=CRASHED, at_s=0.0)
        assert not viewers._alive
        assert await viewers.see(question_about(clips / "good.mp4", None), not_here) is None
    assert said == []


async def test_a_program_that_is_killed_once_says_nothing_of_the_result(clips: Path, stuck: Path) -> None:
    async with viewing() as (viewers, said):
        asking = asyncio.create_task(viewers.see(question_about(clips / "black.mp4", stuck), not_here))
        pid = await caught(viewers, stuck)
        await asyncio.to_thread(stuck.unlink)
        os.kill(pid, signal.SIGKILL)
        found = await asking
        assert found is not None
        assert found.words == "it is black"
        # One that is killed while nobody asks is not missed, either.
        (idle,) = viewers._idle
        idle.kill()
        assert await viewers.see(question_about(clips / "good.mp4", None), not_here) is None
    assert said == []


async def test_an_answer_that_nobody_waits_for_is_never_given_to_another(clips: Path, stuck: Path) -> None:
    async with viewing() as (viewers, _):
        asking = asyncio.create_task(viewers.see(question_about(clips / "black.mp4", stuck), not_here))
        asked = await caught(viewers, stuck)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await viewers.see(question_about(clips / "good.mp4", None), not_here) is None
        assert asked not in {each.pid for each in viewers._idle}


async def test_who_asked_is_left_in_the_middle_of_a_look(clips: Path, stuck: Path) -> None:
    """The end of the block ends what looks, as does a cancellation while one starts."""
    async with viewing() as (viewers, _):
        asking = asyncio.create_task(viewers.see(question_about(clips / "black.mp4", stuck), not_here))
        await caught(viewers, stuck)
        asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with viewing() as (viewers, _):
        asking = asyncio.create_task(viewers.see(question_about(clips / "black.mp4", stuck), not_here))
        await asyncio.to_thread(wait_for, lambda: viewers._alive)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


# --- where none can be started ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/nowhere/python", "-m", VIEWER], "No such file"),
        ([""], ""),
        ([sys.executable, "-c", "raise SystemExit(7)"], "it ended with exit code 7"),
        ([sys.executable, "-c", "print('hello'); input()"], "it does not answer as it should"),
    ],
)
async def test_where_none_can_be_started_threads_look_and_that_is_told_once(
    clips: Path, command: list[str], why: str
) -> None:
    threads = []
    async with viewing(*command) as (viewers, said):
        for name in ("good.mp4", "black.mp4", "good.mp4"):
            what = fetching(clips)
            question = carrying.question_of(what, clips / name)
            assert question is not None

            def here(what: Fetching = what, name: str = name) -> Doubt | None:
                threads.append(name)
                return carrying.check(what, clips / name)

            found = await viewers.see(question, here)
            assert (found and found.words) == ("it is black" if name == "black.mp4" else None)
    assert threads == ["good.mp4", "black.mp4", "good.mp4"]
    (told,) = said
    assert told.startswith("the program that looks into results cannot be started: ")
    assert why in told


async def test_what_killed_the_last_program_that_could_be_started_is_not_looked_into_here(
    clips: Path, tmp_path: Path, stuck: Path
) -> None:
    once = f'test -e "{tmp_path}/mark" && exit 3; touch "{tmp_path}/mark"; exec "$0" "$@"'
    async with viewing("sh", "-c", once, *COMMAND) as (viewers, said):
        asking = asyncio.create_task(viewers.see(question_about(clips / "black.mp4", stuck), not_here))
        os.kill(await caught(viewers, stuck), signal.SIGKILL)
        assert await asking == Doubt(words=CRASHED, at_s=0.0)
    assert len(said) == 1


# --- in a run --------------------------------------------------------------------------------------------------------

ONE_OF_TWO = """\
version: 1
output: out/{id}.mp4
defaults: {image-to-video: {model: kling-3.0, resolution: 720p, end_seconds: 3}}
jobs:
  - {id: one, kind: image-to-video, input: a.png}
  - {id: two, kind: image-to-video, input: a.png, style: {prompt: slow}}
"""
SECRETS = {"AWS_SECRET_ACCESS_KEY": "sk-2", "SMTP_PASSWORD": "sk-3", "HTTPS_PROXY": "http://me:sk-4@proxy:1"}


@pytest.fixture
def half_done(tmp_path: Path, media: Path) -> Iterator[tuple[Program, subprocess.Popen[str], int]]:
    """A run whose first result is on disk, and whose second render takes long; and the program that has looked."""
    folder = tmp_path / "batch"
    folder.mkdir()
    shutil.copy(media / "a.png", folder)
    (folder / "night.yaml").write_text(ONE_OF_TWO)
    (folder / "av.py").write_text("raise SystemExit('what lies in the folder is not loaded')")
    (tmp_path / "faults.json").write_text("[]")
    settings = Settings(data_dir=tmp_path / "data", scale=0.1, faults=tmp_path / "faults.json")
    with launch.start(settings) as running:
        program = Program(folder=folder, provider=Provider(base_url=running.base_url), env=SECRETS)
        misbehave(program, {"step": "project", "job": "night/two*", "status_word": "rendering"})
        process = program._started("-P", "-m", "batchrunner", "run", "night.yaml")
        try:
            wait_for(lambda: process.poll() is not None or (folder / "out" / "one.mp4").exists())
            assert process.poll() is None
            (pid,) = children(process.pid, VIEWER)
            yield program, process, pid
        finally:
            process.kill()
            process.communicate()


def test_a_program_that_looks_has_no_key_and_holds_no_file_of_the_run(
    half_done: tuple[Program, subprocess.Popen[str], int],
) -> None:
    _, process, pid = half_done
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PYTHONPATH=" in environ, "it was read"
    for secret in (API_KEY, "MAGIC_HOUR", *SECRETS, "sk-"):
        assert secret.encode() not in environ
    of_run = {link for link in opened(process.pid).values() if "state.db" in link}
    assert any(link.endswith(".lock") for link in of_run), "the run holds it"
    held = opened(pid)
    assert held["1"] == held["2"] == os.devnull
    assert not [link for link in held.values() if not link.startswith("pipe:") and link != os.devnull], held


def test_ctrl_c_is_not_for_it_and_leaving_at_once_leaves_none(
    half_done: tuple[Program, subprocess.Popen[str], int],
) -> None:
    _, process, pid = half_done
    assert os.getpgid(pid) != os.getpgid(process.pid)
    ignored = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    assert int(ignored, 16) & 1 << signal.SIGINT - 1
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any(line.startswith("stopping") for line in process.stderr)
    assert lives(pid, VIEWER)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not lives(pid, VIEWER)


def test_it_ends_with_a_run_that_is_killed(half_done: tuple[Program, subprocess.Popen[str], int]) -> None:
    _, process, pid = half_done
    assert lives(pid, VIEWER)
    process.kill()
    process.wait()
    wait_for(lambda: not lives(pid, VIEWER))


def test_one_that_is_killed_in_a_run_changes_nothing(half_done: tuple[Program, subprocess.Popen[str], int]) -> None:
    program, process, pid = half_done
    os.kill(pid, signal.SIGKILL)
    misbehave(program)
    process.communicate(timeout=60)
    assert process.returncode == 0
    check_books(program, program.folder / "night.yaml", jobs=2)


def test_python_programs_look_so_too(tmp_path: Path, media: Path, provider: Provider) -> None:
    from batchrunner import Access, JobEvent, load, run

    shutil.copy(media / "a.png", tmp_path)
    manifest = tmp_path / "night.yaml"
    manifest.write_text(f"name: {tmp_path.name}\n{ONE_OF_TWO}")
    seen: list[int] = []

    def note(event: JobEvent) -> None:
        if event.event == "downloaded":
            seen.extend(children(os.getpid(), VIEWER))

    result = run(load(manifest), access=Access(base_url=provider.base_url, key=API_KEY), yes=True, on_event=note)
    assert result.is_complete
    assert seen
    assert not children(os.getpid(), VIEWER)


# --- what it takes ---------------------------------------------------------------------------------------------------


def test_it_loads_what_a_look_needs_and_no_more(clips: Path) -> None:
    code = """
import sys
from pathlib import Path
from batchrunner import viewer
size = Path("still.png").stat().st_size
for name in ("good.mp4", "still.mp4", "cut ✂.mp4"):
    source = viewer.Original(path=Path("still.png"), size=size, media="image", start_s=0.0)
    question = viewer.Question(path=Path(name), seconds=2.0, wants_sound=True, source=source)
    print(viewer.answer(question), file=sys.stderr)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=clips, capture_output=True, text=True, check=True)
    modules = set(ended.stdout.split())
    assert {"av", "PIL"} <= modules, "it has looked"
    assert ended.stderr.count("Looked") == 2
    assert not modules & {
        *("aiohttp", "asyncio", "click", "concurrent", "filelock", "httpx", "multiprocessing", "numpy", "pydantic"),
        *("rich", "socket", "sqlite3", "ssl", "tenacity", "yaml"),
    }
