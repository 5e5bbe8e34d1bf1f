"""Addresses in a manifest: what is one, what is wrong with it, and what becomes of it."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from batchrunner.core import address, folder, naming, outputs, patterns
from batchrunner.core.inputs import NotAnInput, Source, read_input


@pytest.mark.parametrize("text", ["s3://bucket/a.mp4", "gs://bucket/x/a b#.mp4", "az://container/%20?.mp4"])
def test_an_object_is_read_letter_by_letter(text):
    assert address.is_object(text)
    assert str(address.read(text)) == text
    assert address.flaw_of(text) is None
    assert read_input(text, field="f", media="video", extensions=("mp4",)).source is Source.LOCAL


@pytest.mark.parametrize("text", ["a.mp4", "./s3:/a.mp4", "https://bucket/a.mp4", "S3://bucket/a.mp4", "file:///a.mp4"])
def test_what_is_no_object(text):
    assert not address.is_object(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://", "names no bucket"),
        ("az:///a.mp4", "names no container"),
        ("s3://b/a.mp4", "no name of a bucket"),
        ("s3://bucket//a.mp4", "empty part"),
        ("s3://bucket/a\nb.mp4", r"control character U\+000A"),
        ("s3://bucket/a\x7fb.mp4", r"control character U\+007F"),
        ("s3://bucket/../a.mp4", r"\.\."),
        ("file://host/a.mp4", "another machine"),
        ("ftp://host/a.mp4", "https://"),
    ],
)
def test_wrong_addresses_say_what_is_wrong(text, said):
    with pytest.raises(NotAnInput, match=said):
        read_input(text, field="f", media="video", extensions=("mp4",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://user:hunter2@bucket/x.mp4", "s3://…@bucket/x.mp4"),
        ("s3://hunter2@bucket/x@y.mp4", "s3://…@y.mp4"),
        ("s3://user:hunter2/x@bucket/x.mp4", "s3://…@bucket/x.mp4"),
        ("s3://user:hunter2/x.mp4", "s3://user:…"),
        ("s3://b/x.mp4", "s3://b/x.mp4"),
        ("s3://bucket/a:b@c.mp4", "s3://bucket/a:b@c.mp4"),
        ("a@b.mp4", "a@b.mp4"),
    ],
)
def test_a_password_where_a_bucket_should_be_is_never_told(text, told):
    assert address.shown(text) == told
    if told != text and address.flaw_of(text):
        with pytest.raises(NotAnInput) as refused:
            read_input(text, field="f", media="video", extensions=("mp4",))
        assert "hunter2" not in f"{refused.value} {refused.value.hint}"


def test_a_pattern_is_told_without_its_password_too():
    values = {"glob": "s3://user:hunter2@bucket/*.mp4"}
    ((_, note),) = folder.flaws(values, media="video", extensions=("mp4",))
    assert "hunter2" not in note.message
    assert "no name of a bucket" in note.message


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("f", "sftp://user:hunter2@host/x.mp4"),
        ("f", "file://user:hunter2@host/x.mp4"),
        ("f", "htps://host/x.mp4?sig=hunter2"),
        ("f", "https://host/x y.mp4?sig=hunter2"),
        ("youtube_url", "https://user:hunter2@host/watch?v=hunter2"),
    ],
)
def test_what_is_secret_in_any_other_address_that_is_refused_is_not_told(field: str, text: str) -> None:
    with pytest.raises(NotAnInput, match="://host/") as refused:
        read_input(text, field=field, media="video", extensions=("mp4",))
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


def test_a_file_by_its_address_is_a_path():
    given = read_input("file:///clips/a b.mp4", field="f", media="video", extensions=("mp4",))
    assert (given.source, given.value) == (Source.LOCAL, "/clips/a b.mp4")
    assert folder.listed(["file:///clips/*.mp4", "b/*.mp4"]) == ("/clips/*.mp4", "b/*.mp4")


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("s3://bucket/*.mp4", ["s3://bucket/a.mp4"], ["s3://bucket/x/a.mp4", "s3://other/a.mp4", "a.mp4"]),
        ("s3://bucket/x/**/*.mp4", ["s3://bucket/x/a.mp4", "s3://bucket/x/y/z/a.MP4"], ["s3://bucket/a.mp4"]),
        ("gs://bucket/x/{a,b}.mp4", ["gs://bucket/x/a.mp4"], ["s3://bucket/x/a.mp4"]),
        ("**/*.mp4", ["a/b.mp4"], ["s3://bucket/a.mp4"]),
        ("s3://bucket/a.mp4", ["s3://bucket/a.mp4"], ["s3://bucket/b.mp4"]),
    ],
)
def test_patterns_of_objects(pattern, fits, fits_not):
    found = patterns.compiled(pattern)
    assert all(any(each.matches(path) for each in found) for path in fits)
    assert not any(each.matches(path) for each in found for path in fits_not)


@pytest.mark.parametrize(
    "text", ["s3://bucket/", "s3://*/a.mp4", "s3://bucket/x/../*.mp4", "s3://bucket/a\nb/*.mp4", "https://a/*.mp4"]
)
def test_patterns_that_name_no_objects(text):
    with pytest.raises(patterns.BadPattern):
        patterns.compiled(text)


@pytest.mark.parametrize(
    "text", ["s3://bucket/{id}.mp4", "az://container/x/{id}.mp4", "file:///mnt/{id}.mp4", "renders/{id}.mp4"]
)
def test_outputs_that_can_be(text):
    assert outputs.flaw_of(text) is None
    assert outputs.render(text, {"id": "a/b:c"}) == text.replace("{id}", "a/b_c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://{id}/a.mp4", "must name its bucket"),
        ("s3:///{id}.mp4", "must name its bucket"),
        ("https://host/{id}.mp4", "nothing can be written"),
        ("file://host/{id}.mp4", "nothing can be written"),
        ("s3://bucket/../{id}.mp4", r"\.\."),
        ("s3://bucket/{id}.mov", r"\.mp4"),
        ("/mnt/{id}.mp4", "inside the manifest's folder"),
    ],
)
def test_outputs_that_cannot_be(text, said):
    import re

    flaw = outputs.flaw_of(text)
    assert flaw is not None
    assert re.search(said, flaw.message)


def test_placeholders_of_objects():
    (pattern,) = patterns.compiled("s3://bucket/clips/**/*.mp4")
    depth = len(pattern.base.split("/"))
    values = naming.values_of_path("s3://bucket/clips/rome/a.mp4", depth=depth)
    assert (values["relpath"], values["parent"], values["stem"]) == ("rome/a", "rome", "a")
    assert naming.values_of_path("s3://bucket/a.mp4")["relpath"] == "bucket/a"


def test_paths_are_shown_as_they_can_be_opened():
    assert address.beneath(PurePath("night"), "renders/a.mp4") == str(PurePath("night/renders/a.mp4"))
    assert address.beneath(PurePath("night"), "s3://bucket/a.mp4") == "s3://bucket/a.mp4"
