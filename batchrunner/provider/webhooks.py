"""Notices that the provider posts when a render moves: are they real, are they fresh, what do they say.

A notice is a hint and no more: it makes the next look at a project due. What the project has become is learned by
asking the provider with our own key. So a notice that is lost, late, repeated or forged can cost a look, never a
decision.

Source: the provider's webhook documentation of 2026-08. The signature is the lower-case hex HMAC-SHA256 of
`<timestamp>.<raw body>`, keyed with the whole secret as it is shown, any prefix included. Deliveries may come more than
once and carry no id of their own; nothing is posted for a canceled project.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
import hmac
import json
import re
from typing import Any, Final

from batchrunner.errors import NoticeForged, NoticeStale, NoticeTooLarge, NoticeUnreadable

SIGNATURE_HEADER: Final = "magic-hour-event-signature"
TIMESTAMP_HEADER: Final = "magic-hour-event-timestamp"

TOLERANCE_S: Final = 300
"""Seconds that the time of signing may differ from ours, as the provider recommends."""

LARGEST_BODY: Final = 1_000_000
"""Bytes; a notice holds one project and has a few hundred."""

REMEMBERED: Final = 10_000
"""Notices that are known again when they come twice; older ones make a look due once more, which does no harm."""

_LONGEST_TIMESTAMP: Final = 15
_PROJECT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ABOUT_VIDEO: Final = "video."
_STARTED: Final = "video.started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a delivery says: the provider's word for what happened, the project, and the name it was submitted under."""

    event: str
    project_id: str
    name: str | None

    @property
    def asks_for_a_look(self) -> bool:
        """Whether a look could show anything new: not for a render that only began, nor for images and sounds.

        A video event that is not known yet counts: the worst it can cost is a look.
        """
        return self.event.startswith(_ABOUT_VIDEO) and self.event != _STARTED


class Mailbox:
    """Takes deliveries that are signed with one secret, and knows those it has taken before."""

    def __init__(self, secret: str) -> None:
        """Expect deliveries signed with `secret`, as the provider's Developer Hub shows it."""
        # What an environment holds need not be valid text.
        self._key = secret.encode("utf-8", "surrogateescape")
        self._taken: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __repr__(self) -> str:
        return "Mailbox(secret=…)"

    def open(self, body: bytes, headers: Mapping[str, str], *, now: float) -> Notice | None:
        """The notice in a delivery; None when it is one that was taken before.

        `headers` are by lower-case name, `now` in seconds since 1970.

        Raises:
            NoticeTooLarge: the body has more bytes than any notice.
            NoticeForged: not signed with our secret.
            NoticeStale: signed more than five minutes from now.
            NoticeUnreadable: it does not say what happened to which project.
        """
        if len(body) > LARGEST_BODY:
            raise NoticeTooLarge(f"a notice of more than {LARGEST_BODY} bytes")
        signed_at = self._signed_at(body, headers)
        if abs(now - signed_at) > TOLERANCE_S:
            raise NoticeStale(f"a notice was signed more than {TOLERANCE_S // 60} minutes from now")
        notice = _read(body)
        return notice if self._is_new(notice) else None

    def _signed_at(self, body: bytes, headers: Mapping[str, str]) -> int:
        """When it was signed, in seconds since 1970; nothing of a body is read before this is known to be true."""
        timestamp, signature = headers.get(TIMESTAMP_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _LONGEST_TIMESTAMP):
            raise NoticeForged("a notice came without the time of its signature")
        expected = hmac.new(self._key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass")):
            raise NoticeForged("a notice was not signed with this secret")
        return int(timestamp)

    def _is_new(self, notice: Notice) -> bool:
        """Whether this happened to this project for the first time; remembers it.

        Project and event tell a delivery, as the documentation suggests: that covers one that is played again within
        the five minutes just as one that the provider signs anew and sends twice.
        """
        key = notice.project_id, notice.event
        if key in self._taken:
            return False
        self._taken[key] = None
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        return True


def _read(body: bytes) -> Notice:
    """What a body says. Its project stands under `payload`; one example in the documentation has `object` instead.

    An id of another shape than the provider's is refused, so that it can be shown and typed.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoticeUnreadable("a notice is not JSON") from error
    if not isinstance(data, dict):
        raise NoticeUnreadable("a notice is not a JSON object")
    event = data.get("type")
    project = data.get("payload", data.get("object"))
    project_id = _value(project, "id")
    is_named = isinstance(project_id, str) and _PROJECT_ID.fullmatch(project_id) is not None
    if not isinstance(event, str) or not is_named:
        raise NoticeUnreadable("a notice does not say what happened to which project")
    name = _value(project, "name")
    return Notice(event=event, project_id=project_id, name=name if isinstance(name, str) else None)


def _value(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else None
