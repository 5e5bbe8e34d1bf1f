"""Whole batches from one prefix of a bucket to another, with the real program, as a person runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
from pathlib import Path
import re
import signal
from threading import Event
import time

import pytest

from batchrunner.core.outputs import mark_of
from batchrunner.media import check_video
from tests.support.bucket import SECRET, Bucket, refusing
from tests.support.program import Program

FOLDER = """\
version: 1
output: s3://{bucket}/out/{{id}}.mp4
jobs:
  - id: "{{relpath}}"
    kind: video-to-video
    input: {{glob: "s3://{bucket}/clips/**/*.mp4"}}
    end_seconds: end
    style: {{art_style: Ink, version: v2}}
"""


def written(program: Program, name: str, text: str, bucket: Bucket) -> Path:
    manifest = program.folder / f"{name}.yaml"
    manifest.write_text(text.format(bucket=bucket.name))
    return manifest


def lay_out(bucket: Bucket, media: Path) -> None:
    for key, file in (("clips/a.mp4", "a.mp4"), ("clips/deep/b.mp4", "b.mp4"), ("clips/c #1 ~é.mp4", "a.mp4")):
        bucket.put(key, (media / file).read_bytes())
    bucket.put("clips/notes.txt", b"no clip")
    bucket.put("clips/empty/", b"")


def test_a_prefix_becomes_another_and_a_kill_in_the_middle_costs_nothing(
    far: Program, bucket: Bucket, media: Path, tmp_path_factory
):
    lay_out(bucket, media)
    manifest = written(far, "prefix", FOLDER, bucket)
    begun = far.start("run", manifest.name)
    until = time.monotonic() + 60
    # All are bought and their answers long on record, and the first result arrives.
    while not (bucket.keys("out/") and len(far.provider.creates("prefix")) == 3) and time.monotonic() < until:
        time.sleep(0.05)
    begun.kill()
    _, complaints = begun.communicate()
    ended = far.run("run", manifest.name)
    assert ended.code == 0, complaints + ended.err

    status = far.status(manifest)
    creates = {each["id"]: each["charged"] for each in far.provider.creates("prefix")}
    assert sorted(far.provider.creates_by_job("prefix").items()) == [("a", 1), ("c #1 ~é", 1), ("deep/b", 1)]
    assert {job["project_id"]: job["credits"]["charged"] for job in status["jobs"]} == creates
    for job in status["jobs"]:
        (output,) = job["outputs"]
        content = bucket.get(output["path"].removeprefix(bucket.url()))
        assert (len(content), hashlib.sha256(content).hexdigest()) == (output["bytes"], output["sha256"])
        played = tmp_path_factory.mktemp("played") / "result.mp4"
        played.write_bytes(content)
        check_video(played)
    # Parts that the kill left uncompleted, of which no listing tells, are the bucket's own to remove.
    assert bucket.keys("out/") == ["out/a.mp4", "out/c #1 ~é.mp4", "out/deep/b.mp4"]

    left = [each for each in far.folder.rglob("*") if each.is_file()]
    assert not [each for each in left if each.suffix in {".mp4", ".part"}], "nothing of a clip is on disk"
    assert not [each for each in left if SECRET.encode() in each.read_bytes()]
    assert SECRET not in complaints + ended.err + ended.out

    # Looked at again: nothing is to be done, and what was deleted is fetched again, at no cost.
    planned = far.run("plan", manifest.name, "--json").json()
    assert {job["action"] for job in planned["jobs"]} == {"skip"}
    bucket.s3.delete_object(Bucket=bucket.name, Key="out/a.mp4")
    report = far.run("report", manifest.name)
    assert report.code == 0, report.err
    assert "from which no pictures are made" in (far.folder / "prefix.report.html").read_text()
    (other,) = [job for job in status["jobs"] if job["id"] == "deep/b"]
    bucket.put(f"out/deep/.b.mp4.{mark_of('deep/b', other['project_id'])}.part", b"left by a kill")
    fetched = far.run("download", manifest.name)
    assert fetched.code == 0, fetched.err
    assert bucket.keys("out/") == ["out/a.mp4", "out/c #1 ~é.mp4", "out/deep/b.mp4"]
    assert len(far.provider.creates("prefix")) == 3


MIXED = """\
version: 1
output: s3://{bucket}/out/{{id}}.mp4
jobs:
  - {{id: still, kind: image-to-video, input: "s3://{bucket}/a.png", end_seconds: 3, model: kling-3.0,
      resolution: 720p}}
  - {{id: again, kind: video-to-video, input: {{job: still}}, end_seconds: 1, output: "near/{{id}}.mp4",
      style: {{art_style: Ink, version: v2}}}}
  - {{id: file, kind: video-to-video, input: "file://{folder}/a.mp4", end_seconds: 0.5,
      output: "file://{folder}/far/{{id}}.mp4", style: {{art_style: Ink, version: v2}}}}
