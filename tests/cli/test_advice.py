"""What is advised can be typed as it stands, and goes on with the very same batch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
import re
import shlex
import shutil

import pytest

from batchrunner.cli.app import COMMANDS, main
from batchrunner.commands import TAKES, Typed
from batchrunner.core.kind import Kind
from batchrunner.core.selection import Selection
from tests.support.program import Ended
from tests.test_crash import TWO_JOBS


@pytest.mark.parametrize("name", sorted(TAKES))
def test_every_flag_of_an_advice_is_one_of_its_command(name):
    command = getattr(import_module(COMMANDS[name]), name)
    known = {option for param in command.params for option in param.opts}
    everything = Selection(
        only=("a",), exclude=("b",), tags=("c",), kinds=tuple(Kind), states=("done",), limit=1, sample=2, seed=3
    )
    typed = Typed(manifest=Path("m.yaml"), flags=dict.fromkeys(TAKES[name], "x") | {"selection": everything})
    words = shlex.split(typed.command(name))
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_an_advice_is_quoted_for_a_shell_and_keeps_what_matters():
    typed = Typed.of(
        Path("my night.yaml"),
        {
            "state": Path("else where/y.state.db"),
            "sandbox": True,
            "selection": Selection(only=("a*", "b")),
            "yes": True,
            "rerender": True,
            "max_credits": 100,
            "on_no_credits": "stop",
            "cutoff": None,
        },
    )
    assert typed.command("run") == (
        "batchrunner run 'my night.yaml' --state 'else where/y.state.db' --sandbox --only 'a*' --only b"
        " --max-credits 100"
    )
    assert shlex.split(typed.command("adopt", "it's", "PROJECT_ID"))[2:5] == ["my night.yaml", "it's", "PROJECT_ID"]
    chosen = Typed(manifest=Path("m.yaml"), flags={"selection": Selection(tags=("x",), states=("new",), limit=2)})
    assert chosen.command("run", canary="go") == "batchrunner run m.yaml --canary --tag x --state new --limit 2"
    assert chosen.command("download") == "batchrunner download m.yaml --tag x --limit 2"
    assert typed.command("plan", rerender=True).endswith("--rerender --only 'a*' --only b")


def advised(ended: Ended) -> list[str]:
    """What a command said to type next."""
    found = re.search(r"batchrunner (.*?)(?:    |$)", ended.err, re.MULTILINE)
    assert found is not None, ended.err
    return shlex.split(found[1])


def test_what_is_advised_goes_on_with_the_same_state_file(own):
    (own.folder / "my night.yaml").write_text(TWO_JOBS)
    (own.folder / "elsewhere").mkdir()
    where = ["my night.yaml", "--state", "elsewhere/y.state.db", "--only", "c*"]
    assert advised(own.run("plan", *where)) == ["run", *where]
    capped = [*where, "--max-credits", "0"]
    assert advised(own.run("run", *capped)) == ["run", *capped]
    assert own.run("run", *where).code == 0
    assert own.provider.creates_by_job("my night") == {"clip": 1}
    (own.folder / "renders" / "clip.mp4").unlink()
    assert advised(own.run("run", *where)) == ["download", *where]
    assert sorted(path.name for path in own.folder.rglob("*.state.db")) == ["y.state.db"]


BROKEN_AND_LOST = [
    {"step": "render", "job": "two/clip *", "render_error": {"code": "bad_clip", "message": "It cannot be read."}},
    {"step": "create", "job": "two/still *", "count": 1, "drop": "after"},
]


@pytest.mark.parametrize("own", [BROKEN_AND_LOST], indirect=True)
def test_what_failed_beside_a_lost_submission_has_its_command_too(own):
    manifest = own.folder / "two.yaml"
    manifest.write_text(TWO_JOBS)
    ended = own.run("run", manifest.name)
    assert (ended.code, ended.out) == (9, ""), ended.err
    assert "clip: failed: bad_clip: It cannot be read\n" in ended.err, "no full stop where a line goes on"
    assert "failed: clip: bad_clip: It cannot be read.\n" in ended.err.partition("2 jobs: ")[2], "after the summary"
    assert ended.err.splitlines()[-1] == "next: batchrunner retry two.yaml"


@pytest.mark.parametrize(
    "words", [["status", "my night.yaml"], ["plan", "my night.yaml", "--state", "my night.state.db"]]
)
def test_what_helps_with_a_state_file_can_be_typed_as_it_stands(tmp_path, media, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    Path("my night.yaml").write_text(TWO_JOBS)
    Path("my night.state.db").write_text("")
    for name in ("a.mp4", "a.png", "b.png"):
        shutil.copy(media / name, name)
    assert main(words) == 12
    given = shlex.join(words[1:])
    assert f"`batchrunner doctor {given}` shows what is wrong" in capsys.readouterr().err
    assert main(["doctor", *words[1:]]) == 12
    assert f"`batchrunner doctor {given}`" in " ".join(capsys.readouterr().out.split())


def test_where_no_manifest_was_typed_the_word_for_it_stays(capsys):
    assert main(["doctor", "--fix"]) == 2
    assert "hint: name its manifest: batchrunner doctor MANIFEST\n" in capsys.readouterr().err


OUT_OF_CREDITS = [{"step": "create", "job": "two/still *", "count": 1, "status": 402, "code": "insufficient_credits"}]


@pytest.mark.parametrize("own", [OUT_OF_CREDITS], indirect=True)
def test_the_summary_of_a_run_says_the_next_command_however_it_ended(own):
    manifest = own.folder / "two.yaml"
    manifest.write_text(TWO_JOBS)
    done = own.run("run", manifest.name, "--only", "clip")
    assert (done.code, advised(done)) == (0, ["report", "two.yaml", "--only", "clip"])
    assert own.run(*advised(done)).code == 0
    stopped = own.run("run", manifest.name)
    assert (stopped.code, advised(stopped)) == (7, ["run", "two.yaml"]), stopped.err
    assert own.run(*advised(stopped)).code == 0
