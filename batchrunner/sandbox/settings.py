"""What a sandbox can be told when it starts, and what the plan it plays allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from batchrunner.errors import UsageError

Tier = Literal["free", "creator", "pro", "business"]
TIERS: tuple[Tier, ...] = ("free", "creator", "pro", "business")

Chaos = Literal["mild", "wild"]
CHAOS: tuple[Chaos, ...] = ("mild", "wild")

API_KEY = "mhk_sandbox"
"""The only key a sandbox accepts; it opens nothing anywhere else."""

PROVIDER = "sandbox"
"""What a state file calls its provider where that was a sandbox."""

_GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Limits of a tier: bytes of one upload, and pixels of the longest edge of a video-to-video result.

    Docs inputs-and-outputs.mdx (upload size), billing/resolution-limits.mdx (edge; video-to-video never
    passes 1472). Prices in cents per month: billing/subscription-pricing.mdx.
    """

    upload_bytes: int
    longest_edge: int
    cents_per_month: int


PLANS: dict[Tier, Plan] = {
    "free": Plan(upload_bytes=200_000_000, longest_edge=576, cents_per_month=0),
    "creator": Plan(upload_bytes=2 * _GIGABYTE, longest_edge=1024, cents_per_month=1900),
    "pro": Plan(upload_bytes=5 * _GIGABYTE, longest_edge=1472, cents_per_month=3900),
    "business": Plan(upload_bytes=10 * _GIGABYTE, longest_edge=1472, cents_per_month=9900),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one sandbox behaves.

    `port` 0 takes a free one. `scale` shrinks what is rendered: 1.0 is the provider's size, 0.1 a tenth of each
    edge. `latency_s` is the least a render takes. `credits` is the balance of a new account; a data folder that
    holds an account already keeps its own. `upload_ttl_s` is our guess, the provider publishes none;
    `download_ttl_s` is a day and `asset_ttl_s` seven (docs inputs-and-outputs.mdx).

    `latency_spread` is the share by which that latency differs from render to render, up and down. With `no_render`
    nothing is rendered: results are tiny ready-made clips, any number is under way at once, and the journal is not
    forced to the disk. `faults` is a file of rules of misbehaviour, `chaos` a mix of them that comes after the
    file's own; `seed` makes both, and the spread, the same again. `webhook_url` is told when a
    render begins and ends; the secret comes from the environment (webhooks.py).

    Raises:
        UsageError: a value makes no sense.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    scale: float = 1.0
    latency_s: float = 0.0
    credits: int = 100_000
    tier: Tier = "creator"
    render_workers: int = 2
    upload_ttl_s: float = 3600.0
    download_ttl_s: float = 86_400.0
    asset_ttl_s: float = 7 * 86_400.0
    latency_spread: float = 0.0
    no_render: bool = False
    faults: Path | None = None
    chaos: Chaos | None = None
    seed: int = 0
    webhook_url: str | None = None

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise UsageError(f"scale must be more than 0, not {self.scale:g}")
        if self.render_workers < 1:
            raise UsageError(f"render_workers must be at least 1, not {self.render_workers}")
        if self.credits < 0:
            raise UsageError(f"credits must not be negative, not {self.credits}")
        if not 0 <= self.latency_spread <= 1:
            raise UsageError(f"latency_spread must be from 0 to 1, not {self.latency_spread:g}")

    @property
    def plan(self) -> Plan:
        return PLANS[self.tier]
