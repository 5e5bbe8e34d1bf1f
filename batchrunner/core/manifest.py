"""The manifest's schema: text in, a Manifest or every problem with its place out.

Jobs are composed, checked and brought down to what they ask for one at a time, so that memory never holds the whole
document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
import re
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from batchrunner.core import checks, explain, findings, outputs, shape, yamltext
from batchrunner.core.budget import Budget
from batchrunner.core.catalog import Catalog
from batchrunner.core.findings import Findings
from batchrunner.core.inputs import Input
from batchrunner.core.kind import Kind
from batchrunner.core.problem import Place, Problem
from batchrunner.core.shape import END

__all__ = ["END", "JobEntry", "Limits", "Manifest", "catalog_of", "parse"]

VERSION = 1
DEFAULT_OUTPUT = "renders/{id}.mp4"

# What the format will have and this version does not: refused, since ignoring it would render or spend otherwise
# than the person meant. Whoever builds one deletes its word here.
NOT_YET: Mapping[str, frozenset[str]] = {
    "manifest": frozenset({"retry", "window", "notify", "vars", "matrix", "include"}),
    "job": frozenset({"matrix", "needs"}),
    "input": frozenset({"glob", "exclude", "sort", "limit", "newer_than", "job"}),
}
_VARIABLE = "${"
_TEMPLATE = re.compile(r"[{}]")

# Control characters, line and paragraph separators, and marks that reverse the direction of a terminal's text.
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_KINDS = tuple(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may go on at once; `in_flight` counts renders submitted and not finished."""

    in_flight: int = 20
    uploads: int = 4
    downloads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """One job as the manifest asks for it, defaults merged, everything checked that needs no file.

    `fields` holds the API's own fields under their own names; nested mappings may be shared between jobs.
    `places` tells where the asset paths and the seconds stand, by field name (`video_file_path`, `end_seconds`, …).
    """

    id: str
    kind: Kind
    fields: Mapping[str, Any]
    inputs: tuple[Input, ...]
    place: Place
    places: Mapping[str, Place]
    tags: tuple[str, ...] = ()
    priority: int = 0
    output: str | None = None
    hold: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest without errors; `warnings` are for showing, `catalog` is the catalogue file it names."""

    name: str
    source: str
    version: int
    output: str
    limits: Limits
    jobs: tuple[JobEntry, ...]
    warnings: tuple[Problem, ...]
    catalog: str | None = None
    budget: Budget = field(default_factory=Budget)


def catalog_of(text: str, *, source: str) -> str | None:
    """Return the catalogue file that a manifest names, for which it must be read before `parse`; None without one.

    Whatever else is wrong with the text is left to `parse`.
    """
    if "catalog" not in text:
        return None
    root, _ = yamltext.outline(text, source=source, stream="jobs", report=_leave)
    node = _value(root, "catalog") if root is not None else None
    return node.value if isinstance(node, yamltext.ScalarNode) and isinstance(node.value, str) else None


def _leave(_: Problem) -> None:
    """Take the report of what another pass reports."""


def parse(text: str, *, source: str, name: str, catalog: Catalog, allow_unlisted: bool = False) -> Manifest:
    """Read a manifest; raises ManifestError with every problem in it, sorted by place.

    `name` is used where the manifest has none. `allow_unlisted` turns what the catalogue does not list or does not
    hold for possible into warnings, for models, styles and limits that the provider added since.
    """
    found = Findings()
    root, streamed = yamltext.outline(text, source=source, stream="jobs", report=found.add)
    if root is None:
        raise found.error()
    _refuse_other_versions(root, found)
    head = _head(root, found)
    reader = _Jobs(
        catalog=catalog,
        allow_unlisted=allow_unlisted,
        found=found,
        defaults=_defaults(root, catalog, found),
        listed={kind: checks.listed(kind, catalog) for kind in Kind},
    )
    reader.check_defaults()
    jobs = tuple(reader.read(_job_nodes(root, streamed)))
    if reader.count == 0 and not found.has_errors:
        found.add(_problem(_value(root, "jobs") or root, "empty", "there is not one job in this manifest", path="jobs"))
    found.raise_errors()
    return Manifest(
        name=head.get("name", name),
        source=source,
        version=VERSION,
        output=head.get("output", DEFAULT_OUTPUT),
        limits=Limits(**head.get("limits", {})),
        budget=Budget.of(head.get("budget", {})),
        jobs=jobs,
        warnings=found.warnings(),
        catalog=head.get("catalog"),
    )


# --- the head ------------------------------------------------------------------------------------------------------


def _refuse_other_versions(root: yamltext.Node, found: Findings) -> None:
    """Raise for a manifest that a newer version is needed for: its other problems would only mislead."""
    node = _value(root, "version")
    if not isinstance(node, yamltext.ScalarNode) or not isinstance(node.value, int) or node.value <= VERSION:
        return
    found.add(
        _problem(
            node,
            "newer-version",
            f"this manifest is written for version {node.text} of the format; this batchrunner reads {VERSION}",
            path="version",
            hint="upgrade batchrunner: pip install --upgrade batchrunner",
        )
    )
    found.raise_errors()


def _head(root: yamltext.Node, found: Findings) -> Mapping[str, Any]:
    """Return the usable values of the manifest's own keys."""
    checked = _checked(root, shape.Head, prefix="", refused=_not_yet_keys(root, "manifest", ""), found=found)
    node = _value(root, "version")
    if isinstance(node, yamltext.ScalarNode) and isinstance(node.value, int) and node.value < VERSION:
        hint = f"write version: {VERSION}"
        found.add(_problem(node, "bad-value", f"there is no version {node.text}", path="version", hint=hint))
    if isinstance(checked.values.get("output"), str):
        _check_output(root, checked.values["output"], "", found)
    if isinstance(name := checked.values.get("name"), str) and (said := _name_flaw(name)):
        found.add(_problem(_value(root, "name") or root, "bad-name", said, path="name"))
    return checked.values


