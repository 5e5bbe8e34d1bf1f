"""What the API may answer, in every shape seen or feared, and what is made of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
import gzip
import json
import traceback
import tracemalloc
from typing import Any

from hypothesis import example, given, strategies as st
import pytest

from batchrunner.errors import KeyRefused, NoAnswer, OutOfCredits, ProviderError, Rejected
from batchrunner.provider import client as client_module, failures, wire
from batchrunner.provider.client import Client
from tests.support import chaos
from tests.support.chaos import Connection, answers, serving

KEY = "mhk_secret_0123456789"
ID = "cmtwmxasp02q7h401s1vslohu"


def client(base_url: str) -> Client:
    return Client(base_url=base_url, key=KEY, read_wait_s=0)


async def created(answer: bytes) -> wire.Created | ProviderError:
    """What `create` makes of this answer."""
    async with answers(answer) as server, client(server.url) as provider:
        try:
            return await provider.create("video-to-video", {"name": "x"})
        except ProviderError as error:
            return error
        finally:
            assert len(server.requests) == 1


async def refused(answer: bytes) -> Rejected:
    error = await created(answer)
    assert isinstance(error, Rejected)
    return error


def body(**fields: Any) -> bytes:
    return chaos.answer(json.dumps({"id": ID} | fields).encode())


@pytest.mark.parametrize(
    ("fields", "credits"),
    [
        ({}, None),
        ({"credits_charged": 450}, 450),
        ({"credits_charged": 450.0}, 450),
        ({"credits_charged": 0}, None),
        ({"credits_charged": None}, None),
        ({"credits_charged": "450"}, None),
        ({"credits_charged": 450.5}, None),
        ({"credits_charged": -1}, None),
        ({"credits_charged": True}, None),
        ({"credits_charged": float("nan")}, None),
        ({"credits_charged": float("inf")}, None),
        ({"credits_charged": 10**40}, None),
        ({"credits_charged": [450]}, None),
        ({"unheard_of": {"id": "another_project"}, "credits_charged": 1}, 1),
    ],
)
async def test_the_id_is_what_counts(fields: dict[str, Any], credits: int | None) -> None:
    assert await created(body(**fields)) == wire.Created(project_id=ID, credits_charged=credits)


@pytest.mark.parametrize(
    "answer",
    [
        chaos.answer(b'{"id":"%s"}' % ID.encode(), headers=""),
        chaos.answer(b'{"id":"%s"}' % ID.encode(), headers="Content-Type: text/html; charset=wrong\r\n"),
        chaos.answer(gzip.compress(b'{"id":"%s"}' % ID.encode()), headers="Content-Encoding: gzip\r\n"),
        chaos.answer(b'{"id":"%s"}' % ID.encode(), status="201 Made"),
        chaos.answer(b'{"id":"%s"}' % ID.encode(), status="200"),
        chaos.answer(b'{"id":"%s"}' % ID.encode(), status="200 \xff\xfe"),
        chaos.answer(b'\xef\xbb\xbf{"id":"%s"}' % ID.encode()),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n22\r\n{"id":"%s"}\r\n0\r\n\r\n' % ID.encode(),
        b'HTTP/1.0 200 OK\r\n\r\n{"id":"%s"}' % ID.encode(),
    ],
)
async def test_an_id_arrives_however_it_is_wrapped(answer: bytes) -> None:
    assert await created(answer) == wire.Created(project_id=ID, credits_charged=None)


@pytest.mark.parametrize(
    ("said", "rescued"),
    [
        (b'{"id":"%s","credits_cha', ID),
        (b'{"data":{"id":"%s"}}', ID),
        (b'<html>ok {"id": "%s"}</html>', ID),
        (b'[{"id":"%s"}]', ID),
        (b'\xff\xfe\x80{"id":"%s"}', ID),
        (b'{"id":"%s","old":{"id":"another_project"', None),
        (b"{}", None),
        (b"", None),
        (b'{"id":null}', None),
        (b'{"id":12345678}', None),
        (b'{"id":""}', None),
        (b'{"id":"cmtwmxasp02q7h401s1v', None),
        (b"null", None),
        (b"[" * 100_000, None),
        (b"1" * 5_000, None),
    ],
)
async def test_an_answer_that_cannot_be_read(said: bytes, rescued: str | None) -> None:
    error = await created(chaos.answer(said.replace(b"%s", ID.encode()), headers="Content-Type: text/html\r\n"))
    assert isinstance(error, NoAnswer)
    assert error.project_id == rescued


async def test_an_id_in_a_broken_compression_is_rescued() -> None:
    packed = gzip.compress(b'{"id":"%s","x":"%s"}' % (ID.encode(), bytes(range(32, 127)) * 50), compresslevel=0)
    error = await created(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed[:200]
    )
    assert isinstance(error, NoAnswer)
    assert error.project_id == ID


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "compress", "gzip, gzip", "deflate, identity", "\xff"])
async def test_a_coding_that_cannot_be_undone_is_no_answer(coding: str) -> None:
    error = await created(chaos.answer(b'{"id":"%s"}' % ID.encode(), headers=f"Content-Encoding: {coding}\r\n"))
    assert isinstance(error, NoAnswer)
    assert error.project_id == ID, "it may have been stripped on the way, and its header left"
    refusal = await refused(chaos.answer(b"\x1f\x8bxx", status=422, headers=f"Content-Encoding: {coding}\r\n"))
    assert str(refusal) == "HTTP 422", "what the status proves holds whatever the body is"


async def test_no_coding_is_asked_for() -> None:
    async with answers(chaos.answer(b'{"id":"%s"}' % ID.encode())) as server, client(server.url) as provider:
        await provider.create("video-to-video", {"name": "x"})
        await provider.account()
    assert [request.header("accept-encoding") for request in server.requests] == ["identity"] * 2


def wrapped(layers: int, size: int) -> bytes:
    packed = bytes(size)
    for _ in range(layers):
        packed = gzip.compress(packed)
    return packed


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
@pytest.mark.parametrize("status", [200, 503])
async def test_a_small_answer_that_unpacks_to_a_huge_one_does_not_fill_the_memory(coding: str, status: int) -> None:
    bomb = wrapped(coding.count("gzip"), 200_000_000)
    tracemalloc.start()
    try:
        error = await created(chaos.answer(bomb, status=status, headers=f"Content-Encoding: {coding}\r\n"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, NoAnswer if status == 200 else Rejected)
    assert peak < 4 * client_module.LARGEST_ANSWER


@pytest.mark.parametrize("packed", [False, True])
async def test_a_huge_answer_does_not_fill_the_memory(*, packed: bool) -> None:
    piece = gzip.compress(bytes(50_000_000)) if packed else bytes(1_000_000)

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(
            b"HTTP/1.1 200 OK\r\n" + (b"Content-Encoding: gzip\r\n" if packed else b"") + b"\r\n",
            b"" if packed else b'{"id":"%s"' % ID.encode(),
        )
        for _ in range(400):
            await connection.send(piece)

    tracemalloc.start()
    try:
        async with serving(handle) as server, client(server.url) as provider:
            with pytest.raises(NoAnswer) as caught:
                await provider.create("video-to-video", {"name": "x"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.project_id == (None if packed else ID)
    assert peak < 10 * client_module.LARGEST_ANSWER


# --- errors ---


@pytest.mark.parametrize(
    ("status", "said", "kind", "code", "text"),
    [
        (400, b'{"code":"invalid_request","message":"No"}', Rejected, "invalid_request", "HTTP 400: No"),
        (400, b'{"message":"No"}', Rejected, None, "HTTP 400: No"),
        (
            400,
            b'{"message":"No","bodyErrors":{"issues":[{"message":"a"},{},7,{"message":"b"}]}}',
            Rejected,
            None,
            "No; a; b",
        ),
        (400, b'{"bodyErrors":{"issues":[{"message":"a"}]}}', Rejected, None, "HTTP 400: a"),
        (400, b'{"bodyErrors":{"issues":7}}', Rejected, None, "HTTP 400"),
        (400, b'{"error":{"code":"bad","message":"No"}}', Rejected, "bad", "HTTP 400: No"),
        (400, b'{"error":"No"}', Rejected, None, "HTTP 400: No"),
        (400, b'{"message":null,"code":7}', Rejected, None, "HTTP 400"),
        (401, b'{"message":"Unauthorized"}', KeyRefused, None, "HTTP 401: Unauthorized"),
        (401, b"", KeyRefused, None, "HTTP 401"),
        (402, b'{"code":"insufficient_credits","message":"x"}', OutOfCredits, "insufficient_credits", "x"),
        (422, b'{"code":"insufficient_credits","message":"x"}', OutOfCredits, "insufficient_credits", "x"),
        (422, b'{"message":"Not enough credits"}', OutOfCredits, None, "Not enough credits"),
        (422, b'{"message":"Unable to create video"}', Rejected, None, "Unable to create video"),
        (402, b'{"message":"x"}', OutOfCredits, None, "x"),
        (402, b'{"code":"plan_upgrade_required","message":"x"}', Rejected, "plan_upgrade_required", "x"),
        (402, b'{"code":"subscription_required","message":"x"}', Rejected, "subscription_required", "x"),
        (403, b"<html>no</html>", Rejected, None, "HTTP 403"),
        (422, b"[1]", Rejected, None, "HTTP 422"),
        (429, b"slow down", Rejected, None, "HTTP 429"),
        (500, b"\xff\xfe\x1b[31m", Rejected, None, "HTTP 500"),
        (502, b"Bad Gateway\r\n", Rejected, None, "HTTP 502"),
        (503, b"x" * 100_000, Rejected, None, "HTTP 503"),
        (503, json.dumps({"message": "x" * 100_000}).encode(), Rejected, None, "HTTP 503: xxx"),
        (599, b"", Rejected, None, "HTTP 599"),
        (304, b"", Rejected, None, "HTTP 304"),
    ],
)
async def test_an_error_status(status: int, said: bytes, kind: type[Rejected], code: str | None, text: str) -> None:
    error = await refused(chaos.answer(said, status=status))
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)
    assert text in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 600


@pytest.mark.parametrize("said", [b"<html> <head><title>503 Service Unavailable", b"Bad Gateway\r\n", b"[1]", b'"no"'])
async def test_a_page_of_a_proxy_is_no_part_of_an_error(said: bytes) -> None:
    assert str(await refused(chaos.answer(said, status=503))) == "HTTP 503"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("", None),
        ("Retry-After: 120\r\n", 120),
        ("Retry-After: 0\r\n", 0),
        ("Retry-After:   7 \r\n", 7),
        ("Retry-After: -5\r\n", None),
        ("Retry-After: soon\r\n", None),
        ("Retry-After: " + "9" * 400 + "\r\n", failures.LONGEST_WAIT_S),
        ("Date: Fri, 31 Dec 1999 23:59:00 GMT\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", 59),
        ("Date: Fri, 31 Dec 1999 23:59:59 GMT\r\nRetry-After: Fri, 31 Dec 1999 23:59:00 GMT\r\n", 0),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", 0),
        ("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", failures.LONGEST_WAIT_S),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 +99999999999999999999\r\n", None),
    ],
)
async def test_how_long_the_provider_wants_us_to_wait(headers: str, seconds: float | None) -> None:
    assert (await refused(chaos.answer(status=429, headers=headers))).retry_after_s == seconds


async def test_no_text_holds_the_key_or_a_signature() -> None:
    said = {"message": f"Bad key {KEY} for https://user:pass@h/x?X-Amz-Signature=SIGNED and 'https://h/y?sig=SIGNED'."}
    error = await refused(chaos.answer(json.dumps(said).encode(), status=401))
    text = "".join(traceback.format_exception(error)) + repr(error)
    assert KEY not in text
    assert "SIGNED" not in text
    assert "pass" not in str(error)
    assert "https://h/x?…" in str(error)


@pytest.mark.parametrize("text", ["Bearer abcd1234", "whsec_abcd1234", "Signature=abcd1234"])
async def test_what_has_the_form_of_a_secret_does_not_come_in(text: str) -> None:
    said = json.dumps({"id": ID, "status": "error", "error": {"code": "x", "message": f"no: {text}"}}).encode()
    async with answers(chaos.answer(said)) as server, client(server.url) as provider:
        told = (await provider.project(ID)).error_message
    error = await refused(chaos.answer(json.dumps({"message": f"no: {text}"}).encode(), status=422))
    for each in (str(told), str(error)):
        assert "no: " in each
        assert "abcd1234" not in each


@pytest.mark.parametrize("text", [KEY, f"your key {KEY}", "x" * 490 + KEY, KEY.replace("_", "\\u005f")])
async def test_the_key_is_in_nothing_that_a_good_answer_says(text: str) -> None:
    """What comes with a 200 goes into events, into the state file and onto the screen."""
    said = b'{"id":"%s","status":"%s","name":"%s","type":"%s","error":{"code":"%s","message":"%s"},"tier":"%s"}'
    words = text.encode()
    answer = chaos.answer(said % (ID.encode(), *[words] * 6))
    async with answers(answer) as server, client(server.url) as provider:
        told = f"{await provider.project(ID)} {await provider.account()}"
    assert "0123456" not in told
    assert "…" in told


async def test_the_key_is_never_taken_for_a_project() -> None:
    for said in (b'{"id":"%s"}', b'{"data":{"id":"%s"}}', b'{"id":"x/%s"}', b'<"id":"%s">'):
        error = await created(chaos.answer(said % KEY.encode()))
        assert isinstance(error, NoAnswer)
        assert error.project_id is None
        assert KEY not in repr(error)


@pytest.mark.parametrize("text", ["", ".", "..", "../../account", "a/b", "a\\b", "\x1b[2J", "a\u202eb", "x" * 1001])
async def test_an_id_that_leads_elsewhere_is_a_lost_answer(text: str) -> None:
    """It was paid for: what cannot be asked for must not pass for a project that is gone."""
    error = await created(body(id=text))
    assert isinstance(error, NoAnswer)
    assert error.project_id is None


def test_what_is_kept_of_a_text_is_bounded() -> None:
    long = "s" * 3_000_000
    fields = {"status": long, "name": long, "type": long, "error": {"code": long, "message": long}}
    seen = wire.project(json.dumps(fields).encode(), project_id=ID)
    assert seen.status == "s" * wire.LONGEST_WORD + "…"
    assert len(str(seen)) < 3_000
    assert len(str(wire.account(json.dumps({"id": long, "tier": long}).encode()))) < 2_000
    assert len(str(wire.error_body(json.dumps({"code": long, "message": long}).encode()))) < 1_000
    with pytest.raises(wire.Unreadable):
        wire.upload_targets(json.dumps({"items": [{"upload_url": "x", "file_path": long}]}).encode(), expected=1)


# --- reads ---


async def test_reads_are_tried_again() -> None:
    bad = [chaos.answer(status=503), chaos.answer(b"<html>")]
    async with answers(*bad, chaos.answer(b'{"credits":7}')) as server, client(server.url) as provider:
        assert (await provider.account()).credits == 7
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429])
async def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    async with answers(chaos.answer(status=status)) as server, client(server.url) as provider:
        with pytest.raises(Rejected):
            await provider.project(ID)
        assert len(server.requests) == 1


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"status":null}', b"<html>", b'{"status":7}'])
async def test_a_project_without_a_status_is_no_answer(said: bytes) -> None:
    async with answers(chaos.answer(said)) as server, client(server.url) as provider:
        with pytest.raises(NoAnswer):
            await provider.project(ID)
        assert len(server.requests) == 3


async def test_another_project_than_the_one_asked_for_is_no_answer() -> None:
    """Its file would be published as this job's, and its charge recorded."""
    said = b'{"id":"another_project","status":"complete","credits_charged":144,"downloads":[{"url":"http://h/x"}]}'
    async with answers(chaos.answer(said)) as server, client(server.url) as provider:
        with pytest.raises(NoAnswer, match="another project"):
            await provider.project(ID)


