"""What a clip shows and whether it can be heard, from a few of its pictures: the measures that `core.result` judges.

Bounded whatever the clip's length: of a short one the pictures are decoded as they come, of a long one only those that
need no other. Runs in the caller's thread; call it off the event loop.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from operator import mul
import threading
from typing import TYPE_CHECKING, Final, cast

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from batchrunner import media
from batchrunner.core import result
from batchrunner.core.facts import Media
from batchrunner.core.result import BLACK_BELOW, SILENT_BELOW, Doubt, Found, Seen, Shot, is_settled

if TYPE_CHECKING:
    from PIL.Image import Image

MOMENTS: Final = 12
"""Pictures that are looked at."""

MOST_DECODED: Final = 600
"""Pictures that are decoded in a row; of a clip with more, only those that need no other are."""

MOST_LISTENED_S: Final = 600.0
"""Seconds of sound after which a track counts as silent."""

_MIDDLE: Final = range(MOMENTS // 2 - 2, MOMENTS // 2 + 1)
"""Of the moments, those by whose pictures `is_settled` judges."""

_SPOTS: Final = (64, 36)
"""To so many spots a picture is reduced: an encoder's noise is averaged away, a small movement is not."""


def clip(path: media.Readable, *, start_s: float = 0.0, seconds: float, listens: bool = False) -> Seen:
    """What the part of a clip shows that begins at `start_s`; nothing where it cannot be looked at."""
    try:
        shots = _shots(path, start_s, seconds, range(MOMENTS))
        return Seen(shots=shots, is_silent=is_silent(path, start_s=start_s, seconds=seconds) if listens else None)
    except Exception:  # noqa: BLE001 - whatever it is, a file did it, and it was found to be playable before
        return Seen()


def render(path: media.Readable, *, seconds: float, listens: bool = False, middle: Sequence[Shot] = ()) -> Seen:
    """The same of a whole result; where its middle settles that something is to be seen, that alone.

    Most results are as they should be, and decoding is dear: of those, half is enough, or a few key pictures; and
    nothing more where `middle`, what was seen of them before, has all of it.
    """
    with suppress(Exception):  # as above
        shots = tuple(middle) if len(middle) == len(_MIDDLE) else _shots(path, 0.0, seconds, _MIDDLE)
        if is_settled(shots):
            return Seen(shots=shots, is_silent=is_silent(path, start_s=0.0, seconds=seconds) if listens else None)
    return clip(path, seconds=seconds, listens=listens)


def still(path: media.Readable) -> Seen:
    """What a still shows; nothing where it cannot be looked at."""
    try:
        with media.opened_still(path) as image:
            image.draft("RGB", (_SPOTS[0] * 4, _SPOTS[1] * 4))
            return Seen(shots=(Shot(at_s=0.0, black=_blackness(image.convert("RGB").resize(_SPOTS))),), is_clip=False)
    except Exception:  # noqa: BLE001 - whatever it is, a file did it
        return Seen(is_clip=False)


def of(path: media.Readable, kind: Media, *, start_s: float, seconds: float) -> Seen:
    """What an input shows in the part that is asked for."""
    return still(path) if kind == "image" else clip(path, start_s=start_s, seconds=seconds)


def doubt(
    path: media.Readable, *, seconds: float, wants_sound: bool, source: Callable[[], Seen | None]
) -> Doubt | None:
    """What is doubtful about a result; reads it, and its input where that decides, and takes its time.

    Args:
        path: the result.
        seconds: its length, as it was asked for.
        wants_sound: whether sound was asked for.
        source: what its input shows; None where there is none, or it is not what was sent.

    Raises:
        DamagedFile: it is no video.
    """
    middle = _Middle()
    video = media.check_video(path, middle.see)
    seen = render(path, seconds=video.seconds, listens=wants_sound, middle=middle.shots)
    found = Found(seconds=video.seconds, fps=video.fps, seen=seen)
    of_source = source() if result.asks_for_input(found) else None
    return result.doubt(asked_s=seconds, found=found, wants_sound=wants_sound, source=of_source)


# --- pictures --------------------------------------------------------------------------------------------------------


def _shots(path: media.Readable, start_s: float, seconds: float, which: range) -> tuple[Shot, ...]:
    """What some of the moments show that are spread evenly over the part."""
    measuring = _Measuring()
    with media.opened(path) as container:
        pictures = _pictures(container, start_s, seconds, _moments(start_s, seconds, which))
        return tuple(measuring.shot(at_s, frame) for at_s, frame in pictures)


def _moments(start_s: float, seconds: float, which: range) -> list[float]:
    return [start_s + (number + 0.5) * seconds / MOMENTS for number in which]