def _defaults(root: yamltext.Node, catalog: Catalog, found: Findings) -> Mapping[Kind, _Checked]:
    """Return the defaults of each kind, checked by type."""
    node = _value(root, "defaults")
    if not isinstance(node, yamltext.MapNode):
        return {}
    defaults = {}
    for key, entry in node.entries.items():
        if key not in _KINDS:
            hint = findings.did_you_mean(key, _KINDS)
            found.add(_problem(entry, "unknown-key", f"there is no kind {yamltext.quoted(key)}", hint=hint))
            continue
        kind, prefix = Kind(key), f"defaults.{key}"
        refused = _refused_in_job(entry.node, prefix)
        defaults[kind] = _checked(
            entry.node,
            shape.DEFAULTS[kind],
            prefix=prefix,
            refused=refused,
            found=found,
            listed=checks.listed(kind, catalog),
        )
    return defaults


def _job_nodes(root: yamltext.Node, streamed: Iterator[yamltext.Node]) -> Iterator[yamltext.Node]:
    node = _value(root, "jobs")
    if isinstance(node, yamltext.StreamedNode):
        yield from streamed
    elif isinstance(node, yamltext.ListNode):
        yield from node.items


# --- values whose type is checked ----------------------------------------------------------------------------------


class _Refused(NamedTuple):
    """A value that is refused before its type is looked at."""

    path: tuple[str | int, ...]
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """The usable values of a node; what was refused is left out and named in `broken`."""

    node: yamltext.Node
    prefix: str
    values: dict[str, Any]
    broken: frozenset[checks.Path] = frozenset()


