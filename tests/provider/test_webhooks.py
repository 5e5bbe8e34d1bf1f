"""Notices as the provider's documentation describes them, signed here by hand, and everything they must not be."""

from __future__ import annotations

from contextlib import suppress
import hashlib
import hmac
import json
from typing import Any

from hypothesis import given, strategies as st
import pytest

from batchrunner.errors import NoticeForged, NoticeStale, NoticeTooLarge, NoticeUnreadable
from batchrunner.provider import webhooks
from batchrunner.provider.webhooks import Mailbox, Notice
from tests.support import notices
from tests.support.notices import SECRET

NOW = 1_800_000_000.0
PROJECT = "cmtwmxasp02q7h401s1vslohu"


def signed(body: bytes, *, at: float = NOW, secret: str = SECRET) -> dict[str, str]:
    return notices.signed(body, at=at, secret=secret)


def body_of(event: str = "video.completed", *, key: str = "payload", **payload: Any) -> bytes:
    return notices.body_of(PROJECT, event, key=key, **payload)


def opened(body: bytes, headers: dict[str, str] | None = None, *, now: float = NOW) -> Notice | None:
    return Mailbox(SECRET).open(body, signed(body) if headers is None else headers, now=now)


def test_a_signature_made_elsewhere_is_accepted() -> None:
    # printf '1800000000.{"type":"video.completed","payload":{"id":"c1"}}' | openssl dgst -sha256 -hmac whsec_4f1c9a
    body = b'{"type":"video.completed","payload":{"id":"c1"}}'
    headers = {
        "magic-hour-event-timestamp": "1800000000",
        "magic-hour-event-signature": "9d59b553e5e50c1acee949d1cd5246356ddb334c0f88a036d105ddc7d3c43f09",
    }
    assert opened(body, headers) == Notice(event="video.completed", project_id="c1", name=None)


@pytest.mark.parametrize("key", ["payload", "object"])
def test_what_a_notice_says(key: str) -> None:
    assert opened(body_of(key=key)) == Notice(event="video.completed", project_id=PROJECT, name="m/j [1-a]")


@pytest.mark.parametrize(
    ("event", "asks"),
    [
        ("video.completed", True),
        ("video.errored", True),
        ("video.exploded", True),
        ("video.started", False),
        ("image.completed", False),
        ("audio.completed", False),
    ],
)
def test_which_notices_ask_for_a_look(event: str, *, asks: bool) -> None:
    notice = opened(body_of(event))
    assert notice is not None
    assert notice.asks_for_a_look is asks


@pytest.mark.parametrize(
    "changes",
    [
        {"magic-hour-event-signature": "0" * 64},
        {"magic-hour-event-signature": ""},
        {"magic-hour-event-signature": "ünsigned"},
        {"magic-hour-event-signature": "\ud800"},
        {"magic-hour-event-signature": signed(body_of())["magic-hour-event-signature"].upper()},
        {"magic-hour-event-timestamp": str(int(NOW) + 1)},
        {"magic-hour-event-timestamp": ""},
        {"magic-hour-event-timestamp": f" {int(NOW)}"},
        {"magic-hour-event-timestamp": f"{int(NOW)}.0"},
        {"magic-hour-event-timestamp": "-1"},
        {"magic-hour-event-timestamp": "²"},
        {"magic-hour-event-timestamp": "9" * 5000},
    ],
)
def test_what_is_not_signed_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(NoticeForged):
        opened(body_of(), signed(body_of()) | changes)


def test_a_signature_is_for_one_body_and_one_secret() -> None:
    with pytest.raises(NoticeForged):
        opened(body_of("video.errored"), signed(body_of()))
    with pytest.raises(NoticeForged):
        opened(body_of(), signed(body_of(), secret="whsec_other"))
    with pytest.raises(NoticeForged):
        opened(body_of(), {})


@pytest.mark.parametrize("off_s", [-301, 301, 86_400, 1e12])
def test_an_old_notice_and_one_from_the_future_are_refused(off_s: float) -> None:
    headers = signed(body_of())
    with pytest.raises(NoticeStale):
        opened(body_of(), headers, now=NOW + off_s)


