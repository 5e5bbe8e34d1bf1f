"""Listens for the provider's notices while a run goes on, in the run's own event loop.

One route takes deliveries and answers at once; whatever is wrong with one is its sender's answer and nothing else.
Nothing of a body is kept, logged or shown. A run that cannot be reached by notices is a run that polls: nothing
here is needed for a job to end well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from batchrunner.environ import WEBHOOK_SECRET
from batchrunner.errors import NoticeForged, NoticeRefused, NoticeStale, NoticeTooLarge, NoticeUnreadable
from batchrunner.provider import webhooks
from batchrunner.provider.webhooks import Mailbox, Notice
from batchrunner.web import serving
from batchrunner.web.door import Door

PATH: Final = "/webhook"

LONGEST_BODY_S = 10.0
"""Seconds that a body may take to arrive: the provider waits that long for an answer."""

_GRACE_S: Final = 2
_STATUSES: Final[Mapping[type[NoticeRefused], int]] = {
    NoticeForged: 401,
    NoticeStale: 400,
    NoticeUnreadable: 400,
    NoticeTooLarge: 413,
}
_ADVICE: Final[Mapping[type[NoticeRefused], str]] = {
    NoticeForged: f"if it came from the provider, {WEBHOOK_SECRET} is not the secret of its webhook",
    NoticeStale: "if it came from the provider, this machine's clock is wrong",
}

OnNotice = Callable[[Notice], None]
"""Told of every notice that is real and new."""


@asynccontextmanager
async def listening(
    door: Door, *, on_notice: OnNotice, now: Callable[[], float], tell: Callable[[str], None]
) -> AsyncIterator[str]:
    """Take deliveries as long as the block runs; gives the address they go to.

    Raises:
        UsageError: nothing can listen there.
    """
    listener = serving.listen(
        door.host,
        door.port,
        what="webhooks",
        hint="name another --webhook-port, or --webhook-host, or leave webhooks out: polling does without",
    )
    application = app(Mailbox(door.secret), on_notice=on_notice, now=now, tell=tell)
    async with serving.serving(application, listener, grace_s=_GRACE_S):
        yield f"{serving.address(listener)}{PATH}"


def app(mailbox: Mailbox, *, on_notice: OnNotice, now: Callable[[], float], tell: Callable[[str], None]) -> Starlette:
    """The application: one route, which answers 204 to a notice that is real, whether or not it is news."""
    told: set[type[NoticeRefused]] = set()

    async def deliver(request: Request) -> Response:
        try:
            async with asyncio.timeout(LONGEST_BODY_S):
                body = await _body(request)
            notice = mailbox.open(body, request.headers, now=now())
        except NoticeRefused as error:
            _tell_once(error, told, tell)
            return Response(status_code=_STATUSES[type(error)])
        except TimeoutError:
            return Response(status_code=408)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        if notice is not None:
            on_notice(notice)
        return Response(status_code=204)

    return Starlette(routes=[Route(PATH, deliver, methods=["POST"])])


def _tell_once(error: NoticeRefused, told: set[type[NoticeRefused]], tell: Callable[[str], None]) -> None:
    """Say the first time what was refused: a wrong secret would go unnoticed, and a flood would fill the screen."""
    if type(error) in told:
        return
    told.add(type(error))
    advice = _ADVICE.get(type(error))
    tell(f"webhooks: refused: {error}" + (f"; {advice}" if advice else "") + " (not told again)")


async def _body(request: Request) -> bytes:
    """The body as it was sent, of which the signature is made.

    Raises:
        NoticeTooLarge: it announces, or sends, more than any notice has.
    """
    announced = request.headers.get("content-length", "0")
    body = bytearray()
    if announced.isdecimal() and int(announced[:20]) > webhooks.LARGEST_BODY:
        raise NoticeTooLarge(f"a notice of more than {webhooks.LARGEST_BODY} bytes")
    async for piece in request.stream():
        body += piece
        if len(body) > webhooks.LARGEST_BODY:
            raise NoticeTooLarge(f"a notice of more than {webhooks.LARGEST_BODY} bytes")
    return bytes(body)