@pytest.mark.parametrize(
    "said",
    [
        b'{"items":[]}',
        b'{"items":null}',
        b'{"items":[7]}',
        b'{"items":[{"upload_url":"http://h/"}]}',
        b'{"items":[{"upload_url":"","file_path":"a"}]}',
    ],
)
async def test_upload_addresses_that_are_not_there(said: bytes) -> None:
    async with answers(chaos.answer(said)) as server, client(server.url) as provider:
        with pytest.raises(NoAnswer):
            await provider.upload_targets([("video", "mp4")])


@pytest.mark.parametrize("project_id", ["a/b", "a?b=c", "a%2Fb", "ä b", "#"])
async def test_an_id_stays_in_its_place_of_the_path(project_id: str) -> None:
    async with answers(chaos.answer(b'{"status":"queued"}')) as server, client(server.url) as provider:
        assert (await provider.project(project_id)).id == project_id
    assert server.requests[0].line.count("/") == 4
    assert "?" not in server.requests[0].line


def test_a_project_as_it_is_now_and_as_it_was() -> None:
    now = {
        "id": ID,
        "status": "complete",
        "downloads": [{"url": "https://h/a?x=1", "expires_at": "2026-10-01T00:00:00Z"}],
    }
    then = {
        "id": ID,
        "status": "complete",
        "download": {"url": "https://h/a?x=1", "expires_at": "2026-10-01T00:00:00Z"},
    }
    read = [wire.project(json.dumps(each).encode(), project_id=ID) for each in (now, then)]
    assert read[0] == read[1]
    assert read[0].downloads == (wire.Download(url="https://h/a?x=1", expires_at=1790812800.0),)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["a.mp4", "b.mp4"], ["a.mp4", "b.mp4"]),
        (["thumb.jpg?x=.mp4", "output.mp4?x=.jpg"], ["output.mp4?x=.jpg"]),
        (["output", "poster.WEBP", "words.vtt"], ["output"]),
        (["thumb.jpg"], ["thumb.jpg"]),
        (["thumb.jpg", "thumb.png"], ["thumb.jpg", "thumb.png"]),
    ],
)
def test_what_is_no_clip_by_its_name_is_left_out_where_there_is_another(given: list[str], taken: list[str]) -> None:
    said = {"id": ID, "status": "complete", "downloads": [{"url": f"https://h/p.png/{name}"} for name in given]}
    found = wire.project(json.dumps(said).encode(), project_id=ID).downloads
    assert [each.url for each in found] == [f"https://h/p.png/{name}" for name in taken]