def _checked(
    node: yamltext.Node,
    model: type[BaseModel],
    *,
    prefix: str,
    refused: list[_Refused],
    found: Findings,
    listed: explain.Listed = explain.NOTHING_LISTED,
) -> _Checked:
    values = yamltext.plain(node)
    broken = {each.path for each in refused}
    for each in refused:
        found.add(each.problem)
    try:
        model.model_validate(values)
    except ValidationError as error:
        for refusal in explain.explain(error, node=node, model=model, prefix=prefix, listed=listed):
            if not any(refusal.path[:end] in broken for end in range(1, len(refusal.path) + 1)):
                found.add(refusal.problem)
                broken.add(refusal.path)
    if not isinstance(values, dict):
        return _Checked(node=node, prefix=prefix, values={}, broken=frozenset({()}))
    for path in broken:
        _remove(values, path)
    return _Checked(node=node, prefix=prefix, values=values, broken=frozenset(_keys_only(path) for path in broken))


def _remove(values: Any, path: tuple[str | int, ...]) -> None:
    """Take out what stands at the path; an item of a list takes its list with it."""
    keys = _keys_only(path)
    for key in keys[:-1]:
        values = values.get(key) if isinstance(values, dict) else None
    if keys and isinstance(values, dict):
        values.pop(keys[-1], None)


def _keys_only(path: tuple[str | int, ...]) -> checks.Path:
    keys: list[str] = []
    for step in path:
        if isinstance(step, int):
            break
        keys.append(step)
    return tuple(keys)


def _not_yet_keys(node: yamltext.Node, where: str, prefix: str) -> list[_Refused]:
    if not isinstance(node, yamltext.MapNode):
        return []
    refused = []
    for key, entry in node.entries.items():
        if key in NOT_YET[where]:
            path = explain.joined(prefix, (key,))
            refused.append(_Refused((key,), _not_yet(entry, key, path=path)))
    return refused


def _refused_in_job(node: yamltext.Node, prefix: str) -> list[_Refused]:
    """Return what a job, or the defaults for jobs, may not have although it is no slip."""
    if not isinstance(node, yamltext.MapNode):
        return []
    refused = _not_yet_keys(node, "job", prefix)
    if "name" in node.entries:
        problem = _problem(
            node.entries["name"],
            "reserved-key",
            "batchrunner names each submission itself so that a lost one can be found",
            path=explain.joined(prefix, ("name",)),
            hint="remove name; the job is known by its id",
        )
        refused.append(_Refused(("name",), problem))
    given = _value(node, "input")
    if isinstance(given, yamltext.MapNode) and NOT_YET["input"].intersection(given.entries):
        keys = f"input: {{{', '.join(given.entries)}}}"
        refused.append(_Refused(("input",), _not_yet(given, keys, path=explain.joined(prefix, ("input",)))))
    refused.extend(_variables(node, prefix, ()))
    return refused


def _variables(node: yamltext.Node, prefix: str, path: checks.Path) -> Iterator[_Refused]:
    """Yield every text that asks for a variable."""
    if isinstance(node, yamltext.MapNode):
        for key, entry in node.entries.items():
            if isinstance(entry.node, yamltext.ScalarNode):
                if _VARIABLE in entry.node.text:
                    here = (*path, key)
                    said = _not_yet(entry.node, "${…}", path=explain.joined(prefix, here))
                    yield _Refused(here, said)
            elif not path:
                yield from _variables(entry.node, prefix, (key,))


def _not_yet(node: yamltext.Node | yamltext.Entry, what: str, *, path: str) -> Problem:
    message = f"{what} is not supported by this version of batchrunner"
    return _problem(node, "not-supported-yet", message, path=path)


def _value(node: yamltext.Node, key: str) -> yamltext.Node | None:
    entry = node.entries.get(key) if isinstance(node, yamltext.MapNode) else None
    return entry.node if entry is not None else None


def _problem(
    node: yamltext.Node | yamltext.Entry, code: str, message: str, *, path: str = "", hint: str | None = None
) -> Problem:
    return Problem(place=yamltext.place_of(node), code=code, message=message, path=path, hint=hint)


