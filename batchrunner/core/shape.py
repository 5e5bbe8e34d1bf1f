"""The shape of a manifest: its keys, and the type and range of each value.

The job fields are the provider's own, under their own names (OpenAPI 2026-09, Python SDK 0.90.0). What may stand in
a field beyond its type is the catalogue's business (see checks.py), because the provider adds to it.

Nothing is taken from these models but their verdict: a request carries what the person wrote and no default of ours,
so the values given here to fields that may be left out are never read. What a field is described as, an editor shows
(see jsonschema.py).
"""

from __future__ import annotations

from collections.abc import Mapping
import shlex
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from batchrunner.core import duration, explain, folder, window
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


def optional(description: str, *, alias: str | None = None) -> Any:
    """Return a field that may be left out."""
    return Field(default=LEFT_OUT, description=description, alias=alias)


def required(description: str) -> Any:
    """Return a field that must be there."""
    return Field(description=description)


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class VideoStyle(Block):
    art_style: str = optional("Look of the render.")
    version: str = optional("Version of the look; some looks render with one only.")
    prompt_type: str = optional(
        "What becomes of the prompt: default ignores it, custom uses it alone, append_default adds it."
    )
    prompt: str | None = optional("What is to be seen; read with prompt_type custom or append_default.")
    model: str = optional("Model behind the look.")


class VideoAssets(Block):
    video_source: str = optional("Where the clip is from; follows from the other key here.")
    video_file_path: Text = optional("Local path, https address, library address or path of an earlier upload.")
    youtube_url: Text = optional("Address of a YouTube video.")


class ImageStyle(Block):
    prompt: str = optional("What is to happen in the clip.")
    high_quality: bool = optional("Old way to ask for a resolution.")
    quality_mode: str = optional("Old way to ask for a resolution.")


class ImageAssets(Block):
    image_file_path: Text = optional(
        "First picture: local path, https address, library address or path of an earlier upload."
    )
    end_image_file_path: Text = optional("Last picture, for models that take one.")


class _Shared(Block):
    """What every job can have, whatever its kind, and what `defaults` can give it."""

    tags: Tags = optional("Words to tell jobs apart by.")
    priority: Priority = optional("Higher starts earlier.")
    output: Text = optional(
        "Where the file goes, below the manifest's folder: {id}, {index}, {kind} and {stem} are filled in."
    )
    hold: Annotated[int, Field(ge=1)] = optional(
        "Credits to reserve for this job, at least 1; makes a model without a published price affordable."
    )
    height: int | None = optional("Ignored by the provider.")
    width: int | None = optional("Ignored by the provider.")


class VideoDefaults(_Shared):
    start_seconds: Seconds = optional("Second of the clip at which the render begins.")
    end_seconds: Annotated[EndSeconds, WrapValidator(_or_end, json_schema_input_type=EndSeconds | Literal["end"])] = (
        optional("Second of the clip at which the render ends; `end` is a local clip's own end.")
    )
    fps_resolution: str = optional("FULL or HALF of the clip's frame rate; HALF costs half.")
    style: VideoStyle = optional("How it is to look.")
    assets: VideoAssets = optional("The clip, under the provider's own keys; `input` is shorter.")


class ImageDefaults(_Shared):
    end_seconds: Annotated[EndSeconds, WrapValidator(_never_end)] = optional("Length of the render in seconds.")
    model: str = optional("Model that renders.")
    resolution: str = optional("Size of the picture.")
    audio: bool = optional("Whether the model adds sound; costs more with some.")
    style: ImageStyle = optional("What is to happen.")
    assets: ImageAssets = optional("The pictures, under the provider's own keys; `input` is shorter.")


def _moment(value: str) -> str:
    try:
        folder.moment(value, now_ns=0, local=lambda _: 0.0)
    except (ValueError, OverflowError):
        said = "this is no age and no date; write 7d (s, m, h, d, w), 2026-11-01 or 2026-11-01T18:00"
        raise PydanticCustomError("no_moment", said) from None
    return value