class _Middle:
    """Shots about the middle of a result, of the pictures that its check decodes anyway: of a short one all."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []
        self._due: deque[float] | None = None
        self._measuring = _Measuring()

    def see(self, video: media.Video, at_s: float, frame: VideoFrame) -> None:
        if self._due is None:
            self._due = deque(_moments(0.0, video.seconds, _MIDDLE))
        if _is_due(self._due, at_s):
            with suppress(Exception):  # as above; it is then looked for once more
                self.shots.append(self._measuring.shot(at_s, frame))


def _pictures(
    container: InputContainer, start_s: float, seconds: float, moments: list[float]
) -> Iterator[tuple[float, VideoFrame]]:
    """Pictures at these moments, with their seconds into the part."""
    stream = container.streams.video[0]
    if float(stream.average_rate or 30) * seconds > MOST_DECODED:
        found = _keys(container, stream, moments)
    else:
        found = _in_a_row(container, stream, moments)
    yield from ((at_s - start_s, frame) for at_s, frame in found)


def _in_a_row(
    container: InputContainer, stream: VideoStream, moments: list[float]
) -> Iterator[tuple[float, VideoFrame]]:
    stream.codec_context.skip_frame = "NONREF"  # pictures that no other needs are half of them, and not missed
    if moments[0] > 1:
        _seek(container, stream, moments[0])
    due = deque(moments)
    for number, frame in enumerate(container.decode(stream)):
        at_s = _time(frame, stream)
        if _is_due(due, at_s):
            yield at_s, frame
        if not due or number >= 2 * MOST_DECODED:  # where the last picture that needs no other lies far back
            return


def _is_due(due: deque[float], at_s: float) -> bool:
    """Whether a picture of that time is the first of a moment; what it is late for is due no more."""
    is_due = bool(due) and due[0] <= at_s
    while due and due[0] <= at_s:
        due.popleft()
    return is_due


def _keys(container: InputContainer, stream: VideoStream, moments: list[float]) -> Iterator[tuple[float, VideoFrame]]:
    stream.codec_context.skip_frame = "NONKEY"
    last_s = None
    for moment in moments:
        _seek(container, stream, moment)
        frame = next(container.decode(stream), None)
        if frame is not None and (at_s := _time(frame, stream)) != last_s:
            last_s = at_s
            yield at_s, frame


def _seek(container: InputContainer, stream: VideoStream, at_s: float) -> None:
    if stream.time_base:
        container.seek(int(at_s / stream.time_base) + (stream.start_time or 0), stream=stream, backward=True)


def _time(frame: VideoFrame, stream: VideoStream) -> float:
    return float(((frame.pts or 0) - (stream.start_time or 0)) * (stream.time_base or 0))


class _Measuring:
    """Measures pictures one after the other, each against the one before."""

    def __init__(self) -> None:
        self._before: Image | None = None

    def shot(self, at_s: float, frame: VideoFrame) -> Shot:
        # In this thread: as many as there are cores take longer to wake than so small a picture takes.
        scaled = _scaler().reformat(frame, *_SPOTS, format="rgb24", interpolation="AREA", threads=1)
        small: Image = scaled.to_image()  # type: ignore[no-untyped-call]
        before, self._before = self._before, small
        changed, spot = (None, None) if before is None else _difference(before, small)
        return Shot(at_s=max(0.0, at_s), black=_blackness(small), changed=changed, spot=spot)


def _scaler() -> VideoReformatter:
    """This thread's own: for pictures of the same size it keeps its tables, which take longer to make than to use."""
    if not hasattr(_own, "scaler"):
        _own.scaler = VideoReformatter()
    return cast("VideoReformatter", _own.scaler)


_own = threading.local()


def _blackness(small: Image) -> float:
    histogram = small.convert("L").histogram()
    return sum(histogram[: round(BLACK_BELOW * 255) + 1]) / (small.width * small.height)


_LEVELS: Final = (*range(256),) * 3


def _difference(before: Image, after: Image) -> tuple[float, float]:
    """The mean difference of two pictures, and that of the spot that differs most; shares of 1."""
    from PIL import ImageChops  # noqa: PLC0415 - loaded with the first result

    difference = ImageChops.difference(before, after)
    counts = difference.histogram()  # of each level, colour by colour
    extrema = cast("tuple[tuple[int, int], ...]", difference.getextrema())  # by colour
    return sum(map(mul, counts, _LEVELS)) / sum(counts) / 255, max(high for _, high in extrema) / 255


# --- sound -----------------------------------------------------------------------------------------------------------


def is_silent(path: media.Readable, *, start_s: float, seconds: float) -> bool:
    """Whether nothing is to be heard in that part; stops listening at the first sound."""
    with media.opened(path) as container:
        if not container.streams.audio:
            return True
        stream = container.streams.audio[0]
        if start_s > 1 and stream.time_base:
            container.seek(int(start_s / stream.time_base) + (stream.start_time or 0), stream=stream)
        mono = av.AudioResampler(format="s16", layout="mono", rate=8000)
        loudest = round(SILENT_BELOW * 32767)
        for frame in container.decode(stream):
            at_s = (frame.time or 0.0) - start_s
            if at_s > min(seconds, MOST_LISTENED_S):
                break
            if at_s < 0:
                continue
            for each in mono.resample(frame):
                samples = array("h", bytes(each.planes[0])[: 2 * each.samples])
                if max(map(abs, samples), default=0) > loudest:
                    return False
        return True