# --- jobs ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Jobs:
    """Reads jobs one after the other; remembers the ids, to find those that are taken."""

    catalog: Catalog
    allow_unlisted: bool
    found: Findings
    defaults: Mapping[Kind, _Checked]
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
        for node in nodes:
            prefix = f"jobs[{self.count}]"
            self.count += 1
            if not isinstance(node, yamltext.MapNode):
                message = "a job is a mapping with id, kind and the fields of its request"
                self.found.add(_problem(node, "wrong-type", message, path=prefix))
                continue
            entry = self._entry(node, prefix)
            # Once there is an error no job is needed any more, only the problems of the others.
            if entry is not None and not self.found.has_errors:
                yield entry

    def _entry(self, node: yamltext.MapNode, prefix: str) -> JobEntry | None:
        kind = self._kind(node, prefix)
        model = shape.JOBS[kind] if kind is not None else shape.UnknownJob
        own = _checked(
            node,
            model,
            prefix=prefix,
            refused=_refused_in_job(node, prefix),
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
            hint = f"write kind: {' or kind: '.join(_KINDS)}"
            self.found.add(_problem(node, "missing", "kind is missing", path=f"{prefix}.kind", hint=hint))
            return None
        written = node.entries["kind"].node
        value = written.value if isinstance(written, yamltext.ScalarNode) else None
        if isinstance(value, str) and value in _KINDS:
            return Kind(value)
        hint = findings.did_you_mean(value, _KINDS) if isinstance(value, str) else f"possible: {', '.join(_KINDS)}"
        message = f"{explain.shown_value(written)} is not a kind of render"
        self.found.add(_problem(written, "unlisted", message, path=f"{prefix}.kind", hint=hint))
        return None

    def _check_id(self, own: _Checked) -> None:
        job_id = own.values.get("id")
        if not isinstance(job_id, str):
            return
        node = _value(own.node, "id") or own.node
        path = f"{own.prefix}.id"
        if said := _id_flaw(job_id):
            self.found.add(_problem(node, "bad-id", said, path=path))
        elif _TEMPLATE.search(job_id):
            self.found.add(_not_yet(node, "a template as id", path=path))
        key = outputs.collision_key(job_id)
        first = self._lines.get(key)
        if first is None:
            self._lines[key] = node.line
        else:
            message = f"the id {yamltext.quoted(job_id)} is taken by the job in line {first}"
            hint = "ids must differ by more than upper and lower case"
            self.found.add(_problem(node, "duplicate-id", message, path=path, hint=hint))

    def _check_frame(self, own: _Checked) -> None:
        """Check what a job has beside the provider's fields."""
        if isinstance(template := own.values.get("output"), str):
            _check_output(own.node, template, own.prefix, self.found)
        if isinstance(own.values.get("input"), str) and isinstance(own.values.get("assets"), dict):
            main = {*checks.MAIN_ASSET.values(), "youtube_url"}.intersection(own.values["assets"])
            if main:
                message = f"input and assets.{min(main)} say the same thing twice"
                node = _value(own.node, "input") or own.node
                self.found.add(_problem(node, "conflict", message, path=f"{own.prefix}.input", hint="remove one"))

    def _draft(self, kind: Kind, own: _Checked) -> checks.Draft:
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


def _check_output(node: yamltext.Node, template: str, prefix: str, found: Findings) -> None:
    """Check the template that stands at the node's key `output`."""
    if flaw := outputs.flaw_of(template):
        node, path = _value(node, "output") or node, explain.joined(prefix, ("output",))
        found.add(_problem(node, flaw.code, flaw.message, path=path, hint=flaw.hint))


def _name_flaw(name: str) -> str | None:
    if _UNSHOWABLE.search(name):
        return "this must not contain control characters"
    if name != name.strip():
        return "this must not begin or end with a space"
    return None


def _id_flaw(job_id: str) -> str | None:
    if said := _name_flaw(job_id):
        return said
    if "\\" in job_id:
        return "an id must not contain a backslash; / makes sub-folders"
    if not {"", ".", ".."}.isdisjoint(job_id.split("/")):
        return "an id must not contain empty parts, . or .. between its slashes"
    return None