@pytest.mark.parametrize(
    ("fields", "credits"),
    [
        ({"status": "queued"}, None),
        ({"status": "rendering"}, None),
        ({"status": "thinking"}, None),
        ({"status": "rendering", "enabled": False}, 0),
        ({"status": "complete"}, 0),
        ({"status": "error"}, 0),
        ({"status": "canceled"}, 0),
    ],
)
def test_only_what_is_over_may_have_cost_nothing(fields: dict[str, Any], credits: int | None) -> None:
    said = json.dumps({"id": ID, "credits_charged": 0, **fields}).encode()
    assert wire.project(said, project_id=ID).credits_charged == credits


@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            key: st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.none() | st.text())
            for key in ("id", "status", "name", "credits_charged", "error", "downloads", "download", "enabled", "items")
        },
    )
)
def test_fields_of_any_kind(fields: dict[str, Any]) -> None:
    _read_all(json.dumps(fields).encode())


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
@example(b'{"id":"\\ud800abcdefgh"}')
@example(b'{"status":"\\ud800","downloads":[{"url":"x","expires_at":"\\ud800"}]}')
@example(b'{"items":[{"upload_url":"x","file_path":"y","expires_at":"0001-01-01T00:00:00+23:59"}]}')
@example(b'{"items":[{"upload_url":"x","file_path":"y","expires_at":"9999-12-31T23:59:59-23:59"}]}')
def test_bytes_of_any_kind(body: bytes) -> None:
    _read_all(body)


