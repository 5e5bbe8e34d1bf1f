"""A resolved job -> what an attempt of it would render, at the prices of now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
import json
from typing import Any, TypedDict

from pydantic_core import from_json

from batchrunner.core import budget, pricing, upstream
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import ResolvedJob, Source, request_hash
from batchrunner.core.inputs import Inspected
from batchrunner.core.job import Job, State
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import Ask
from batchrunner.core.once import Once
from batchrunner.core.spec import Input, Spec

_NO_SPECS: Mapping[str, Spec] = {}

_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
"""One for all: `json.dumps` makes a new one at every call."""


class _Price(TypedDict):
    low: int | None
    expected: int | None
    hold: int | None
    is_priced: bool
    basis: str | None
    model: str | None


class _Terms(_Price):
    """A spec but for what jobs that share an ask have each for itself."""

    kind: Kind
    request: str
    inputs: tuple[Input, ...]
    seconds: float
    fingerprint: str
    fps: float | None
    tags: tuple[str, ...]
    priority: int


class Specs:
    """What attempts would render at the prices of now; what jobs have in common is worked out once."""

    def __init__(
        self, contents: Mapping[str, Inspected], catalog: Catalog, *, tier: str | None, history: pricing.History
    ) -> None:
        """Take the inputs' contents, by path as written in the manifest, and what this account was charged before.

        That makes the likely price likelier.
        """
        self._contents = contents
        self._catalog, self._tier, self._history = catalog, tier, history
        self._terms: Once[Ask, _Terms] = Once()

    def of(self, job: ResolvedJob, *, asked: Mapping[str, Spec] = _NO_SPECS, before: Spec | None = None) -> Spec:
        """What an attempt of `job` would render.

        `asked` is what the manifest asks for by job id, of those at least that the job is made from. `before` is what
        is on record of the job: of the same request and inputs, its fingerprint is known.
        """
        needs = tuple(link.job for link in job.links if not link.is_input) if job.links else ()
        terms = self._terms.of(job.ask, lambda: self._terms_of(job, asked, before))
        return Spec(output=job.output, needs=needs, **terms)

    def _terms_of(self, job: ResolvedJob, asked: Mapping[str, Spec], before: Spec | None) -> _Terms:
        contents = self._contents
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
        return _Terms(
            kind=job.kind,
            request=request,
            inputs=inputs,
            seconds=job.seconds,
            fingerprint=known,
            fps=fps,
            tags=job.tags,
            priority=job.priority,
            **self._price(job.kind, job.request, fps=fps, own_hold=job.hold),
        )

    def standing(self, spec: Spec, job: Job | None) -> Spec:
        """What a job is to be now: what the manifest asks for, or another take of it, which a person had made.

        A take stands for as long as the manifest asks for what it asked for then.
        """
        if job is None or job.spec.asked is None or job.spec.asked != spec.fingerprint:
            return spec
        take = replace(job.spec, tags=spec.tags, priority=spec.priority, needs=spec.needs)
        own_hold = None if take.is_priced else take.hold
        return replace(take, **self._price(take.kind, take.body(), fps=take.fps, own_hold=own_hold))

    def _price(self, kind: Kind, request: Mapping[str, Any], *, fps: float | None, own_hold: int | None) -> _Price:
        """What a render costs at the prices of now; `own_hold` is the manifest's figure for what has no price."""
        catalog, tier = self._catalog, self._tier
        price = pricing.estimate(kind, request, catalog, tier=tier, fps=fps)
        model = catalog.renders(kind, request, tier=tier)
        basis = None
        if price is not None:
            sort = pricing.sort_of(kind, request, catalog, tier=tier, model=model)
            price, basis = pricing.calibrated(price, sort, self._history)
        return _Price(
            low=price.low if price else None,
            expected=price.expected if price else own_hold,
            hold=price.hold if price else own_hold,
            is_priced=price is not None,
            basis=basis,
            model=model,
        )


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

    @lru_cache(maxsize=1024)
    def sort_of(kind: Kind, model: str, request: str) -> pricing.Sort:
        """Jobs of a matrix differ in few requests, and each takes long to read."""
        return pricing.sort_of(kind, from_json(request), catalog, tier=tier, model=model)

    charged = (job for job in attempts if budget.dearest_charge(job) is not None)
    return pricing.learn(
        _charge(job, catalog, tier, sort=sort_of(job.kind, budget.group(job.spec).model, job.spec.request))
        for job in charged
    )


def _charge(job: Job, catalog: Catalog, tier: str | None, *, sort: pricing.Sort) -> pricing.Charge:
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
        sort=sort,
        hold=hold,
        settled=settled,
        excess=excess,
    )
