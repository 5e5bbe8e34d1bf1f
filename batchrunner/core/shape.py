"""The shape of a manifest: its keys, and the type and range of each value.

The job fields are the provider's own, under their own names (OpenAPI 2026-09, Python SDK 0.90.0). What may stand in
a field beyond its type is the catalogue's business (see checks.py), because the provider adds to it.

Nothing is taken from these models but their verdict: a request carries what the person wrote and no default of ours,
so the values given here to fields that may be left out are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from batchrunner.core import duration
from batchrunner.core.kind import Kind

MAX_ID_LENGTH = 200
END = "end"
"""What `end_seconds` says for the clip's own end."""


def _or_end(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return value if value == END else check(value)


def _never_end(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    if value == END:
        raise PydanticCustomError("no_end", "a still has no end of its own; write how many seconds are to be rendered")
    return check(value)


def _host(value: str) -> str:
    if any(not char.isprintable() or char in " /@?#[]" for char in value):
        raise PydanticCustomError("no_host", "this is no address to listen on; write 127.0.0.1, or a host name")
    return value


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
EndSeconds = Annotated[float, Field(ge=0.1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]
Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=100)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]

LEFT_OUT: Any = None


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class VideoStyle(Block):
    art_style: str = LEFT_OUT
    version: str = LEFT_OUT
    prompt_type: str = LEFT_OUT
    prompt: str | None = LEFT_OUT
    model: str = LEFT_OUT


class VideoAssets(Block):
    video_source: str = LEFT_OUT
    video_file_path: Text = LEFT_OUT
    youtube_url: Text = LEFT_OUT


class ImageStyle(Block):
    prompt: str = LEFT_OUT
    high_quality: bool = LEFT_OUT
    quality_mode: str = LEFT_OUT


class ImageAssets(Block):
    image_file_path: Text = LEFT_OUT
    end_image_file_path: Text = LEFT_OUT


class _Shared(Block):
    """What every job can have, whatever its kind, and what `defaults` can give it."""

    tags: Tags = LEFT_OUT
    priority: Priority = LEFT_OUT
    output: Text = LEFT_OUT
    hold: Annotated[int, Field(ge=1)] = LEFT_OUT
    height: int | None = LEFT_OUT
    width: int | None = LEFT_OUT


class VideoDefaults(_Shared):
    start_seconds: Seconds = LEFT_OUT
    end_seconds: Annotated[EndSeconds, WrapValidator(_or_end)] = LEFT_OUT
    fps_resolution: str = LEFT_OUT
    style: VideoStyle = LEFT_OUT
    assets: VideoAssets = LEFT_OUT


class ImageDefaults(_Shared):
    end_seconds: Annotated[EndSeconds, WrapValidator(_never_end)] = LEFT_OUT
    model: str = LEFT_OUT
    resolution: str = LEFT_OUT
    audio: bool = LEFT_OUT
    style: ImageStyle = LEFT_OUT
    assets: ImageAssets = LEFT_OUT


class VideoJob(VideoDefaults):
    id: Name
    kind: str
    input: Text = LEFT_OUT


class ImageJob(ImageDefaults):
    id: Name
    kind: str
    input: Text = LEFT_OUT


class UnknownJob(BaseModel):
    """What can be checked of a job whose kind is not known."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    id: Name


InFlight = Annotated[int, Field(ge=1, le=10_000)]


class KindLimits(Block):
    video_to_video: InFlight = Field(default=LEFT_OUT, alias="video-to-video")
    image_to_video: InFlight = Field(default=LEFT_OUT, alias="image-to-video")


class Limits(Block):
    in_flight: InFlight = LEFT_OUT
    uploads: Annotated[int, Field(ge=1, le=64)] = LEFT_OUT
    downloads: Annotated[int, Field(ge=1, le=64)] = LEFT_OUT
    submits_per_minute: Annotated[float, Field(ge=0.1, le=100_000, allow_inf_nan=False)] = LEFT_OUT
    per_kind: KindLimits = LEFT_OUT
    per_model: dict[str, InFlight] = LEFT_OUT


Credits = Annotated[int, Field(ge=0)]


class Budget(Block):
    credits: Credits = LEFT_OUT
    usd: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] = LEFT_OUT
    per_job: Credits = LEFT_OUT
    per_model: dict[str, Credits] = LEFT_OUT
    per_day: Credits = LEFT_OUT
    warn_at: Annotated[float, Field(gt=0, le=1)] = LEFT_OUT
    cutoff: Literal["soft", "hard"] = LEFT_OUT
    keep_balance: Credits = LEFT_OUT
    unpriced: Literal["refuse", "allow"] = LEFT_OUT


class Webhooks(Block):
    port: Annotated[int, Field(ge=0, le=65535)]
    host: Annotated[Text, AfterValidator(_host)] = LEFT_OUT


def _duration(value: Any) -> float:
    try:
        return duration.seconds_of(value)
    except ValueError as error:
        raise PydanticCustomError("no_duration", "{said}", {"said": str(error)}) from None


FirstWait = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False), BeforeValidator(_duration)]
Wait = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False), BeforeValidator(_duration)]


class Patience(Block):
    attempts: Annotated[int, Field(ge=1, le=1000)] = LEFT_OUT
    first_wait: FirstWait = LEFT_OUT
    longest_wait: Wait = LEFT_OUT
    total: Annotated[Wait, Field(alias="for")] = LEFT_OUT


class Retry(Block):
    upload: Patience = LEFT_OUT
    submit: Patience = LEFT_OUT
    poll: Patience = LEFT_OUT
    download: Patience = LEFT_OUT
    render: dict[str, Annotated[int, Field(ge=0, le=10)]] = LEFT_OUT


class Head(Block):
    """Everything but what the jobs and the defaults hold."""

    version: int
    name: Name = LEFT_OUT
    output: Text = LEFT_OUT
    catalog: Text = LEFT_OUT
    limits: Limits = LEFT_OUT
    budget: Budget = LEFT_OUT
    webhooks: Webhooks = LEFT_OUT
    retry: Retry = LEFT_OUT
    defaults: dict[str, Any] = LEFT_OUT
    jobs: list[Any]


JOBS: Mapping[Kind, type[Block]] = {Kind.VIDEO_TO_VIDEO: VideoJob, Kind.IMAGE_TO_VIDEO: ImageJob}
DEFAULTS: Mapping[Kind, type[Block]] = {Kind.VIDEO_TO_VIDEO: VideoDefaults, Kind.IMAGE_TO_VIDEO: ImageDefaults}

# Keys of a job that are ours; the others travel to the provider.
OWN_KEYS = frozenset({"id", "kind", "input", "tags", "priority", "output", "hold"})
