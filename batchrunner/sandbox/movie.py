"""Writing one H.264 movie, frame by frame: never the whole of it in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

SOUND_RATE: Final = 44_100
_ENCODER_OPTIONS: Final = {"preset": "veryfast", "crf": "23", "threads": "1"}


class Movie:
    """An MP4 being written; made by `create`. Pictures come at a constant rate, sound as it is."""

    def __init__(self, container: OutputContainer, *, rate: Fraction, size: tuple[int, int], sound: bool) -> None:
        self._container = container
        self._pictures: VideoStream = container.add_stream("libx264", rate=rate, options=dict(_ENCODER_OPTIONS))
        self._pictures.width, self._pictures.height = size
        self._pictures.pix_fmt = "yuv420p"
        self._sound: AudioStream | None = None
        if sound:
            self._sound = container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        self._interval = 1 / rate
        self._samples = 0
        self.frames = 0

    def add_picture(self, frame: VideoFrame) -> None:
        """Show this frame for the next interval."""
        frame.pts = self.frames
        frame.time_base = self._interval
        self.frames += 1
        self._container.mux(self._pictures.encode(frame))

    def add_sound(self, frame: AudioFrame) -> None:
        """Play these samples right after the ones before."""
        assert self._sound is not None, "asked for when the movie was created"
        frame.pts = self._samples
        frame.time_base = Fraction(1, frame.sample_rate)
        self._samples += frame.samples
        self._container.mux(self._sound.encode(frame))

    def finish(self) -> None:
        """Write what the encoders still hold."""
        self._container.mux(self._pictures.encode(None))
        if self._sound is not None:
            self._container.mux(self._sound.encode(None))


@contextmanager
def create(path: Path, *, rate: Fraction, size: tuple[int, int], sound: bool) -> Iterator[Movie]:
    """A movie at `path`, whole when the block ends; `size` is width and height, both even."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        movie = Movie(container, rate=rate, size=size, sound=sound)
        yield movie
        movie.finish()


def tone(seconds: float) -> Iterator[AudioFrame]:
    """A soft note of the asked length; nothing for zero seconds."""
    if not seconds:
        return
    graph = Graph()
    graph.link_nodes(
        graph.add("sine", f"frequency=220:sample_rate={SOUND_RATE}:duration={seconds:g}"),
        graph.add("volume", "0.3"),
        graph.add("abuffersink"),
    ).configure()
    while True:
        try:
            block = graph.pull()
        except (av.EOFError, av.BlockingIOError):
            return
        assert isinstance(block, AudioFrame)
        yield block
