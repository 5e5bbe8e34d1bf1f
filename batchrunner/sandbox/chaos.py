"""Two random mixes of misbehaviour, as lists of rules like anybody could write them.

`mild` is an ordinary evening: some answers are slow or fail before anything happened, a few renders are refunded.
Nothing in it loses the answer to something paid for. `wild` is the bad night: answers lost after acceptance,
gateways that fail on both sides of it, pushed back requests, cut and crawling downloads, expired addresses,
renders that fail with refunds that come late. No wait in either is longer than a few seconds.

Chance falls anew for each request; at each step the first rule that is drawn decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchrunner.sandbox.settings import Chaos

_NSFW: Final = (
    "It appears your content may violate our guidelines due to sensitive, explicit, or copyrighted material. Please "
    "review your submission, make the necessary changes, and try again."
)
_UNKNOWN: Final = "An unknown error occurred. Please contact support."
_READS: Final = ("account", "project", "upload-urls")

_Rules = tuple[Mapping[str, Any], ...]

_MILD: Final[_Rules] = (
    {"step": "create", "probability": 0.02, "status": 503},
    {"step": "create", "probability": 0.02, "status": 429, "retry_after": 1},
    {"step": "create", "probability": 0.03, "hang": 0.5},
    *({"step": step, "probability": 0.02, "status": 503} for step in _READS),
    *({"step": step, "probability": 0.01, "drop": "before"} for step in _READS),
    *({"step": step, "probability": 0.02, "hang": 0.5} for step in _READS),
    {"step": "upload", "probability": 0.02, "status": 503},
    {"step": "upload", "probability": 0.02, "drop": "before"},
    {"step": "download", "probability": 0.03, "truncate": 0.5},
    {"step": "download", "probability": 0.02, "status": 503},
    {"step": "render", "probability": 0.02, "render_error": {"code": "nsfw", "message": _NSFW}},
    {"step": "render", "probability": 0.01, "render_error": {"code": "unknown_error", "message": _UNKNOWN}},
    {"step": "render", "probability": 0.05, "slow_queue": 1},
    {"step": "render", "probability": 0.05, "late_settle": 1},
)

_WILD: Final[_Rules] = (
    # Nothing happened, and the client can tell or has to guess.
    {"step": "create", "probability": 0.04, "drop": "before"},
    {"step": "create", "probability": 0.02, "drop": "before", "drop_by": "close"},
    {"step": "create", "probability": 0.04, "status": 502},
    {"step": "create", "probability": 0.03, "status": 503, "retry_after": 1},
    {"step": "create", "probability": 0.02, "status": 500},
    {"step": "create", "probability": 0.04, "status": 429, "retry_after": 1},
    {"step": "create", "probability": 0.02, "status": 429, "retry_after_date": 2},
    {"step": "create", "probability": 0.02, "status": 429},
    # Accepted and charged, and the answer is lost.
    {"step": "create", "probability": 0.05, "drop": "after"},
    {"step": "create", "probability": 0.02, "drop": "after", "drop_by": "close", "hang_after": 1},
    {"step": "create", "probability": 0.03, "status": 502, "processed": True},
    {"step": "create", "probability": 0.02, "status": 504, "processed": True, "hang_after": 1},
    {"step": "create", "probability": 0.02, "garbage": "truncated"},
    {"step": "create", "probability": 0.01, "garbage": "html"},
    {"step": "create", "probability": 0.03, "hang": 2},
    {"step": "create", "probability": 0.02, "trickle": 100},
    # Looking.
    *({"step": step, "probability": 0.03, "status": 502} for step in _READS),
    *({"step": step, "probability": 0.02, "status": 500} for step in _READS),
    *({"step": step, "probability": 0.03, "status": 429, "retry_after": 1} for step in _READS),
    *({"step": step, "probability": 0.04, "drop": "before"} for step in _READS),
    *({"step": step, "probability": 0.02, "garbage": "html"} for step in _READS),
    *({"step": step, "probability": 0.02, "garbage": "truncated"} for step in _READS),
    *({"step": step, "probability": 0.02, "hang": 2} for step in _READS),
    {"step": "project", "probability": 0.03, "status_word": "thinking"},
    {"step": "project", "probability": 0.05, "expire_addresses": True},
    {"step": "project", "probability": 0.05, "omit": ["download", "total_frame_cost"]},
    {"step": "upload-urls", "probability": 0.03, "expire_addresses": True},
    # Bytes.
    {"step": "upload", "probability": 0.04, "drop": "before"},
    {"step": "upload", "probability": 0.03, "drop": "after"},
    {"step": "upload", "probability": 0.03, "status": 503},
    {"step": "upload", "probability": 0.02, "expire_addresses": True},
    {"step": "download", "probability": 0.08, "truncate": 0.5},
    {"step": "download", "probability": 0.04, "drop": "before"},
    {"step": "download", "probability": 0.04, "status": 503},
    {"step": "download", "probability": 0.05, "expire_addresses": True},
    {"step": "download", "probability": 0.03, "hang": 2},
    # Renders.
    {
        "step": "render",
        "probability": 0.05,
        "render_error": {"code": "nsfw", "message": _NSFW, "refund": "late", "refund_after": 2},
    },
    {
        "step": "render",
        "probability": 0.04,
        "render_error": {"code": "unknown_error", "message": _UNKNOWN, "refund": "late", "refund_after": 1},
    },
    {"step": "render", "probability": 0.03, "render_error": {"code": "unknown_error", "message": _UNKNOWN}},
    {"step": "render", "probability": 0.02, "cancel": {"delay": 0.5}, "slow_queue": 1},
    {"step": "render", "probability": 0.05, "slow_queue": 2},
    {"step": "render", "probability": 0.1, "late_settle": 1},
    # Notices, where anybody asked for them.
    {"step": "webhook", "probability": 0.1, "lose": True},
    {"step": "webhook", "probability": 0.1, "copies": 3},
    {"step": "webhook", "probability": 0.1, "late": 2},
    {"step": "webhook", "probability": 0.05, "stale": 600},
    {"step": "webhook", "probability": 0.05, "forge": True},
)

RULES: Final[Mapping[Chaos, _Rules]] = {"mild": _MILD, "wild": _WILD}