def _words(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError:
        words = []
    if not words:
        raise PydanticCustomError("no_command", "this is no command; write a program and its arguments") from None
    return value


def _form(value: Any) -> str:
    return explain.FORM + ("list" if isinstance(value, list) else "text")


Globs = Annotated[
    Annotated[Text, Tag(explain.FORM + "text")]
    | Annotated[Annotated[list[Text], Field(min_length=1, max_length=100)], Tag(explain.FORM + "list")],
    Discriminator(_form),
]


class Folder(Block):
    """`input` of a job that stands for many: one for each file."""

    glob: Globs = required("Which files, such as clips/**/*.mp4; relative to the manifest's folder.")
    exclude: Globs = optional("Which of them not.")
    sort: folder.Sort = optional("In which order; - turns it round.")
    limit: Annotated[int, Field(ge=1)] = optional("How many at most, the first ones in that order.")
    newer_than: Annotated[Text, AfterValidator(_moment)] = optional("Only files changed since: 7d, 12h or 2026-11-01.")


class Chained(Block):
    """`input` of a job that is made from the render of another."""

    job: Name = required("Id of the job whose finished render is the input.")


def _input_form(value: Any) -> str:
    return explain.FORM + ("file" if not isinstance(value, dict) else "job" if "job" in value else "folder")


def _never_both(value: Any) -> Any:
    if isinstance(value, dict) and "job" in value and "glob" in value:
        raise PydanticCustomError(
            "input_twice", "job and glob exclude each other: the input is the render of a job, or each file of a folder"
        )
    return value


def _never_a_job(value: Any) -> Any:
    if _input_form(value) == explain.FORM + "job":
        raise PydanticCustomError(
            "no_still", "every job renders a video, and image-to-video takes a picture; only video-to-video takes a job"
        )
    return value


ClipInput = Annotated[
    Annotated[
        Annotated[Text, Tag(explain.FORM + "file")]
        | Annotated[Folder, Tag(explain.FORM + "folder")]
        | Annotated[Chained, Tag(explain.FORM + "job")],
        Discriminator(_input_form),
    ],
    BeforeValidator(_never_both),
]
StillInput = Annotated[
    Annotated[
        Annotated[Text, Tag(explain.FORM + "file")] | Annotated[Folder, Tag(explain.FORM + "folder")],
        Discriminator(_input_form),
    ],
    BeforeValidator(_never_a_job),
]
Needs = Annotated[
    Annotated[Name, Tag(explain.FORM + "text")]
    | Annotated[Annotated[list[Name], Field(min_length=1, max_length=1000)], Tag(explain.FORM + "list")],
    Discriminator(_form),
]
NEEDS = "Ids of jobs that must be done before this one starts; one, or a list."


class VideoJob(VideoDefaults):
    id: Name = required("Name of the job, unique in the manifest; / makes sub-folders of the output.")
    kind: str = required("What is rendered from what.")
    input: ClipInput = optional(
        "The clip: local path, https address, library address or path of an earlier upload; or a glob, for one job"
        " a file; or a job, for its render."
    )
    needs: Needs = optional(NEEDS)
    matrix: Any = optional("Makes many jobs of this one: fields, by their path, and the values that each takes.")


class ImageJob(ImageDefaults):
    id: Name = required("Name of the job, unique in the manifest; / makes sub-folders of the output.")
    kind: str = required("What is rendered from what.")
    input: StillInput = optional(
        "The picture: local path, https address, library address or path of an earlier upload; or a glob, for one job"
        " a file."
    )
    needs: Needs = optional(NEEDS)
    matrix: Any = optional("Makes many jobs of this one: fields, by their path, and the values that each takes.")


class UnknownJob(BaseModel):
    """What can be checked of a job whose kind is not known."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    id: Name


InFlight = Annotated[int, Field(ge=1, le=10_000)]


class KindLimits(Block):
    video_to_video: InFlight = optional("Renders in flight.", alias="video-to-video")
    image_to_video: InFlight = optional("Renders in flight.", alias="image-to-video")


class Limits(Block):
    in_flight: InFlight = optional("Renders that the provider works on at the same time.")
    uploads: Annotated[int, Field(ge=1, le=64)] = optional("Uploads at the same time.")
    downloads: Annotated[int, Field(ge=1, le=64)] = optional("Downloads at the same time.")
    submits_per_minute: Annotated[float, Field(ge=0.1, le=100_000, allow_inf_nan=False)] = optional(
        "Renders submitted in a minute."
    )
    per_kind: KindLimits = optional("Renders in flight of one kind.")
    per_model: dict[str, InFlight] = optional("Renders in flight of one model, by its name.")


Credits = Annotated[int, Field(ge=0)]


class Budget(Block):
    credits: Credits = optional("Most credits for this batch, over all its runs.")
    usd: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] = optional(
        "Most dollars for this batch, over all its runs."
    )
    per_job: Credits = optional("Most credits for one job.")
    per_model: dict[str, Credits] = optional("Most credits for one model, by its name.")
    per_day: Credits = optional("Most credits in one calendar day, over all manifests of the folder.")
    warn_at: Annotated[float, Field(gt=0, le=1)] = optional("Share of a cap at which to warn, above 0 and up to 1.")
    cutoff: Literal["soft", "hard"] = optional("At a cap: soft collects what was bought, hard leaves at once.")
    keep_balance: Credits = optional("Credits to leave on the account.")
    unpriced: Literal["refuse", "allow"] = optional("Whether a model without a published price may be bought.")


def _when(value: str) -> str:
    try:
        window.moment_of(value)
    except ValueError as error:
        raise PydanticCustomError("no_time", "{said}", {"said": str(error)}) from None
    return value


When = Annotated[str, Field(json_schema_extra={"pattern": window.PATTERN}), AfterValidator(_when)]


class Window(Block):
    """When may be bought; what was bought is collected at any time."""

    start: When = optional("Before it nothing is bought: a time of day, or a date with a time.")
    stop: When = optional("From then on nothing more is bought: a time of day, or a date with a time.")
    finish_by: When = optional("What is bought must be on disk by then: a time of day, or a date with a time.")
    timezone: Text = optional("Zone whose clock is meant, such as Europe/Berlin; else the machine's own.")


class Webhooks(Block):
    port: Annotated[int, Field(ge=0, le=65535)] = required(
        "Port to listen on for the provider's notices; 0 takes a free one."
    )
    host: Annotated[Text, AfterValidator(_host)] = optional("Address to listen on.")


def _duration(value: Any) -> float:
    try:
        return duration.seconds_of(value)
    except ValueError as error:
        raise PydanticCustomError("no_duration", "{said}", {"said": str(error)}) from None


DurationText = Annotated[str, Field(max_length=duration.LONGEST, pattern=duration.PATTERN)]
FirstSeconds = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)]
WaitSeconds = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)]
FirstWait = Annotated[FirstSeconds, BeforeValidator(_duration, json_schema_input_type=FirstSeconds | DurationText)]
Wait = Annotated[WaitSeconds, BeforeValidator(_duration, json_schema_input_type=WaitSeconds | DurationText)]


class Patience(Block):
    attempts: Annotated[int, Field(ge=1, le=1000)] = optional("Tries in all, the first one counted.")
    first_wait: FirstWait = optional("Wait before the second try: seconds, or text such as 2s or 1m30s.")
    longest_wait: Wait = optional("Longest wait between two tries: seconds, or text such as 60s.")
    total: Wait = optional("Time for all tries within one run: seconds, or text such as 1h.", alias="for")


class Retry(Block):
    upload: Patience = optional("Sending inputs.")
    submit: Patience = optional("Submissions that were refused or never left.")
    poll: Patience = optional("Looking how a render is getting on.")
    download: Patience = optional("Fetching results.")
    render: dict[str, Annotated[int, Field(ge=0, le=10)]] = optional(
        "How often a failed render starts over, by error code; each time only after its refund."
    )


class Notify(Block):
    on: list[Literal["done", "stopped", "uncertain", "cap"]] = required("What to be told of.")


Command = Annotated[
    Annotated[Text, AfterValidator(_words), Tag(explain.FORM + "text")]
    | Annotated[Annotated[list[Text], Field(min_length=1, max_length=100)], Tag(explain.FORM + "list")],
    Discriminator(_form),
]


class Included(Block):
    """What an included file says beside its jobs; its other keys are looked at elsewhere."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    vars: dict[str, Any] = LEFT_OUT
    limits: Limits = LEFT_OUT
    budget: Budget = LEFT_OUT
    defaults: dict[str, Any] = LEFT_OUT
    jobs: list[Any] = LEFT_OUT


class Head(Block):
    """Everything but what the jobs and the defaults hold."""

    version: int = required("Version of this format.")
    include: Any = optional("Files that share vars, defaults, limits, budget and jobs with this one.")
    vars: dict[str, Any] = optional("Values for ${NAME} in any text of this manifest.")
    env: list[Annotated[str, Field(min_length=1)]] = optional("Variables of the environment that it may use.")
    name: Name = optional("Name of the batch, part of each submission's name; else the file's.")
    output: Text = optional(
        "Where files go, below the manifest's folder: {id}, {stem}, {style.art_style} and more are filled in."
    )
    catalog: Text = optional("File that corrects models and prices, relative to the manifest.")
    limits: Limits = optional("How much goes on at once.")
    budget: Budget = optional("Caps that hold, in credits and dollars.")
    window: Window = optional("When may be bought.")
    webhooks: Webhooks = optional("Take the provider's notices instead of asking only.")
    retry: Retry = optional("How patiently each step is tried again.")
    notify: Notify = optional("Which notices the person gets; where to is never in a manifest.")
    on_job_done: Command = optional("Program to run for each job that is done, with the job as JSON on its input.")
    defaults: dict[str, Any] = optional(
        "What all jobs, those of a kind or those with a tag have unless they say otherwise."
    )
    jobs: list[Any] = required("What is to be rendered.")


JOBS: Mapping[Kind, type[Block]] = {Kind.VIDEO_TO_VIDEO: VideoJob, Kind.IMAGE_TO_VIDEO: ImageJob}
DEFAULTS: Mapping[Kind, type[Block]] = {Kind.VIDEO_TO_VIDEO: VideoDefaults, Kind.IMAGE_TO_VIDEO: ImageDefaults}

# Keys of a job that are ours; the others travel to the provider.
OWN_KEYS = frozenset({"id", "kind", "input", "needs", "matrix", "tags", "priority", "output", "hold"})
