"""Jobs of a manifest, read one after the other. Part of the reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
import re
from typing import Any

from batchrunner.core import checks, explain, findings, outputs, shape, yamltext
from batchrunner.core.catalog import Catalog
from batchrunner.core.findings import Findings
from batchrunner.core.inputs import Input
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import JobEntry
from batchrunner.core.problem import Place, Problem
from batchrunner.core.typed import Checked, checked, not_yet, problem_at, refused_in_job, value_of

_TEMPLATE = re.compile(r"[{}]")

# Control characters, line and paragraph separators, and marks that reverse the direction of a terminal's text.
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
KINDS = tuple(Kind)


@dataclass(slots=True, kw_only=True)
class Jobs:
    """Reads jobs one after the other; remembers the ids, to find those that are taken."""

    catalog: Catalog
    allow_unlisted: bool
    found: Findings
    defaults: Mapping[Kind, Checked]
    listed: Mapping[Kind | None, explain.Listed]
    count: int = 0
    _lines: dict[str, int] = field(default_factory=dict)

    def check_defaults(self) -> None:
        """Check the values of defaults by themselves, whether or not a job uses them."""
        for kind, given in self.defaults.items():
            draft = checks.Draft(
                kind=kind, values=given.values, node=given.node, prefix=given.prefix, broken=given.broken
            )
            self._tell(checks.check_values(draft, self.catalog, allow_unlisted=self.allow_unlisted))
            self._tell(checks.read_inputs(draft, self.catalog)[1])
            self._check_frame(given)

    def read(self, nodes: Iterator[yamltext.Node]) -> Iterator[JobEntry]:
        """Yield the jobs, until there is an error; go on then for the problems of the others."""
        for node in nodes:
            prefix = f"jobs[{self.count}]"
            self.count += 1
            if not isinstance(node, yamltext.MapNode):
                message = "a job is a mapping with id, kind and the fields of its request"
                self.found.add(problem_at(node, "wrong-type", message, path=prefix))
                continue
            entry = self._entry(node, prefix)
            # Once there is an error no job is needed any more, only the problems of the others.
            if entry is not None and not self.found.has_errors:
                yield entry

    def _entry(self, node: yamltext.MapNode, prefix: str) -> JobEntry | None:
        kind = self._kind(node, prefix)
        model = shape.JOBS[kind] if kind is not None else shape.UnknownJob
        own = checked(
            node,
            model,
            prefix=prefix,
            refused=refused_in_job(node, prefix),
            found=self.found,
            listed=self.listed.get(kind, explain.NOTHING_LISTED),
        )
        self._check_id(own)
        self._check_frame(own)
        if kind is None:
            return None
        draft = self._draft(kind, own)
        inputs, problems = checks.read_inputs(draft, self.catalog)
        self._tell(problems)
        self._tell(checks.check_job(draft, self.catalog, allow_unlisted=self.allow_unlisted))
        self._tell(checks.check_end(draft, inputs))
        if self.found.has_errors:
            return None
        return _job_entry(draft, inputs)

    def _kind(self, node: yamltext.MapNode, prefix: str) -> Kind | None:
        if "kind" not in node.entries:
            hint = f"write kind: {' or kind: '.join(KINDS)}"
            self.found.add(problem_at(node, "missing", "kind is missing", path=f"{prefix}.kind", hint=hint))
            return None
        written = node.entries["kind"].node
        value = written.value if isinstance(written, yamltext.ScalarNode) else None
        if isinstance(value, str) and value in KINDS:
            return Kind(value)
        hint = findings.did_you_mean(value, KINDS) if isinstance(value, str) else f"possible: {', '.join(KINDS)}"
        message = f"{explain.shown_value(written)} is not a kind of render"
        self.found.add(problem_at(written, "unlisted", message, path=f"{prefix}.kind", hint=hint))
        return None

    def _check_id(self, own: Checked) -> None:
        job_id = own.values.get("id")
        if not isinstance(job_id, str):
            return
        node = value_of(own.node, "id") or own.node
        path = f"{own.prefix}.id"
        if said := _id_flaw(job_id):
            self.found.add(problem_at(node, "bad-id", said, path=path))
        elif _TEMPLATE.search(job_id):
            self.found.add(not_yet(node, "a template as id", path=path))
        key = outputs.collision_key(job_id)
        first = self._lines.get(key)
        if first is None:
            self._lines[key] = node.line
        else:
            message = f"the id {yamltext.quoted(job_id)} is taken by the job in line {first}"
            hint = "ids must differ by more than upper and lower case"
            self.found.add(problem_at(node, "duplicate-id", message, path=path, hint=hint))

    def _check_frame(self, own: Checked) -> None:
        """Check what a job has beside the provider's fields."""
        if isinstance(template := own.values.get("output"), str):
            check_output(own.node, template, own.prefix, self.found)
        if isinstance(own.values.get("input"), str) and isinstance(own.values.get("assets"), dict):
            main = {*checks.MAIN_ASSET.values(), "youtube_url"}.intersection(own.values["assets"])
            if main:
                message = f"input and assets.{min(main)} say the same thing twice"
                node = value_of(own.node, "input") or own.node
                self.found.add(problem_at(node, "conflict", message, path=f"{own.prefix}.input", hint="remove one"))

    def _draft(self, kind: Kind, own: Checked) -> checks.Draft:
        """Return the job's values over the defaults of its kind, with `input` at its place in the request."""
        given = self.defaults.get(kind)
        values = _merged(given.values, own.values) if given is not None else own.values
        broken = own.broken | given.broken if given is not None else own.broken
        moved: dict[checks.Path, checks.Path] = {}
        main = ("assets", checks.MAIN_ASSET[kind])
        if "input" in values:
            values = {**values, "assets": {**values.get("assets", {}), main[1]: values["input"]}}
            moved[main] = ("input",)
        if ("input",) in broken:
            broken |= {main}
        return checks.Draft(
            kind=kind,
            values=values,
            node=own.node,
            defaults=given.node if given is not None else None,
            prefix=own.prefix,
            broken=broken,
            moved=moved,
        )

    def _tell(self, problems: Iterator[Problem] | list[Problem]) -> None:
        for problem in problems:
            self.found.add(problem)


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the own values over the defaults; blocks of both are merged, a block of one is shared."""
    merged = {**defaults, **own}
    for key, value in own.items():
        below = defaults.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = {**below, **value}
    return merged


def _job_entry(draft: checks.Draft, inputs: list[Input]) -> JobEntry:
    values = draft.values
    return JobEntry(
        id=values["id"],
        kind=draft.kind,
        fields=_request_fields(draft),
        inputs=tuple(inputs),
        place=yamltext.place_of(draft.node),
        places=_places(draft, inputs),
        tags=tuple(values.get("tags", ())),
        priority=values.get("priority", 0),
        hold=values.get("hold"),
        output=values.get("output"),
    )


def _places(draft: checks.Draft, inputs: list[Input]) -> dict[str, Place]:
    seconds = ("start_seconds", "end_seconds") if draft.kind is Kind.VIDEO_TO_VIDEO else ()
    return {each.field: draft.place("assets", each.field) for each in inputs} | {
        name: draft.place(name) for name in seconds
    }


def _request_fields(draft: checks.Draft) -> dict[str, Any]:
    """Return the provider's fields, with those that it requires and that follow from the others."""
    fields = {key: value for key, value in draft.values.items() if key not in shape.OWN_KEYS}
    if draft.kind is Kind.VIDEO_TO_VIDEO:
        fields.setdefault("start_seconds", 0)
        assets = fields["assets"]
        if "video_source" not in assets:
            source = "youtube" if "youtube_url" in assets else "file"
            fields["assets"] = {"video_source": source, **assets}
    return fields


def check_output(node: yamltext.Node, template: str, prefix: str, found: Findings) -> None:
    """Check the template that stands at the node's key `output`."""
    if flaw := outputs.flaw_of(template):
        node, path = value_of(node, "output") or node, explain.joined(prefix, ("output",))
        found.add(problem_at(node, flaw.code, flaw.message, path=path, hint=flaw.hint))


def name_flaw(name: str) -> str | None:
    """Return what makes a text unfit to be shown and sent as a name; None for a good one."""
    if _UNSHOWABLE.search(name):
        return "this must not contain control characters"
    if name != name.strip():
        return "this must not begin or end with a space"
    return None


def _id_flaw(job_id: str) -> str | None:
    if said := name_flaw(job_id):
        return said
    if "\\" in job_id:
        return "an id must not contain a backslash; / makes sub-folders"
    if not {"", ".", ".."}.isdisjoint(job_id.split("/")):
        return "an id must not contain empty parts, . or .. between its slashes"
    return None
