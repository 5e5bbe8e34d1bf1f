"""Small pictures of clips and stills, and short silent loops: made once for each content, and kept in a cache.

The cache is the person's, not the batch's: nothing is ever written beside what was paid for. A picture is found again
by the hash of the content it was made of, so that it outlives a rename, and is never that of another file. Decoding
takes place in a few threads of its own, off the event loop; FFmpeg lets go of the interpreter while it decodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
import hashlib
import io
import os
from pathlib import Path
import tempfile
from typing import TYPE_CHECKING, Any, Final

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from batchrunner import media
from batchrunner.core.facts import Media
from batchrunner.core.retry import Instant

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE: Final = (288, 288)
"""Pixels into which a picture is fitted; a card on a page is about so wide."""

POSTER_BYTES: Final = 7_000
"""A poster that comes out larger is made coarser, and in the end smaller."""

LOOP_SIZE: Final = (240, 240)
LOOP_BYTES: Final = 45_000
LOOP_FRAMES: Final = 12
LOOP_S: Final = 2.0
"""A loop shows so many pictures of the first seconds."""

POSTER_AT: Final = 0.4
"""The part of a clip after which its poster is taken: after a fade-in, before the end."""

WORKERS: Final = min(4, os.cpu_count() or 1)

MOST_DECODED: Final = 300
"""Pictures that are decoded on the way to a moment; where it lies farther from one that needs no other, it is that."""

MOST_CACHED: Final = 512 * 1024 * 1024
"""Bytes of the cache; what was not used for longest goes first."""

_RECIPE: Final = "1"
"""Of how pictures are made: another one makes them anew."""

_SLACK_S: Final = 2.0
"""By how much the clocks of a disk and of a machine may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A picture that is wanted of a file.

    Attributes:
        sha256: of the content it is to be of, lower-case hex.
        size: of that content, in bytes.
        known_at: when the file was known to have that content; one that was written since is read again.
        at_s: of a clip, the moment; None for a loop.
        start_s: of a loop, where it begins.
        most_bytes: of a poster.
    """

    path: Path
    sha256: str
    size: int
    known_at: Instant
    media: Media = "video"
    at_s: float | None = None
    start_s: float = 0.0
    most_bytes: int = POSTER_BYTES

    @property
    def key(self) -> str:
        """The name of it in the cache."""
        what = f"{self.media}/{self.at_s}/{self.start_s}/{self.most_bytes}"
        return hashlib.sha256(f"{_RECIPE}/{self.sha256}/{what}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A picture or a loop as WebP; its size in pixels."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """There is no picture, and why, in words."""

    why: str


class Pictures:
    """Makes pictures, a few at a time, and keeps them."""

    def __init__(self, cache: Path | None, *, workers: int = WORKERS) -> None:
        """Keep pictures in the folder `cache`; None keeps none."""
        self._cache = cache
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="pictures")

    async def make(
        self, wanted: Sequence[Wanted], *, done: Callable[[int], None] | None = None
    ) -> list[Made | Missing]:
        """The pictures, in the order in which they are wanted; `done` is told how many there are so far."""
        loop = asyncio.get_running_loop()
        count = 0

        async def one(each: Wanted) -> Made | Missing:
            nonlocal count
            made = await loop.run_in_executor(self._pool, self._one, each)
            count += 1
            if done is not None:
                done(count)
            return made

        return list(await asyncio.gather(*map(one, wanted)))

    def close(self) -> None:
        """End the threads; what has not begun is left."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, wanted: Wanted) -> Made | Missing:
        why = _not_that_content(wanted)
        kept = self._kept(wanted) if why is None or not wanted.path.exists() else None
        if kept is not None:
            return kept
        if why is not None:
            return Missing(why=why)
        try:
            made = _make(wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, a file did it: FFmpeg's errors, and Pillow's own
            said = media.words(error).replace(str(wanted.path), wanted.path.name)
            return Missing(why=f"it cannot be decoded: {said}")
        self._keep(wanted, made)
        return made

    # --- the cache ---

    def _place(self, wanted: Wanted) -> Path | None:
        return None if self._cache is None else self._cache / wanted.key[:2] / f"{wanted.key}.webp"

    def _kept(self, wanted: Wanted) -> Made | None:
        place = self._place(wanted)
        if place is None:
            return None
        try:
            data = place.read_bytes()
            os.utime(place)
            return _measured(data)
        except (OSError, ValueError):
            return None

    def _keep(self, wanted: Wanted, made: Made) -> None:
        place = self._place(wanted)
        if place is None:
            return
        with suppress(OSError):  # a cache that cannot be written is none
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(dir=place.parent, suffix=".new")
            with os.fdopen(descriptor, "wb") as file:
                file.write(made.data)
            Path(name).replace(place)

    def tidy(self, *, most: int = MOST_CACHED) -> None:
        """Remove what was not used for longest, where there is more than that in bytes."""
        if self._cache is None:
            return
        with suppress(OSError):
            found = [(path, path.stat()) for path in self._cache.glob("??/*") if path.is_file()]
            total = sum(stat.st_size for _, stat in found)
            for path, stat in sorted(found, key=lambda each: each[1].st_mtime):
                if total <= most:
                    return
                path.unlink(missing_ok=True)
                total -= stat.st_size


def _not_that_content(wanted: Wanted) -> str | None:
    """Why a file is not what is wanted a picture of; None when it is, read again where it was written since."""
    try:
        found = wanted.path.stat()
        if found.st_size != wanted.size:
            return "the file was changed since"
        if found.st_mtime <= wanted.known_at + _SLACK_S:
            return None
        with wanted.path.open("rb") as file:
            is_that = hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None)
        return "the file is not there" if isinstance(error, FileNotFoundError) else f"the file cannot be read: {reason}"
    return None if is_that else "the file was changed since"


