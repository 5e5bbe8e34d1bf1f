"""Bytes carried between us and the provider's storage: plain values in, plain values out.

`Carrier` is the seam: `Here` carries in this process; `distributed` has other machines do the same, by the same code.
So what is sent, how a result is checked and what is in doubt about it stands here alone. No value names a key, and none
shows its presigned address in a text.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
import re
from typing import Protocol

from batchrunner import storage, viewers, watch
from batchrunner.core import address as addresses, space
from batchrunner.core.facts import Media
from batchrunner.core.job import Job
from batchrunner.core.result import Doubt, Seen
from batchrunner.core.space import Bound
from batchrunner.errors import TransferError
from batchrunner.traffic import Traffic
from batchrunner.transfer import Fetch, Put
from batchrunner.viewer import Original, Question
from batchrunner.viewers import Viewers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A local input that is to go to the provider.

    Attributes:
        written: a path, relative to `root`, or an address.
        root: the manifest's folder.
        url: the presigned address; a secret.
        sha256: of its content, or the hash of an object's version.
        size: in bytes.
    """

    written: str
    root: Path
    sha256: str
    size: int
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The local input that a result is held against: where it is, its size in bytes, and where the part used begins."""

    written: str
    size: int
    media: Media
    start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """A result that is to come from the provider.

    Attributes:
        written: a path, relative to `root`, or an address; where that is taken, it gets a name beside it.
        root: the manifest's folder.
        mark: unique to the render and its file; part of the partial name.
        bound: how large it can be.
        seconds: its length, as it was asked for.
        wants_sound: whether sound was asked for.
        source: the local input that it was made of, if there is one.
        url: the presigned address; a secret.
    """

    written: str
    root: Path
    mark: str
    bound: Bound
    seconds: float
    wants_sound: bool
    source: Source | None
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A result at its place: how that is recorded, its size in bytes and its content, and what is doubtful about it."""

    written: str
    bytes: int
    sha256: str
    doubt: Doubt | None


def is_name_of(fetching: Fetching, written: str) -> bool:
    """Whether a result can be recorded so: by the name that was asked for, or by one beside it, `stem.2.mp4`."""
    if addresses.is_object(fetching.written):
        asked = str(addresses.read(fetching.written))
    else:
        path = fetching.root / addresses.plain(fetching.written)
        asked = (path.relative_to(fetching.root) if path.is_relative_to(fetching.root) else path).as_posix()
    suffix = PurePosixPath(asked).suffix
    pattern = f"{re.escape(asked.removesuffix(suffix))}(?:[.][1-9][0-9]*)?{re.escape(suffix)}"
    return re.fullmatch(pattern, written) is not None


class Carrier(Protocol):
    """Whoever carries bytes. Both may be done twice, even at the same time: nothing depends on who was first."""

    async def send(self, sending: Sending, traffic: Traffic) -> None:
        """Send a file or an object, if it is still the one that was looked into.

        Raises:
            InputProblem: it cannot be read, or is no longer what it was.
            TransferError: it did not arrive.
        """

    async def bring(self, fetching: Fetching, traffic: Traffic) -> Brought:
        """Fetch a result: whole and checked under a name of its own, or not at all.

        Raises:
            TransferError: it did not arrive whole, or failed the check, or could not be written.
        """


class Here:
    """Carries in this process."""

    def __init__(self, *, put: Put, fetch: Fetch, viewers: Viewers | None = None) -> None:
        """Hand in what speaks to the provider's storage, and who looks into results; by default a thread does."""
        self._put = put
        self._fetch = fetch
        self._viewers = viewers

    async def send(self, sending: Sending, traffic: Traffic) -> None:
        """See `Carrier`."""
        with traffic.sending(sending.written, sending.size) as meter:
            await storage.upload(
                sending.written,
                sending.url,
                root=sending.root,
                sha256=sending.sha256,
                size=sending.size,
                put=self._put,
                meter=meter,
            )

    async def bring(self, fetching: Fetching, traffic: Traffic) -> Brought:
        """See `Carrier`."""
        with traffic.receiving(fetching.written, self._fetch) as (fetch, meter):
            incoming = storage.Incoming(
                url=fetching.url,
                mark=fetching.mark,
                bound=fetching.bound,
                fetch=fetch,
                check=partial(self._see, fetching),
                meter=meter,
            )
            landed = await storage.download(fetching.written, incoming, root=fetching.root)
        return Brought(written=landed.written, bytes=landed.bytes, sha256=landed.sha256, doubt=landed.found)

    async def _see(self, fetching: Fetching, render: storage.Readable) -> Doubt | None:
        """As `check`, beside the loop: by a program of its own, where that can read all of it."""
        question = question_of(fetching, render)
        if self._viewers is None or question is None:
            return await viewers.see(partial(check, fetching), render)
        return await self._viewers.see(question, partial(check, fetching, render))


def fetching_of(job: Job, *, root: Path, url: str, mark: str) -> Fetching:
    """What it takes to fetch one file of a job's result."""
    return Fetching(
        written=job.spec.output,
        root=root,
        mark=mark,
        bound=space.bound_of(job.spec),
        seconds=job.spec.seconds,
        wants_sound=job.spec.body().get("audio") is True,
        source=_source_of(job),
        url=url,
    )


def _source_of(job: Job) -> Source | None:
    given = next((each for each in job.spec.inputs if each.path is not None), None)
    if given is None or given.path is None:
        return None
    start_s = float(job.spec.body().get("start_seconds") or 0)
    kind: Media = "image" if given.media == "image" else "video"
    return Source(written=given.path, size=given.size, media=kind, start_s=start_s)


def check(fetching: Fetching, render: storage.Readable) -> Doubt | None:
    """What is doubtful about what arrived; reads it, and its input where that decides, and takes its time.

    Raises:
        DamagedFile: it is no video.
    """
    return watch.doubt(
        render, seconds=fetching.seconds, wants_sound=fetching.wants_sound, source=partial(_seen, fetching)
    )


def _seen(fetching: Fetching) -> Seen | None:
    """What the input of a result shows; None where there is none, or it is not what was sent."""
    source = fetching.source
    if source is None:
        return None
    place = storage.at(fetching.root, source.written)
    with suppress(OSError, TransferError):
        if place.seen().size == source.size:
            return watch.of(place.readable, source.media, start_s=source.start_s, seconds=fetching.seconds)
    return None


def question_of(fetching: Fetching, render: storage.Readable) -> Question | None:
    """The same look as a question to another program; None where something of it is in a bucket."""
    source = fetching.source
    if not isinstance(render, Path) or (source is not None and addresses.is_object(source.written)):
        return None
    original = None
    if source is not None:
        path = (fetching.root / addresses.plain(source.written)).absolute()
        original = Original(path=path, size=source.size, media=source.media, start_s=source.start_s)
    return Question(path=render.absolute(), seconds=fetching.seconds, wants_sound=fetching.wants_sound, source=original)