"""


def test_buckets_disks_and_chains_go_together_and_nothing_is_overwritten(far: Program, bucket: Bucket, media: Path):
    bucket.put("a.png", (media / "a.png").read_bytes())
    bucket.put("out/still.mp4", b"of somebody else")
    (far.folder / "a.mp4").write_bytes((media / "a.mp4").read_bytes())
    manifest = far.folder / "mixed.yaml"
    manifest.write_text(MIXED.format(bucket=bucket.name, folder=far.folder))
    ended = far.run("run", manifest.name)
    assert ended.code == 0, ended.err
    assert bucket.get("out/still.mp4") == b"of somebody else"
    paths = {job["id"]: job["outputs"][0]["path"] for job in far.status(manifest)["jobs"]}
    assert paths == {"still": bucket.url("out/still.2.mp4"), "again": "near/again.mp4", "file": "far/file.mp4"}
    check_video(far.folder / "near/again.mp4")
    check_video(far.folder / "far/file.mp4")


def test_a_folder_is_listed_as_deep_as_a_pattern_goes(far: Program, bucket: Bucket, media: Path):
    """Beneath it may be very many objects that nobody asks for, and some that cannot be used."""
    for key in ("top.mp4", "clips/a.mp4", "clips/deep/b.mp4", "clips/deep//c.mp4", "Mu\u0308ller/d.mp4"):
        bucket.put(key, (media / "a.mp4").read_bytes())
    text = FOLDER.replace("out/", "x-").replace("{{relpath}}", "{{stem}}")
    for pattern, ids in (("*.mp4", ["top"]), ("clips/*.mp4", ["a"]), ("M\u00fcller/*.mp4", ["d"])):
        written(far, "deep", text.replace("clips/**/*.mp4", pattern), bucket)
        planned = far.run("plan", "deep.yaml", "--json")
        assert planned.code == 0, planned.err
        assert [job["id"] for job in planned.json()["jobs"]] == ids
    ended = far.run("run", "deep.yaml")
    assert ended.code == 0, ended.err
    assert bucket.keys("x-") == ["x-d.mp4"], "beside what cannot be listed"


JOB = '{{id: {id}, kind: video-to-video, input: "{input}", end_seconds: 0.5, style: {{art_style: Ink, version: v2}}}}'


def test_what_is_wrong_is_told_at_once_and_before_anything_is_sent(far: Program, bucket: Bucket, media: Path):
    bucket.put("clips/intro.mp4", (media / "a.mp4").read_bytes())
    cases = {
        bucket.url("clips/intor.mp4"): "there is no file .*did you mean .*clips/intro.mp4",
        "s3://no-such-bucket-here/a.mp4": "cannot be read: there is no bucket s3://no-such-bucket-here",
        "s3:///a.mp4": "it names no bucket",
        f"{bucket.url('clips')}/../a.mp4": "it has an empty part",
        "file://elsewhere/a.mp4": "names another machine",
    }
    jobs = "".join(f"  - {JOB.format(id=f'job{number}', input=each)}\n" for number, each in enumerate(cases))
    (far.folder / "wrong.yaml").write_text(f"version: 1\njobs:\n{jobs}")
    ended = far.run("plan", "wrong.yaml")
    assert ended.code == 2
    for line, said in enumerate(cases.values(), start=3):
        assert re.search(rf"wrong.yaml:{line}:\d+: .*{said}", ended.err), (said, ended.err)
    assert "Debug source" not in ended.err
    assert "Traceback" not in ended.err


ONE = """\
version: 1
jobs:
  - id: a
    kind: video-to-video
    input: "s3://{bucket}/a.mp4"
    end_seconds: 0.5
    output: "{output}/{{id}}.mp4"
    style: {{art_style: Ink, version: v2}}
