"""What an account was really charged, held against the catalogue: the differences, by kind, model and resolution.

Image-to-video is charged once, by the second. Video-to-video is held by the second when it is accepted, and settled
later by the frames that render; what is compared is the hold, since the frames are not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
import math
from typing import Any

from batchrunner.core.catalog import Catalog
from batchrunner.core.job import Job, State
from batchrunner.core.kind import DEFAULT, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one attempt was charged, and what the catalogue says it should have been.

    Attributes:
        model: the model that was asked for; of video-to-video, the version of the style.
        resolution: what was asked for, `default` where it was left to the plan; of video-to-video, `fps_resolution`.
        seconds: of output, or of the clip.
        credits: what was charged, or held.
        table: what it should have been, each plan's figure where it depends on that; None where none is published.
    """

    kind: Kind
    model: str
    resolution: str
    audio: bool
    seconds: float
    credits: int
    table: tuple[int | None, ...]

    @property
    def is_equal(self) -> bool:
        """Whether it is what the catalogue says."""
        return self.credits in self.table

    @property
    def nearest(self) -> int | None:
        """The figure of the catalogue that it comes nearest to; None where one that is not published may be nearer."""
        published = [price for price in self.table if price is not None]
        if not self.is_equal and len(published) < len(self.table):
            return None
        return min(published, key=lambda price: abs(price - self.credits), default=None)


class Match(StrEnum):
    """How charges compare with the table."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_IN_TABLE = "not in the table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The charges of one group.

    Attributes:
        count: attempts in it.
        different: how many of them are not what the table says.
        credits: what was charged for them all.
        table: what the table says for them all; None where it says nothing of one of them.
        per_second: the least and the most that was charged for a second.
        table_per_second: the least and the most that the table says; None where it says nothing.
    """

    kind: Kind
    model: str
    resolution: str
    audio: bool
    count: int
    different: int
    credits: int
    table: int | None
    per_second: tuple[float, float]
    table_per_second: tuple[float, float] | None

    @property
    def match(self) -> Match:
        """Whether the table holds for all of them."""
        if self.table is None:
            return Match.NOT_IN_TABLE
        return Match.DIFFERENT if self.different else Match.EQUAL


def charge_of(job: Job, catalog: Catalog) -> Charge | None:
    """Return what an attempt was charged; None where nothing was, or nothing is known of it."""
    request = job.spec.body()
    is_video = job.kind is Kind.VIDEO_TO_VIDEO
    # What failed was paid back; what it was charged at first still tells the price.
    is_over = job.state in {State.FAILED, State.CANCELED}
    credits = job.held if is_video or is_over or job.charged is None else job.charged
    if not credits or job.spec.seconds <= 0:
        return None
    if is_video:
        return _video_charge(job, request, catalog, credits)
    model = request.get("model", DEFAULT)
    return Charge(
        kind=job.kind,
        model=model,
        resolution=catalog.asked_resolution(request) or DEFAULT,
        audio=bool(request.get("audio", False)),
        seconds=job.spec.seconds,
        credits=credits,
        table=_image_table(request, model, job.spec.seconds, catalog),
    )


def _video_charge(job: Job, request: Mapping[str, Any], catalog: Catalog, credits: int) -> Charge:
    rendered = request.get("fps_resolution", "HALF")
    share = 0.5 if rendered == "HALF" else 1.0
    return Charge(
        kind=job.kind,
        model=request.get("style", {}).get("version", DEFAULT),
        resolution=rendered,
        audio=False,
        seconds=job.spec.seconds,
        credits=credits,
        table=(math.ceil(job.spec.seconds * share * catalog.video_credits_per_second_full),),
    )


def _image_table(request: Mapping[str, Any], model: str, seconds: float, catalog: Catalog) -> tuple[int | None, ...]:
    """Return what each plan's choice of model and resolution would cost."""
    prices: dict[int | None, None] = {}
    for tier in catalog.tiers:
        resolved = catalog.resolve_model(model, audio=bool(request.get("audio", False)), tier=tier)
        resolution = catalog.asked_resolution(request) or catalog.default_resolution_by_tier[tier]
        rate = resolved.model.credits_per_second(resolution=resolution, audio=resolved.audio) if resolved else None
        prices[None if rate is None else math.ceil(rate * seconds)] = None
    return tuple(prices)


def compare(charges: Iterable[Charge]) -> tuple[Row, ...]:
    """Return one row for each kind, model, resolution and audio: those that differ first, the most charges first."""
    groups: dict[tuple[Kind, str, str, bool], list[Charge]] = {}
    for each in charges:
        groups.setdefault((each.kind, each.model, each.resolution, each.audio), []).append(each)
    rows = [_row(group) for group in groups.values()]
    return tuple(sorted(rows, key=lambda row: (row.match is not Match.DIFFERENT, -row.count)))


def _row(group: list[Charge]) -> Row:
    first = group[0]
    seen = [each.credits / each.seconds for each in group]
    said = [(each.nearest, each.seconds) for each in group]
    table = [(price, seconds) for price, seconds in said if price is not None]
    is_known = len(table) == len(said)
    rates = [price / seconds for price, seconds in table]
    return Row(
        kind=first.kind,
        model=first.model,
        resolution=first.resolution,
        audio=first.audio,
        count=len(group),
        different=sum(not each.is_equal for each in group) if is_known else 0,
        credits=sum(each.credits for each in group),
        table=sum(price for price, _ in table) if is_known else None,
        per_second=(min(seen), max(seen)),
        table_per_second=(min(rates), max(rates)) if is_known else None,
    )