def _measured(data: bytes) -> Made:
    from PIL import Image  # noqa: PLC0415 - loaded with the first picture

    with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
        return Made(data=data, width=image.width, height=image.height)


# --- making ----------------------------------------------------------------------------------------------------------


def _make(wanted: Wanted) -> Made:
    if wanted.media == "image":
        return _poster(_still(wanted.path), wanted.most_bytes)
    with media.opened(wanted.path) as container:
        if wanted.at_s is None:
            return _loop(_some(container, wanted.start_s))
        return _poster(_moment(container, wanted.at_s), wanted.most_bytes)


def _still(path: Path) -> Image:
    from PIL import ImageOps  # noqa: PLC0415 - loaded with the first picture

    with media.opened_still(path) as image:
        if image.width * image.height > media.MAX_PIXELS:
            raise ValueError("it has too many pixels")
        image.draft("RGB", (SIZE[0] * 2, SIZE[1] * 2))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail(SIZE)
    return upright


def _moment(container: InputContainer, at_s: float) -> Image:
    """The picture on show at a time; the last one where the clip ends before."""
    stream = container.streams.video[0]
    if at_s > 1:
        _seek(container, stream, at_s)
    shown = None
    for number, frame in enumerate(container.decode(stream)):
        if shown is not None and _time(frame, stream) > at_s:
            break
        shown = frame
        if number >= MOST_DECODED:
            break
    if shown is None:
        raise ValueError("it holds no picture")
    return _small(shown, SIZE)


def _some(container: InputContainer, start_s: float) -> list[Image]:
    """Pictures at even distances from a time on."""
    stream = container.streams.video[0]
    if start_s > 1:
        _seek(container, stream, start_s)
    pictures: list[Image] = []
    for number, frame in enumerate(container.decode(stream)):
        at_s = _time(frame, stream) - start_s
        if at_s >= len(pictures) * LOOP_S / LOOP_FRAMES:
            pictures.append(_small(frame, LOOP_SIZE))
        if len(pictures) == LOOP_FRAMES or number >= 2 * MOST_DECODED:
            break
    if not pictures:
        raise ValueError("it holds no picture")
    return pictures


def _seek(container: InputContainer, stream: VideoStream, at_s: float) -> None:
    if stream.time_base:
        container.seek(int(at_s / stream.time_base) + (stream.start_time or 0), stream=stream, backward=True)


def _time(frame: VideoFrame, stream: VideoStream) -> float:
    return float(((frame.pts or 0) - (stream.start_time or 0)) * (stream.time_base or 0))


def _small(frame: VideoFrame, size: tuple[int, int]) -> Image:
    factor = min(1.0, size[0] / frame.width, size[1] / frame.height)
    width, height = (max(2, round(side * factor)) for side in (frame.width, frame.height))
    image: Image = frame.reformat(width, height, format="rgb24", interpolation="AREA").to_image()  # type: ignore[no-untyped-call]
    # FFmpeg tells a turn against the clock, as Pillow takes it.
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _poster(image: Image, most_bytes: int) -> Made:
    made = _coarser(image, quality=62, share=1.0)
    for quality, share in ((40, 1.0), (20, 1.0), (20, 0.7), (10, 0.5)):
        if len(made.data) <= most_bytes:
            break
        made = _coarser(image, quality=quality, share=share)
    return made


def _coarser(image: Image, *, quality: int, share: float) -> Made:
    shown = image if share == 1 else image.resize((round(image.width * share), round(image.height * share)))
    return Made(data=_saved([shown], quality=quality), width=shown.width, height=shown.height)


def _loop(pictures: list[Image]) -> Made:
    data = b""
    for quality, some in ((38, pictures), (20, pictures), (20, pictures[::2])):
        pause = round(LOOP_S * 1000 / max(1, len(some)))
        data = _saved(some, quality=quality, save_all=True, duration=pause, loop=0)
        if len(data) <= LOOP_BYTES:
            break
    return Made(data=data, width=pictures[0].width, height=pictures[0].height)


def _saved(pictures: list[Image], **options: Any) -> bytes:
    file = io.BytesIO()
    more = {"append_images": pictures[1:]} if len(pictures) > 1 else {}
    if not more:
        options = {"quality": options["quality"]}
    pictures[0].save(file, "WEBP", method=3, **options, **more)
    return file.getvalue()


def poster_at(seconds: float, moment: float | None) -> float:
    """The second of a result at which its poster is taken: where it is suspect, or else at its usual place."""
    return round(POSTER_AT * seconds if moment is None else moment, 2)


def fill(cache: Path, wanted: Iterable[Wanted]) -> None:
    """Make pictures ahead of when they are asked for, one after the other; what cannot be made is left."""
    making = Pictures(cache, workers=1)
    for each in wanted:
        making._one(each)  # noqa: SLF001 - of the same module
    making.close()


def every(
    cache: Path | None, wanted: Iterable[Wanted], *, done: Callable[[int], None] | None = None
) -> list[Made | Missing]:
    """The pictures, for callers without an event loop."""
    pictures = Pictures(cache)
    try:
        made = asyncio.run(pictures.make(list(wanted), done=done))
        pictures.tidy()
    finally:
        pictures.close()
    return made
