"""A resolved job -> what an attempt of it would render, at the prices of now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
import json
from typing import Any, TypedDict

from batchrunner.core import budget, pricing, upstream
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import ResolvedJob, Source, request_hash
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.spec import Input, Spec

_NO_SPECS: Mapping[str, Spec] = {}

_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
"""One for all: `json.dumps` makes a new one at every call."""


def spec_of(
    job: ResolvedJob,
    contents: Mapping[str, Inspected],
    catalog: Catalog,
    *,
    tier: str | None,
    history: pricing.History,
    asked: Mapping[str, Spec] = _NO_SPECS,
    before: Spec | None = None,
) -> Spec:
    """What an attempt of `job` would render; `contents` by path as written in the manifest.

    `history` is what this account was charged before: it makes the likely price likelier. `asked` is what the manifest
    asks for by job id, of those at least that the job is made from. `before` is what is on record of the job: of the
    same request and inputs, its fingerprint is known.
    """
    inputs = tuple(_input(each.field, each.media, each.source, each.value, contents) for each in job.inputs)
    clip = next((contents[each.value] for each in job.inputs if each.value in contents), None)
    fps = clip.facts.fps if clip else None
    if job.source is not None:
        inputs += (upstream.input_of(job.source, asked[job.source]),)
        fps = upstream.fps_of(asked[job.source])
    request = _COMPACT.encode(job.request)
    if before is not None and (before.kind, before.request, before.inputs) == (job.kind, request, inputs):
        # The texts that are held already, too.
        request, inputs, known = before.request, before.inputs, before.fingerprint
    else:
        known = fingerprint(job.kind, job.request, inputs)
    return Spec(
        kind=job.kind,
        request=request,
        inputs=inputs,
        output=job.output,
        seconds=job.seconds,
        fingerprint=known,
        fps=fps,
        tags=job.tags,
        priority=job.priority,
        needs=tuple(link.job for link in job.links if not link.is_input),
        **_price(job.kind, job.request, catalog, tier=tier, history=history, fps=fps, own_hold=job.hold),
    )


class _Price(TypedDict):
    low: int | None
    expected: int | None
    hold: int | None
    is_priced: bool
    basis: str | None
    model: str | None


def _price(
    kind: Kind,
    request: Mapping[str, Any],
    catalog: Catalog,
    *,
    tier: str | None,
    history: pricing.History,
    fps: float | None,
    own_hold: int | None,
) -> _Price:
    """What a render costs at the prices of now; `own_hold` is the manifest's figure for what has no price."""
    price = pricing.estimate(kind, request, catalog, tier=tier, fps=fps)
    model = catalog.renders(kind, request, tier=tier)
    basis = None
    if price is not None:
        sort = pricing.sort_of(kind, request, catalog, tier=tier, model=model)
        price, basis = pricing.calibrated(price, sort, history)
    return _Price(
        low=price.low if price else None,
        expected=price.expected if price else own_hold,
        hold=price.hold if price else own_hold,
        is_priced=price is not None,
        basis=basis,
        model=model,
    )


def standing(spec: Spec, job: Job | None, catalog: Catalog, *, tier: str | None, history: pricing.History) -> Spec:
    """What a job is to be now: what the manifest asks for, or another take of just that, which a person had made.

    A take stands for as long as the manifest asks for what it asked for then.
    """
    if job is None or job.spec.asked is None or job.spec.asked != spec.fingerprint:
        return spec
    take = replace(job.spec, tags=spec.tags, priority=spec.priority, needs=spec.needs)
    own_hold = None if take.is_priced else take.hold
    price = _price(take.kind, take.body(), catalog, tier=tier, history=history, fps=take.fps, own_hold=own_hold)
    return replace(take, **price)


def fingerprint(kind: Kind, request: Mapping[str, Any], inputs: Sequence[Input]) -> str:
    """SHA-256 over the request and the content of its inputs: what decides whether a job changed.

    A local file counts by what is in it, not by where it lies; another job's render by what is asked of that job, not
    by its id; the output's place does not count.
    """
    assets = dict(request.get("assets", {}))
    assets |= {each.field: f"sha256:{each.sha256}" for each in inputs if each.sha256}
    assets |= {each.field: f"job:{each.made_from}" for each in inputs if each.made_from}
    return request_hash({"kind": kind, "request": {**request, "assets": assets}})


def _input(field: str, media: str, source: Source, value: str, contents: Mapping[str, Inspected]) -> Input:
    if source is not Source.LOCAL:
        return Input(field=field, media=media, reference=value)
    content = contents[value]
    return Input(field=field, media=media, path=value, sha256=content.sha256, size=content.size)


def history_of(attempts: Iterable[Job], catalog: Catalog, *, tier: str | None) -> pricing.History:
    """What attempts were charged against their holds; the next estimates learn from it."""
    return pricing.learn(_charge(job, catalog, tier) for job in attempts if budget.dearest_charge(job) is not None)


def _charge(job: Job, catalog: Catalog, tier: str | None) -> pricing.Charge:
    """What one attempt was charged; of one that had no price when it was bought, how far above the price of now."""
    hold, spec = job.spec.hold or 0, job.spec
    charge = budget.dearest_charge(job) or 0
    excess = pricing.NONE_ABOVE
    if charge > hold or not spec.is_priced:
        # Against the catalogue of now: a person may have corrected the price since, or added it.
        price = pricing.estimate(job.kind, spec.body(), catalog, tier=tier, fps=spec.fps)
        excess = max(excess, Fraction(charge, price.hold)) if price is not None and price.hold else excess
    settled = job.charged if job.state is State.DONE and job.held is not None and spec.is_priced else None
    return pricing.Charge(
        sort=pricing.sort_of(job.kind, spec.body(), catalog, tier=tier, model=budget.group(spec).model),
        hold=hold,
        settled=settled,
        excess=excess,
    )
