"""Reading the bodies of the API, as strictly as the provider's schema: what is wrong is named, never guessed.

Shape, type, range and missing fields are 400 `invalid_request`; a right shape that cannot be carried out is 422.
Keys that the schema does not know are ignored (OpenAPI 2026-09; field tables of the SDK 0.90.0).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
import json
import math
from typing import Any, Final, cast
from urllib.parse import urlsplit

from batchrunner.sandbox import prices, problems, styles
from batchrunner.sandbox.orders import FpsResolution
from batchrunner.sandbox.prices import Resolution
from batchrunner.sandbox.storage import EXTENSIONS, AssetType

_VERSIONS: Final = ("default", "v1", "v2")
_PROMPT_TYPES: Final = ("default", "custom", "append_default")
_STYLE_MODELS: Final = (
    "default",
    "Dreamshaper",
    "Absolute Reality",
    "Flat 2D Anime",
    "Soft Anime",
    "Kaywaii",
    "Western Anime",
    "3D Anime",
)
_FORCED_VERSIONS: Final = {"Studio Ghibli": "v2"}
_YOUTUBE_HOSTS: Final = ("youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be")
_MISSING: Final = object()
_TYPE_NAMES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "string",
    list: "array",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRequest:
    """A video-to-video body that passed; `address` is the input as it was given, or the YouTube address."""

    name: str | None
    start_s: float
    end_s: float
    fps_resolution: FpsResolution
    art_style: str
    address: str
    is_youtube: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StillRequest:
    """An image-to-video body that passed; which combinations a model has is for the price table to say."""

    name: str | None
    end_s: float
    model: str
    resolution: Resolution | None
    audio: bool
    prompt: str
    image: str
    end_image: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadItem:
    """One file that somebody wants to upload."""

    type: AssetType
    extension: str


def read_json(raw: bytes) -> dict[str, Any]:
    """The body as an object.

    Raises:
        ApiError: 400 when there is none, or it is something else.
    """
    if not raw:
        raise problems.invalid_request("Missing request body")
    try:
        body = json.loads(raw)
        # Python reads what cannot be sent back: NaN, numbers without end, halves of surrogate pairs.
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise problems.invalid_request("Invalid JSON in request body") from error
    if not isinstance(body, dict):
        raise problems.invalid_request(f"Invalid type for body: expected object, got {_type_name(body)}")
    return body


def read_clip_request(body: Mapping[str, Any]) -> ClipRequest:
    """A checked POST /v1/video-to-video.

    Raises:
        ApiError: 400 naming every field that is wrong; 422 for a style version this API does not have.
    """
    fields = _Fields(body)
    style, assets = fields.section("style"), fields.section("assets")
    name = fields.text("name")
    start_s = fields.number("start_seconds", at_least=0, is_required=True)
    end_s = fields.number("end_seconds", at_least=0.1, is_required=True)
    fps_resolution = fields.choice("fps_resolution", ("FULL", "HALF")) or "HALF"
    fields.deprecated_size()
    art_style = style.choice("art_style", styles.NAMES, is_required=True)
    version = style.choice("version", _VERSIONS) or "default"
    prompt_type = style.choice("prompt_type", _PROMPT_TYPES) or "default"
    prompt = style.text("prompt", is_nullable=True)
    style.choice("model", _STYLE_MODELS)
    source = assets.choice("video_source", ("file", "youtube"), is_required=True)
    path = assets.text("video_file_path", is_required=source == "file", is_filled=source == "file")
    youtube = assets.text("youtube_url", is_required=source == "youtube")
    if prompt_type != "default" and not (prompt or "").strip():
        style.complain("prompt", f"required when prompt_type is {prompt_type}")
    if start_s is not None and end_s is not None and end_s <= start_s:
        fields.complain("end_seconds", "must be greater than start_seconds")
    if source == "youtube" and youtube is not None and not _is_youtube(youtube):
        assets.complain("youtube_url", "must be the address of a YouTube video")
    fields.raise_if_wrong()
    assert start_s is not None
    assert end_s is not None
    assert art_style is not None
    forced = _FORCED_VERSIONS.get(art_style, version)
    if version != forced:
        raise problems.unprocessable(f"Art style {art_style} is only available with version {forced}")
    return ClipRequest(
        name=name,
        start_s=start_s,
        end_s=end_s,
        fps_resolution=cast("FpsResolution", fps_resolution),
        art_style=art_style,
        address=(youtube if source == "youtube" else path) or "",
        is_youtube=source == "youtube",
    )


def read_still_request(body: Mapping[str, Any]) -> StillRequest:
    """A checked POST /v1/image-to-video; deprecated quality fields are already turned into a resolution.

    Raises:
        ApiError: 400 naming every field that is wrong.
    """
    fields = _Fields(body)
    assets, style = fields.section("assets"), fields.section("style", is_required=False)
    name = fields.text("name")
    end_s = fields.number("end_seconds", at_least=1, at_most=60, is_required=True)
    model = fields.choice("model", prices.MODEL_NAMES) or "default"
    resolution = fields.choice("resolution", prices.RESOLUTIONS)
    audio = fields.flag("audio")
    fields.deprecated_size()
    prompt = style.text("prompt")
    high_quality = style.flag("high_quality")
    quality_mode = style.choice("quality_mode", ("quick", "studio"))
    image = assets.text("image_file_path", is_required=True, is_filled=True)
    end_image = assets.text("end_image_file_path", is_filled=True)
    fields.raise_if_wrong()
    assert end_s is not None
    assert image is not None
    return StillRequest(
        name=name,
        end_s=end_s,
        model=model,
        resolution=cast("Resolution | None", resolution)
        or _deprecated_resolution(high_quality=high_quality, quality_mode=quality_mode),
        audio=bool(audio),
        prompt=prompt or "",
        image=image,
        end_image=end_image,
    )


def read_upload_items(body: Mapping[str, Any]) -> Sequence[UploadItem]:
    """A checked POST /v1/files/upload-urls.

    Raises:
        ApiError: 400 for a wrong shape, 422 for an extension that the type does not have.
    """
    fields = _Fields(body)
    items = [
        UploadItem(
            type=cast("AssetType", item.choice("type", tuple(EXTENSIONS), is_required=True)),
            extension=item.text("extension", is_required=True, is_filled=True) or "",
        )
        for item in fields.sections("items")
    ]
    fields.raise_if_wrong()
    for item in items:
        known = EXTENSIONS[item.type]
        if item.extension not in known:
            article = "a" if item.type == "video" else "an"
            raise problems.unprocessable(
                f"'{item.extension}' is {article} invalid {item.type} extension. "
                f"Possible extensions are '{', '.join(known)}'"
            )
    return items


def _deprecated_resolution(*, high_quality: bool | None, quality_mode: str | None) -> Resolution | None:
    """`style.high_quality` and `style.quality_mode` as OpenAPI 2026-09 maps them; None when neither was given."""
    if quality_mode is not None:
        return "1080p" if quality_mode == "studio" else "720p"
    if high_quality is not None:
        return "1080p" if high_quality else "720p"
    return None


def _is_youtube(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in _YOUTUBE_HOSTS


def _type_name(value: object) -> str:
    """JSON's name of a type, with the provider's distinction of integer and float."""
    return _TYPE_NAMES.get(type(value), "object")


class _Fields:
    """An object of the body, read field by field; complaints of all sections end in one list.

    A reader returns None for a field that is absent or wrong; `raise_if_wrong` tells the two apart.
    """

    def __init__(self, values: Mapping[str, Any], *, place: str = "", complaints: list[str] | None = None) -> None:
        self._values = values
        self._place = place
        self._complaints: list[str] = [] if complaints is None else complaints

    def complain(self, field: str, message: str) -> None:
        """Remember that a value is wrong."""
        self._complaints.append(f"Invalid value for {self._place}{field}: {message}")

    def raise_if_wrong(self) -> None:
        """Refuse the request if anything was wrong anywhere."""
        if self._complaints:
            raise problems.invalid_request("; ".join(self._complaints))

    def section(self, field: str, *, is_required: bool = True) -> _Fields:
        """A nested object; an empty one stands for one that is absent or wrong."""
        value = self._get(field, (dict,), "object", is_required=is_required)
        if value is None and (is_required or field in self._values):
            return _Fields({}, place=f"{field}.", complaints=[])
        return self._child(f"{field}.", value or {})

    def sections(self, field: str) -> list[_Fields]:
        """An array of objects, at least one."""
        values = self._get(field, (list,), "array", is_required=True)
        if values is not None and not values:
            self.complain(field, "must contain at least 1 item")
        found = []
        for number, value in enumerate(values or ()):
            if isinstance(value, dict):
                found.append(self._child(f"{field}[{number}].", value))
            else:
                self._mistyped(f"{field}[{number}]", "object", value)
        return found

    def text(
        self, field: str, *, is_required: bool = False, is_nullable: bool = False, is_filled: bool = False
    ) -> str | None:
        """A string; `is_filled` refuses the empty one."""
        if is_nullable and self._values.get(field, _MISSING) is None:
            return None
        value: str | None = self._get(field, (str,), "string", is_required=is_required)
        if is_filled and value == "":
            self.complain(field, "must not be empty")
        return value

    def number(
        self, field: str, *, at_least: float, at_most: float = math.inf, is_required: bool = False
    ) -> float | None:
        """A finite number within its bounds, both included."""
        value = self._get(field, (int, float), "number", is_required=is_required)
        if value is None:
            return None
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.complain(field, "must be a finite number")
            return None
        if number < at_least:
            self.complain(field, f"must be greater than or equal to {at_least:g}")
        elif number > at_most:
            self.complain(field, f"must be less than or equal to {at_most:g}")
        return number

    def flag(self, field: str) -> bool | None:
        """A boolean."""
        value: bool | None = self._get(field, (bool,), "boolean")
        return value

    def choice(self, field: str, allowed: Collection[str], *, is_required: bool = False) -> str | None:
        """One of the allowed strings."""
        value: str | None = self._get(field, (str,), "string", is_required=is_required)
        if value is None or value in allowed:
            return value
        listed = sorted(allowed) if isinstance(allowed, frozenset) else allowed
        self.complain(field, f"expected one of {', '.join(listed)}")
        return None

    def deprecated_size(self) -> None:
        """`height` and `width` change nothing any more, and still must be integers or null."""
        for field in ("height", "width"):
            if self._values.get(field) is not None:
                self._get(field, (int,), "integer")

    def _child(self, place: str, values: Mapping[str, Any]) -> _Fields:
        return _Fields(values, place=self._place + place, complaints=self._complaints)

    def _get(self, field: str, types: tuple[type, ...], expected: str, *, is_required: bool = False) -> Any:
        value = self._values.get(field, _MISSING)
        if value is _MISSING:
            if is_required:
                self._complaints.append(f"Missing required field: {self._place}{field} (expected {expected})")
            return None
        # A JSON boolean is an int to Python, and no number to the schema.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            self._mistyped(field, expected, value)
            return None
        return value

    def _mistyped(self, field: str, expected: str, value: object) -> None:
        self._complaints.append(f"Invalid type for {self._place}{field}: expected {expected}, got {_type_name(value)}")