@pytest.mark.parametrize("off_s", [-300, 0, 300])
def test_five_minutes_are_tolerated(off_s: float) -> None:
    assert opened(body_of(), now=NOW + off_s) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"{}",
        b'{"type": "video.completed"}',
        b'{"type": "video.completed", "payload": "c1"}',
        b'{"type": "video.completed", "payload": {"id": ""}}',
        b'{"type": "video.completed", "payload": {"id": 7}}',
        b'{"type": "video.completed", "payload": {"id": "c1; rm -r"}}',
        b'{"type": "video.completed", "payload": {"id": "c1\\n"}}',
        b'{"type": "video.completed", "payload": {"id": "\\u001b[2J"}}',
        b'{"type": 7, "payload": {"id": "c1"}}',
        b'{"payload": {"id": "c1"}}',
        b"[" * 100_000,
        b'{"type": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_says_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(NoticeUnreadable):
        opened(body)


def test_a_megabyte_is_the_most() -> None:
    fill = webhooks.LARGEST_BODY - len(body_of(pad=""))
    assert opened(body_of(pad="x" * fill)) is not None
    with pytest.raises(NoticeTooLarge):
        opened(body_of(pad="x" * (fill + 1)))


def test_one_that_comes_again_is_known_however_it_is_signed() -> None:
    mailbox = Mailbox(SECRET)
    body = body_of()
    assert mailbox.open(body, signed(body), now=NOW) is not None
    assert mailbox.open(body, signed(body), now=NOW + 10) is None
    assert mailbox.open(body, signed(body, at=NOW + 60), now=NOW + 60) is None
    other = body_of("video.errored")
    assert mailbox.open(other, signed(other), now=NOW) is not None


def test_one_that_was_refused_is_taken_when_it_is_right() -> None:
    mailbox = Mailbox(SECRET)
    body = body_of()
    with pytest.raises(NoticeForged):
        mailbox.open(body, signed(body, secret="wrong"), now=NOW)
    with pytest.raises(NoticeStale):
        mailbox.open(body, signed(body), now=NOW + 1000)
    assert mailbox.open(body, signed(body), now=NOW) is not None


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    mailbox = Mailbox(SECRET)
    for number in range(webhooks.REMEMBERED + 1):
        body = body_of(id=str(number))
        assert mailbox.open(body, signed(body), now=NOW) is not None
    first, second = body_of(id="0"), body_of(id="2")
    assert mailbox.open(second, signed(second), now=NOW) is None
    assert mailbox.open(first, signed(first), now=NOW) is not None
    assert len(mailbox._taken) == webhooks.REMEMBERED


def test_the_secret_shows_nowhere() -> None:
    mailbox = Mailbox(SECRET)
    assert SECRET not in repr(mailbox)
    for headers in ({}, signed(body_of(), secret="x")):
        with pytest.raises(NoticeForged) as caught:
            mailbox.open(body_of(), headers, now=NOW)
        assert SECRET not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["type", "payload", "object", "id", "name"]), inner)
    ),
    max_leaves=20,
)
BODIES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())


@given(body=BODIES, now=st.floats(allow_nan=False, allow_infinity=False), secret=st.text())
def test_whatever_is_signed_is_read_or_refused(body: bytes, now: float, secret: str) -> None:
    headers = {
        webhooks.TIMESTAMP_HEADER: "1800000000",
        webhooks.SIGNATURE_HEADER: hmac.new(
            secret.encode("utf-8", "surrogateescape"), b"1800000000." + body, hashlib.sha256
        ).hexdigest(),
    }
    for at in (now, NOW):
        with suppress(NoticeStale, NoticeUnreadable):
            notice = Mailbox(secret).open(body, headers, now=at)
            assert notice is not None
            assert notice.project_id


@given(body=BODIES, headers=st.dictionaries(st.sampled_from(list(signed(b""))), st.text()))
def test_whatever_comes_unsigned_is_refused(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(NoticeForged):
        opened(body, headers)
