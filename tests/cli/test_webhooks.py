"""`run` that is told by the provider when to look: the program, a sandbox of its own, and real deliveries."""

from __future__ import annotations

import json
from pathlib import Path
import re
import socket
from textwrap import dedent
import urllib.request

import pytest

from batchrunner.core.manifest import Webhooks
from batchrunner.sandbox import launch, rules
from batchrunner.sandbox.settings import Settings
from batchrunner.sandbox.webhooks import SECRET as SANDBOX_SECRET
from tests.core.case_text import parse
from tests.support.notices import SECRET
from tests.support.program import Program, Provider, check_books, misbehave
from tests.test_crash import TWO_JOBS, lay_out

VARIABLE = "MAGIC_HOUR_WEBHOOK_SECRET"


@pytest.fixture
def program(tmp_path):
    """With a provider whose renders take long enough to be told of."""
    settings = Settings(data_dir=tmp_path / "sandbox", scale=0.1, latency_s=1.0)
    with launch.start(settings) as running:
        (tmp_path / "work").mkdir()
        provider = Provider(base_url=running.base_url)
        yield Program(folder=tmp_path / "work", provider=provider, env={VARIABLE: SECRET})


@pytest.fixture
def batch(program, media):
    return lay_out(program, media, "night", TWO_JOBS)


def begun(program, *arguments):
    """A run that listens: its process, what it has said, and where it listens."""
    process = program.start(*arguments)
    said = ""
    while (found := re.search(r"listening on (http://127\.0\.0\.1:\d+/webhook)\n", said)) is None:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process, said, found[1]


def control(program, body=None):
    request = urllib.request.Request(
        f"{program.provider.base_url}/_sandbox/webhook",
        data=None if body is None else json.dumps(body).encode(),
        method="GET" if body is None else "PUT",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def test_a_run_takes_notices_and_keeps_the_secret(program, batch):
    process, said, address = begun(program, "run", batch.name, "--webhook-port", "0", "--json")
    control(program, {"url": address, "secret": SECRET})
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, said + err
    check_books(program, batch, jobs=2)
    # A render goes on for a second after it began: only the last word may find nobody there.
    started = [each for each in json.loads(control(program))["deliveries"] if each["event"] == "video.started"]
    assert [each["status"] for each in started] == [204, 204]
    assert "refused" not in said + err
    kept = [path.read_bytes() for path in program.folder.rglob("*") if path.is_file()]
    assert SECRET.encode() not in b"".join(kept)
    assert SECRET not in out + said + err


def test_a_notice_names_the_project_of_a_lost_submission(program, batch):
    misbehave(program, {"step": "create", "kind": "image-to-video", "drop": "after"})
    process, said, address = begun(program, "run", batch.name, "--webhook-port", "0")
    control(program, {"url": address, "secret": SECRET})
    _, err = process.communicate(timeout=100)
    assert process.returncode == 9, said + err
    (lost,) = [each for each in program.provider.creates("night") if each["kind"] == "image-to-video"]
    command = f"batchrunner adopt night.yaml still {lost['id']}"
    assert f"        {command}\n" in err
    assert program.run(*command.split()[1:]).code == 0
    assert program.run("download", batch.name).code == 0
    check_books(program, batch, jobs=2)


def test_a_wrong_secret_is_told_and_costs_nothing(program, batch):
    batch.write_text(TWO_JOBS.replace("jobs:", "webhooks: {port: 0}\njobs:"))
    process, said, address = begun(program, "run", batch.name)
    control(program, {"url": address, "secret": "of another webhook"})
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, said + err
    check_books(program, batch, jobs=2)
    assert (said + err).count(f"{VARIABLE} is not the secret of its webhook") == 1
    # Collecting needs no notices, and so no secret.
    program.env.pop(VARIABLE)
    ended = program.run("download", batch.name)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("options", [["--webhook-port", "0"], []])
def test_without_a_secret_nothing_is_bought(program, batch, options):
    batch.write_text(TWO_JOBS.replace("jobs:", "webhooks: {port: 0}\njobs:"))
    program.env.pop(VARIABLE)
    ended = program.run("run", batch.name, *options)
    assert ended.code == 2
    assert "there is no secret to check webhooks with" in ended.err
    assert f"set {VARIABLE}" in ended.err
    assert program.provider.creates("night") == []


def test_a_port_that_is_taken_is_told_before_anything_is_bought(program, batch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = program.run("run", batch.name, "--webhook-port", str(taken.getsockname()[1]))
    assert ended.code == 2
    assert "cannot listen for webhooks on 127.0.0.1:" in ended.err
    assert program.provider.creates("night") == []
    assert program.run("run", batch.name).code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--webhook-host", "::1"], "no port is named"),
        (["--webhook-port", "70000"], "70000 is not in the range"),
        (["--webhook-port", "x"], "not a valid integer"),
    ],
)
def test_options_that_make_no_sense(program, batch, options, message):
    ended = program.run("run", batch.name, *options)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_what_the_description_shows_is_right():
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    jobs = TWO_JOBS.partition("\n")[2]
    assert parse("version: 1\n" + dedent(block) + jobs).webhooks == Webhooks(port=8765, host="127.0.0.1")
    (listed,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    assert {key for rule in rules.read_list(json.loads(listed)) for key in rule.spec} >= {"lose", "copies", "forge"}
    assert VARIABLE in text
    assert SANDBOX_SECRET in text