"""


def test_results_that_could_not_be_written_are_not_bought(far: Program, bucket: Bucket, media: Path):
    bucket.put("a.mp4", (media / "a.mp4").read_bytes())
    manifest = written(far, "closed", ONE.replace("{output}", "s3://no-such-bucket-here"), bucket)
    ended = far.run("run", manifest.name)
    assert ended.code == 2
    assert "results cannot be written to s3://no-such-bucket-here/: there is no bucket" in ended.err
    assert not far.provider.creates("closed")
    manifest.write_text(manifest.read_text().replace("no-such-bucket-here", f"{bucket.name}/out"))
    examined = far.run("doctor", manifest.name, "--json")
    assert f"{bucket.url('out/')} takes results" in examined.out, examined.out
    assert bucket.keys() == ["a.mp4"]


def test_jobs_whose_results_could_not_be_stored_are_not_bought(far: Program, bucket: Bucket, media: Path):
    bucket.put("a.mp4", (media / "a.mp4").read_bytes())
    manifest = written(far, "unlisted", ONE.replace("{output}", "s3://{bucket}/out"), bucket)
    with refusing(
        bucket.env["AWS_ENDPOINT_URL"], lambda method, _, status, __: (method, status) == ("HEAD", 404)
    ) as at:
        far.env["AWS_ENDPOINT_URL"] = at
        ended = far.run("run", manifest.name)
    assert ended.code == 2
    assert f"results cannot be written to {bucket.url('out/')}: the bucket s3://{bucket.name} refuses" in ended.err
    assert "(asking for a name that is free was tried)" in ended.err
    assert not far.provider.creates("unlisted")
    assert bucket.keys() == ["a.mp4"]


@contextmanager
def silent(bucket: Bucket, method: str, where: str) -> Iterator[tuple[str, Event]]:
    """The same server by an address at which some requests get no answer while in the block; set by the first one."""
    asked, over = Event(), Event()

    def holds(*request: object) -> bool:
        if request[:3] == (method, request[1], 0) and where in str(request[1]):
            asked.set()
            over.wait(100)
        return False

    with refusing(bucket.env["AWS_ENDPOINT_URL"], holds) as at:
        try:
            yield at, asked
        finally:
            over.set()


@pytest.mark.parametrize("silence", [("HEAD", "a.mp4"), ("GET", "a.mp4"), ("GET", "list-type")])
def test_ctrl_c_is_heard_while_a_bucket_is_silent(far: Program, bucket: Bucket, media: Path, silence):
    bucket.put("clips/a.mp4", (media / "a.mp4").read_bytes())
    manifest = written(far, "silent", FOLDER, bucket)
    with silent(bucket, *silence) as (far.env["AWS_ENDPOINT_URL"], asked):
        planning = far.start("plan", manifest.name)
        assert asked.wait(60)
        planning.send_signal(signal.SIGINT)
        _, err = planning.communicate(timeout=30)
    assert planning.returncode == 130, err
    assert "Traceback" not in err


@pytest.mark.parametrize("silence", [("GET", "out/.a.mp4."), ("HEAD", "out/a.mp4")])
def test_who_leaves_does_not_wait_for_a_silent_bucket(far: Program, bucket: Bucket, media: Path, silence):
    bucket.put("a.mp4", (media / "a.mp4").read_bytes())
    manifest = written(far, f"leaving-{silence[0]}", ONE.replace("{output}", "s3://{bucket}/out"), bucket)
    with silent(bucket, *silence) as (far.env["AWS_ENDPOINT_URL"], asked):
        running = far.start("run", manifest.name)
        assert asked.wait(60)
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    far.env["AWS_ENDPOINT_URL"] = bucket.env["AWS_ENDPOINT_URL"]
    ended = far.run("run", manifest.name)
    assert ended.code == 0, ended.err
    assert bucket.keys("out/") == ["out/a.mp4"]
    assert len(far.provider.creates(manifest.stem)) == 1


LOADED = """
import sys
from batchrunner.cli.app import main

def planned(name):
    sys.argv = ["batchrunner", "plan", name]
    code = main()
    print("loaded" if sys.modules.get("obstore") else "not loaded", code)

planned("near.yaml")
planned("far.yaml")
sys.modules["obstore"] = None
planned("far.yaml")
"""


def test_without_an_address_the_library_is_not_loaded_and_with_one_it_is_asked_for(
    far: Program, bucket: Bucket, media: Path
):
    (far.folder / "a.mp4").write_bytes((media / "a.mp4").read_bytes())
    bucket.put("a.mp4", (media / "a.mp4").read_bytes())
    for name, given in (("near", "a.mp4"), ("far", bucket.url("a.mp4"))):
        (far.folder / f"{name}.yaml").write_text(f"version: 1\njobs:\n  - {JOB.format(id='a', input=given)}\n")
    ended = far.python(LOADED)
    told = [line for line in ended.out.splitlines() if "loaded" in line]
    assert told == ["not loaded 0", "loaded 0", "not loaded 2"], ended.err
    assert f"{bucket.url('a.mp4')} is in a bucket" in ended.err
    assert "pip install 'batchrunner[cloud]'" in ended.err
