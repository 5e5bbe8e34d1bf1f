"""What the API refuses, with which status and code, and that a refusal costs nothing."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import Any

import httpx
from hypothesis import given, strategies as st
import pytest

from batchrunner.sandbox import intake, prices
from batchrunner.sandbox.problems import ApiError

CLIP = {
    "start_seconds": 0,
    "end_seconds": 0.5,
    "style": {"art_style": "Ink"},
    "assets": {"video_source": "file", "video_file_path": "https://example.com/clip.mp4"},
}
STILL = {"end_seconds": 3, "assets": {"image_file_path": "https://example.com/still.png"}}

GONE = object()


def changed(body: Any, changes: dict[str, Any]) -> Any:
    """A copy with dotted fields set, or taken out."""
    result = deepcopy(body)
    for field, value in changes.items():
        *parents, last = field.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is GONE:
            del place[last]
        else:
            place[last] = value
    return result


def refused(caller: Any, path: str, body: Any, status: int, code: str) -> str:
    before = caller.ledger()
    answer = caller.api("POST", path, body)
    after = caller.ledger()
    assert (answer.status_code, set(answer.json())) == (status, {"code", "message"}), answer.text
    assert answer.json()["code"] == code
    assert (after["credits"], len(after["creates"])) == (before["credits"], len(before["creates"]))
    message: str = answer.json()["message"]
    return message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_seconds": GONE}, "Missing required field: start_seconds (expected number)"),
        ({"start_seconds": -0.1}, "Invalid value for start_seconds: must be greater than or equal to 0"),
        ({"start_seconds": "0"}, "Invalid type for start_seconds: expected number, got string"),
        ({"start_seconds": None}, "Invalid type for start_seconds: expected number, got null"),
        ({"end_seconds": 10**400}, "Invalid value for end_seconds: must be a finite number"),
        ({"start_seconds": True}, "Invalid type for start_seconds: expected number, got boolean"),
        ({"end_seconds": GONE}, "Missing required field: end_seconds (expected number)"),
        ({"end_seconds": 0.05}, "Invalid value for end_seconds: must be greater than or equal to 0.1"),
        ({"start_seconds": 0.5}, "Invalid value for end_seconds: must be greater than start_seconds"),
        ({"fps_resolution": "half"}, "Invalid value for fps_resolution: expected one of FULL, HALF"),
        ({"height": 1.5}, "Invalid type for height: expected integer, got float"),
        ({"width": "1"}, "Invalid type for width: expected integer, got string"),
        ({"name": 1}, "Invalid type for name: expected string, got integer"),
        ({"style": GONE}, "Missing required field: style (expected object)"),
        ({"style": []}, "Invalid type for style: expected object, got array"),
        ({"style.art_style": GONE}, "Missing required field: style.art_style (expected string)"),
        ({"style.art_style": "ink"}, "Invalid value for style.art_style: expected one of 3D Render, "),
        ({"style.version": "v3"}, "Invalid value for style.version: expected one of default, v1, v2"),
        ({"style.prompt_type": "x"}, "Invalid value for style.prompt_type: expected one of default, custom"),
        ({"style.model": "Ghibli"}, "Invalid value for style.model: expected one of default, Dreamshaper"),
        ({"style.prompt": 7}, "Invalid type for style.prompt: expected string, got integer"),
        ({"style.prompt_type": "custom"}, "Invalid value for style.prompt: required when prompt_type is custom"),
        (
            {"style.prompt_type": "append_default", "style.prompt": " "},
            "Invalid value for style.prompt: required when prompt_type is append_default",
        ),
        ({"assets": GONE}, "Missing required field: assets (expected object)"),
        ({"assets.video_source": GONE}, "Missing required field: assets.video_source (expected string)"),
        ({"assets.video_source": "url"}, "Invalid value for assets.video_source: expected one of file, youtube"),
        ({"assets.video_file_path": GONE}, "Missing required field: assets.video_file_path (expected string)"),
        ({"assets.video_file_path": ""}, "Invalid value for assets.video_file_path: must not be empty"),
        ({"assets.video_source": "youtube"}, "Missing required field: assets.youtube_url (expected string)"),
        (
            {"assets.video_source": "youtube", "assets.youtube_url": "https://vimeo.com/1"},
            "Invalid value for assets.youtube_url: must be the address of a YouTube video",
        ),
    ],
)
def test_bad_clip_requests(shared: Any, changes: dict[str, Any], message: str) -> None:
    told = refused(shared, "/v1/video-to-video", changed(CLIP, changes), 400, "invalid_request")
    assert told.startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end_seconds": GONE}, "Missing required field: end_seconds (expected number)"),
        ({"end_seconds": 0.5}, "Invalid value for end_seconds: must be greater than or equal to 1"),
        ({"end_seconds": 61}, "Invalid value for end_seconds: must be less than or equal to 60"),
        ({"model": "kling"}, "Invalid value for model: expected one of default, gemini-omni-1.1"),
        ({"resolution": "8k"}, "Invalid value for resolution: expected one of 360p"),
        ({"audio": "yes"}, "Invalid type for audio: expected boolean, got string"),
        ({"audio": 1}, "Invalid type for audio: expected boolean, got integer"),
        ({"style": "x"}, "Invalid type for style: expected object, got string"),
        ({"style.quality_mode": "best"}, "Invalid value for style.quality_mode: expected one of quick, studio"),
        ({"style.high_quality": "yes"}, "Invalid type for style.high_quality: expected boolean, got string"),
        ({"assets": GONE}, "Missing required field: assets (expected object)"),
        ({"assets.image_file_path": GONE}, "Missing required field: assets.image_file_path (expected string)"),
        ({"assets.image_file_path": ""}, "Invalid value for assets.image_file_path: must not be empty"),
        ({"assets.end_image_file_path": ""}, "Invalid value for assets.end_image_file_path: must not be empty"),
    ],
)
def test_bad_still_requests(shared: Any, changes: dict[str, Any], message: str) -> None:
    told = refused(shared, "/v1/image-to-video", changed(STILL, changes), 400, "invalid_request")
    assert told.startswith(message)


@pytest.mark.parametrize(
    "changes",
    [
        {"style.art_style": "Studio Ghibli"},
        {"style.art_style": "Studio Ghibli", "style.version": "v1"},
        {"assets.video_file_path": "api-assets/nobody/nothing.mp4"},
        {"assets.video_file_path": "saved-items/u/i/clip.mp4"},
        {"assets.video_file_path": "../../sandbox.lock"},
        {"assets.video_file_path": "/etc/hostname"},
        {"assets.video_file_path": "api-assets"},
        {"assets.video_file_path": "api-assets/\0.mp4"},
        {"assets.video_file_path": f"{'a' * 5000}.mp4"},
        {"assets.video_file_path": "clips/local.mp4"},
        {"assets.video_file_path": "https://example.com/no-extension"},
        {"assets.video_file_path": "https://example.com/still.png"},
        {"assets.video_file_path": "https://magichour.ai/my-library?videoId=nothing"},
        {"assets.video_file_path": "https://magichour.ai/my-library"},
        {"assets.video_file_path": "http://127.0.0.1:1/outputs/x/output.mp4?expires=1&signature=1"},
        {"assets.video_file_path": "https://[broken/clip.mp4"},
    ],
)
def test_clip_requests_that_cannot_be_carried_out(shared: Any, changes: dict[str, Any]) -> None:
    refused(shared, "/v1/video-to-video", changed(CLIP, changes), 422, "unprocessable_entity")


@pytest.mark.parametrize(
    "changes",
    [
        {"end_seconds": 2},
        {"end_seconds": 3.5},
        {"end_seconds": 16},
        {"resolution": "480p"},
        {"model": "kling-2.6", "end_seconds": 6},
        {"model": "kling-2.6", "end_seconds": 5, "audio": True},
        {"model": "kling-2.5", "end_seconds": 5, "audio": True},
        {"model": "gemini-omni-1.1", "audio": True},
        {"model": "wan-2.2", "assets.end_image_file_path": "https://example.com/e.png"},
        {"model": "sora-2", "end_seconds": 4, "assets.end_image_file_path": "https://example.com/e.png"},
        {"model": "kling-2.6", "end_seconds": 5, "assets.end_image_file_path": "https://example.com/e.png"},
        {"model": "veo3.1", "end_seconds": 16, "assets.end_image_file_path": "https://example.com/e.png"},
        {"model": "veo3.1", "end_seconds": 5},
        {"model": "seedance-2.0-fast", "end_seconds": 4, "resolution": "1080p"},
        {"assets.end_image_file_path": "stills/local.png"},
    ],
)
def test_still_requests_that_the_model_does_not_have(shared: Any, changes: dict[str, Any]) -> None:
    refused(shared, "/v1/image-to-video", changed(STILL, changes), 422, "unprocessable_entity")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"end_seconds": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name": "\\ud800"}',
        b'{"x": 1e999}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/video-to-video", "/v1/image-to-video", "/v1/files/upload-urls"])
def test_bodies_that_are_no_objects(shared: Any, path: str, raw: bytes) -> None:
    answer = shared.http.post(shared.base_url + path, content=raw, headers={"Authorization": "Bearer mhk_sandbox"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_every_wrong_field_is_named_at_once(shared: Any) -> None:
    body = changed(CLIP, {"start_seconds": "0", "style.art_style": GONE, "assets.video_source": 1})
    message = refused(shared, "/v1/video-to-video", body, 400, "invalid_request")
    assert [part.split(":")[0] for part in message.split("; ")] == [
        "Invalid type for start_seconds",
        "Missing required field",
        "Invalid type for assets.video_source",
    ]


@pytest.mark.parametrize(
    ("items", "status", "code"),
    [
        (GONE, 400, "invalid_request"),
        ([], 400, "invalid_request"),
        ("x", 400, "invalid_request"),
        (["x"], 400, "invalid_request"),
        ([{"type": "video"}], 400, "invalid_request"),
        ([{"type": "gif", "extension": "gif"}], 400, "invalid_request"),
        ([{"type": "video", "extension": "MP4"}], 422, "unprocessable_entity"),
        ([{"type": "video", "extension": ".mp4"}], 422, "unprocessable_entity"),
        ([{"type": "image", "extension": "gif"}], 422, "unprocessable_entity"),
    ],
)
def test_bad_uploads(shared: Any, items: Any, status: int, code: str) -> None:
    body = {} if items is GONE else {"items": items}
    refused(shared, "/v1/files/upload-urls", body, status, code)


def test_the_message_for_a_wrong_extension_lists_the_right_ones(shared: Any) -> None:
    body = {"items": [{"type": "audio", "extension": "mp4"}]}
    message = refused(shared, "/v1/files/upload-urls", body, 422, "unprocessable_entity")
    assert message.startswith("'mp4' is an invalid audio extension. Possible extensions are 'mp3, wav, aac, ")


@pytest.mark.parametrize("header", [None, "Bearer wrong", "mhk_sandbox", "Basic mhk_sandbox"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/account"),
        ("POST", "/v1/files/upload-urls"),
        ("POST", "/v1/video-to-video"),
        ("POST", "/v1/image-to-video"),
        ("GET", "/v1/video-projects/x"),
        ("DELETE", "/v1/video-projects/x"),
    ],
)
def test_a_wrong_key(shared: Any, method: str, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = shared.http.request(method, shared.base_url + path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"code": "unauthorized", "message": "Unauthorized"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/v1/video-projects/nothing"),
        ("DELETE", "/v1/video-projects/nothing"),
        ("GET", "/v1/video-to-video"),
        ("PATCH", "/v1/account"),
    ],
)
def test_what_does_not_exist(shared: Any, method: str, path: str) -> None:
    answer = shared.api(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_unknown_keys_and_deprecated_ones_are_accepted(shared: Any) -> None:
    body = changed(STILL, {"new": 1, "style.negative_prompt": "x", "height": None, "width": 640})
    assert shared.api("POST", "/v1/image-to-video", body).status_code == 200


def test_a_free_account_has_no_high_resolution(start: Any) -> None:
    _, caller = start(tier="free")
    account = caller.api("GET", "/v1/account").json()
    assert (account["tier"], account["subscription"]) == ("free", None)
    body = changed(STILL, {"resolution": "720p"})
    refused(caller, "/v1/image-to-video", body, 402, "plan_upgrade_required")
    accepted = caller.api("POST", "/v1/image-to-video", changed(STILL, {"model": "default"}))
    assert accepted.json()["credits_charged"] == 3 * 24  # ltx-2.5 at 480p


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 144),
        ({"resolution": "1080p"}, 216),
        ({"resolution": "4k", "audio": True}, 864),
        ({"style.high_quality": True}, 216),
        ({"style.quality_mode": "quick"}, 144),
        ({"style.quality_mode": "studio", "resolution": "720p"}, 144),
        ({"model": "sora-2", "end_seconds": 8, "audio": True}, 960),
        ({"model": "seedance", "end_seconds": 4, "audio": True}, 480),
        ({"model": "veo3.1-audio", "end_seconds": 8}, 960),
        ({"model": "kling-2.5", "end_seconds": 5}, 180),
        ({"model": "kling-2.5-audio", "end_seconds": 5}, 180),
        ({"model": "ltx-2.3", "end_seconds": 5}, 240),
    ],
)
def test_prices_of_stills(changes: dict[str, Any], expected: int) -> None:
    asked = intake.read_still_request(changed(STILL, changes))
    terms = prices.still_terms(
        model=asked.model,
        resolution=asked.resolution,
        seconds=asked.end_s,
        audio=asked.audio,
        has_end_image=False,
        tier="creator",
    )
    assert terms.credits == expected


@pytest.mark.parametrize(
    ("start_s", "end_s", "fps_resolution", "expected"),
    [(0, 5, "FULL", 300), (0, 5, "HALF", 150), (0.1, 0.3, "FULL", 12), (0, 0.11, "HALF", 4), (1.5, 4.0, "HALF", 75)],
)
def test_holds_of_clips(start_s: float, end_s: float, fps_resolution: Any, expected: int) -> None:
    assert prices.clip_hold(start_s=start_s, end_s=end_s, fps_resolution=fps_resolution) == expected


def test_the_23_models_of_the_sdk() -> None:
    from magic_hour.types.params import v1_image_to_video_create_body as sdk
    import typing_extensions

    hints = typing_extensions.get_type_hints(sdk.V1ImageToVideoCreateBody, include_extras=False)
    assert frozenset(typing_extensions.get_args(hints["model"])) == prices.MODEL_NAMES
    assert frozenset(typing_extensions.get_args(hints["resolution"])) == frozenset(prices.RESOLUTIONS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["start_seconds", "end_seconds", "style", "style.art_style", "style.prompt", "assets", "assets.video_source",
     "assets.video_file_path", "assets.image_file_path", "model", "resolution", "audio", "height", "name"]
)  # fmt: skip


@given(base=st.sampled_from([CLIP, STILL]), field=FIELDS, value=JSON)
def test_no_body_breaks_the_reader(base: Any, field: str, value: Any) -> None:
    for read in (intake.read_clip_request, intake.read_still_request, intake.read_upload_items):
        with suppress(ApiError):
            read(changed(base, {field: value}))


def test_a_refused_request_is_json_even_without_a_route(shared: Any) -> None:
    answer: httpx.Response = shared.http.get(shared.base_url + "/")
    assert answer.json()["code"] == "not_found"