def _read_all(body: bytes) -> None:
    """Read the body with every reader: each gives a value or says that it cannot."""
    for read in (
        wire.account,
        wire.created,
        lambda body: wire.project(body, project_id=ID),
        lambda body: wire.upload_targets(body, expected=1),
    ):
        with suppress(wire.Unreadable):
            read(body)
    wire.rescued_id(body)
    for said in (wire.error_body(body), wire.storage_error(body)):
        assert said.message.isprintable()
        said.message.encode()


@given(st.text())
def test_any_text_may_stand_where_a_time_to_wait_is_expected(value: str) -> None:
    import httpx

    response = httpx.Response(429, headers=[(b"Retry-After", value.encode()), (b"Date", value.encode())])
    seconds = failures._retry_after(response)
    assert seconds is None or 0 <= seconds <= failures.LONGEST_WAIT_S


async def test_reads_side_by_side_do_not_share_their_tries() -> None:
    """Half of the answers are 503: every read is tried again for itself, and ends with a project or with our error."""
    busy, there = chaos.answer(status=503), chaos.answer(json.dumps({"id": ID, "status": "queued"}).encode())
    async with answers(*([busy, there] * 60), there) as server, client(server.url) as provider:
        results = await asyncio.gather(*(provider.project(ID) for _ in range(40)), return_exceptions=True)
    assert all(isinstance(each, wire.Project | Rejected) for each in results), results
    assert any(isinstance(each, wire.Project) for each in results)
