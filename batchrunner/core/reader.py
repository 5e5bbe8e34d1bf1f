"""The manifest's schema: text in, a Manifest or every problem with its place out.

Jobs are composed, checked and brought down to what they ask for one at a time, so that memory never holds the whole
document: `entries` reads them, over values that `typed` has checked. `includes` puts several files together,
`variables` fills in what stands for something else, `layers` knows the defaults, `matrix` makes many jobs of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchrunner.core import checks, includes, layers, naming, notices, retrying, shape, windowing, yamltext
from batchrunner.core.bodies import Read
from batchrunner.core.budget import Budget
from batchrunner.core.catalog import Catalog
from batchrunner.core.entries import Jobs, check_output, name_flaw
from batchrunner.core.findings import Findings
from batchrunner.core.includes import Around, Files, Part
from batchrunner.core.kind import Kind
from batchrunner.core.leftout import LeftOut
from batchrunner.core.manifest import JobEntry, Limits, Manifest, Webhooks
from batchrunner.core.notices import ALL, Sort
from batchrunner.core.problem import Problem, Severity
from batchrunner.core.retry import Policy
from batchrunner.core.typed import checked, problem_at, value_of
from batchrunner.core.variables import Refused, Variables, masking
from batchrunner.core.yamltext import MapNode, Node, ScalarNode

__all__ = [
    "DEFAULT_OUTPUT",
    "VERSION",
    "Around",
    "Opened",
    "Reading",
    "catalog_of",
    "opened",
    "parse",
    "read",
    "read_head",
]

VERSION = 1
DEFAULT_OUTPUT = "renders/{id}.mp4"

# What is read in another way than the rest of the head: by itself, or job by job.
_READ_APART = frozenset({"include", "vars", "env", "defaults", "jobs"})


def catalog_of(text: str, *, source: str, around: Around | None = None) -> str | None:
    """Return the catalogue file that a manifest names, for which it must be read before `parse`; None without one.

    Whatever else is wrong with the text is left to `parse`.
    """
    if "catalog" not in text:
        return None
    around = around or Around()
    root = Files(around=around, report=_leave).gather(text, source)
    node = value_of(root, "catalog") if root is not None else None
    if root is None or node is None:
        return None
    node, refused = includes.variables_of(root, source, around).fill(node, "catalog")
    return node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) and not refused else None


def _leave(_: Problem) -> None:
    """Take the report of what another pass reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A manifest as far as it could be read, and what was found on the way.

    Attributes:
        manifest: its jobs are those without an error.
        found: every problem so far; with an error among them the manifest is not to be used.
        left: what is known of the jobs that have one.
    """

    manifest: Manifest
    found: Findings
    left: LeftOut


def parse(
    text: str,
    *,
    source: str,
    name: str,
    catalog: Catalog,
    allow_unlisted: bool = False,
    around: Around | None = None,
) -> Manifest:
    """Read a manifest; raises ManifestError with every problem in it, sorted by place.

    `name` is used where the manifest has none. `allow_unlisted` turns what the catalogue does not list or does not
    hold for possible into warnings, for models, styles and limits that the provider added since.
    """
    reading = read(
        text, source=source, name=name, catalog=catalog, allow_unlisted=allow_unlisted, around=around or Around()
    )
    reading.found.raise_errors()
    return reading.manifest


def read(
    text: str, *, source: str, name: str, catalog: Catalog, around: Around, allow_unlisted: bool = False
) -> Reading:
    """Read a manifest as far as that goes; what is wrong is in the findings.

    Raises:
        ManifestError: it is no manifest at all, or one for a newer version.
    """
    manifest = opened(text, source=source, catalog=catalog, allow_unlisted=allow_unlisted, around=around)
    jobs = tuple(each.entry for each in manifest.reads())
    return Reading(
        manifest=_manifest(manifest, jobs, source=source, name=name),
        found=manifest.found,
        left=manifest.jobs.left.so_far(is_torn=manifest.files.is_torn),
    )


def read_head(text: str, *, source: str, name: str, catalog: Catalog, around: Around) -> Manifest:
    """Read everything of a manifest but its jobs, which are not looked at; what is wrong elsewhere is passed over.

    Raises:
        ManifestError: it is no manifest at all, or one for a newer version.
    """
    manifest = opened(text, source=source, catalog=catalog, allow_unlisted=True, around=around)
    return _manifest(manifest, (), source=source, name=name)


def _manifest(read: Opened, jobs: tuple[JobEntry, ...], *, source: str, name: str) -> Manifest:
    """Return the manifest with these jobs; where something in it is wrong, with the usual limits and policies."""
    head, found = read.head, read.found
    usable = {} if found.has_errors else head
    return Manifest(
        name=head.get("name", name),
        source=source,
        version=VERSION,
        output=head.get("output", DEFAULT_OUTPUT),
        limits=Limits(**usable.get("limits", {})),
        budget=replace(Budget.of(usable.get("budget", {})), per_model=read.per_model),
        retry=Policy.of(usable.get("retry", {})),
        window=windowing.window_of(usable.get("window", {})),
        webhooks=Webhooks(**usable["webhooks"]) if "webhooks" in usable else None,
        notify=tuple(map(Sort, usable["notify"]["on"])) if "notify" in usable else ALL,
        on_job_done=notices.words_of(usable.get("on_job_done", ())),
        jobs=jobs,
        warnings=found.warnings(),
        catalog=head.get("catalog"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A manifest whose head is read, and whose jobs are about to be.

    Attributes:
        root: the manifest's own keys, and what it shares with the files it includes.
        head: the usable values of them, without defaults and jobs; `head_node` is where they stand.
        per_model: the budget's caps by the models that really render.
        files: the manifest and the files it includes.
        jobs: reads the jobs.
    """

    root: Node
    head: Mapping[str, Any]
    head_node: Node
    per_model: Mapping[str, int]
    files: Files
    variables: Variables
    jobs: Jobs
    found: Findings

    def reads(self) -> Iterator[Read]:
        """Yield the jobs without an error, and tell the problems of the others; to be asked for once."""
        for part in self.files.parts:
            yield from self.jobs.read(part.job_nodes())
        for problem in self.variables.unused(is_torn=self.files.is_torn):
            self.found.add(problem)
        if flaw := naming.unknown_in(self.jobs.output, frozenset(self.jobs.own_keys)):
            self.found.add(problem_at(self.jobs.output_node, flaw.code, flaw.message, path="output", hint=flaw.hint))
        if self.jobs.count == 0 and not self.found.has_errors:
            node = value_of(self.root, "jobs") or self.root
            self.found.add(problem_at(node, "empty", "there is not one job in this manifest", path="jobs"))


def opened(text: str, *, source: str, catalog: Catalog, around: Around, allow_unlisted: bool = False) -> Opened:
    """Read everything of a manifest but its jobs.

    Raises:
        ManifestError: it is no manifest at all, or one for a newer version.
    """
    found = Findings()
    files = Files(around=around, report=found.add)
    root = files.gather(text, source)
    if root is None:
        raise found.error()
    for part in files.parts:
        _refuse_other_versions(part.root, found)
    variables = includes.variables_of(root, source, around)
    if variables.environ:
        found.mask = masking(variables)
    for problem in variables.check():
        found.add(problem)
    for part in files.included():
        _check_included(part, variables, found)
    head_node, head = _head(root, variables, found)
    for problem in windowing.problems(value_of(head_node, "window"), head.get("window"), zones=around.zones):
        found.add(problem)
    listed: dict[Kind | None, Any] = {kind: checks.listed(kind, catalog) for kind in Kind}
    jobs = Jobs(
        catalog=catalog,
        allow_unlisted=allow_unlisted,
        found=found,
        variables=variables,
        defaults=layers.read(value_of(root, "defaults"), listed=listed, variables=variables, found=found),
        listed=listed,
        output=head.get("output", DEFAULT_OUTPUT),
        output_node=value_of(root, "output") or root,
    )
    jobs.check_defaults()
    per_model = _per_model(head_node, head, catalog, allow_unlisted=allow_unlisted, found=found)
    return Opened(
        root=root,
        head=head,
        per_model=per_model,
        head_node=head_node,
        files=files,
        variables=variables,
        jobs=jobs,
        found=found,
    )


# --- the head ------------------------------------------------------------------------------------------------------


def _refuse_other_versions(root: Node, found: Findings) -> None:
    """Raise for a manifest that a newer version is needed for: its other problems would only mislead."""
    node = value_of(root, "version")
    if not isinstance(node, ScalarNode) or not isinstance(node.value, int) or node.value <= VERSION:
        return
    found.add(
        problem_at(
            node,
            "newer-version",
            f"this manifest is written for version {node.text} of the format; this batchrunner reads {VERSION}",
            path="version",
            hint="upgrade batchrunner: pip install --upgrade batchrunner",
        )
    )
    found.raise_errors()


def _check_included(part: Part, variables: Variables, found: Findings) -> None:
    """Check what an included file says by itself, even where another file says otherwise."""
    node, refused = _filled(part.root, variables)
    checked(node, shape.Included, prefix="", refused=refused, found=found)


def _filled(root: Node, variables: Variables) -> tuple[Node, list[Refused]]:
    """Return the head with its variables filled in; what is read apart stays as it is."""
    if not isinstance(root, MapNode):
        return root, []
    head = root._replace(entries={key: each for key, each in root.entries.items() if key not in _READ_APART})
    filled, refused = variables.fill(head, "")
    assert isinstance(filled, MapNode)
    return root._replace(entries={**root.entries, **filled.entries}), refused


def _head(root: Node, variables: Variables, found: Findings) -> tuple[Node, Mapping[str, Any]]:
    """Return the manifest's own keys, and their usable values."""
    root, unknown = _filled(root, variables)
    usable = checked(root, shape.Head, prefix="", refused=unknown, found=found)
    node = value_of(root, "version")
    if isinstance(node, ScalarNode) and isinstance(node.value, int) and node.value < VERSION:
        hint = f"write version: {VERSION}"
        found.add(problem_at(node, "bad-value", f"there is no version {node.text}", path="version", hint=hint))
    if isinstance(usable.values.get("output"), str):
        check_output(root, usable.values["output"], "", found)
    if isinstance(name := usable.values.get("name"), str) and (said := name_flaw(name)):
        found.add(problem_at(value_of(root, "name") or root, "bad-name", said, path="name"))
    for problem in retrying.problems(value_of(root, "retry"), usable.values.get("retry")):
        found.add(problem)
    return root, {key: value for key, value in usable.values.items() if key not in _READ_APART}


def _per_model(
    root: Node, head: Mapping[str, Any], catalog: Catalog, *, allow_unlisted: bool, found: Findings
) -> Mapping[str, int]:
    """Return the caps by the models that really render: an old name means the one that it leads to."""
    caps: dict[str, int] = {}
    listed = checks.capped_names(catalog)
    for written, cap in head.get("budget", {}).get("per_model", {}).items():
        name = listed.get(written, written)
        entry = yamltext.locate(root, ("budget", "per_model", written))
        path = f"budget.per_model.{written}"
        if written not in listed:
            message = f"{yamltext.quoted(written)} is no model of the catalogue, so this cap would count nothing"
            problem = problem_at(entry, "unlisted", message, path=path, hint=checks.capped_hint(written, catalog))
            found.add(replace(problem, severity=Severity.WARNING) if allow_unlisted else problem)
        elif name in caps:
            message = f"the model {name} has a cap already"
            found.add(problem_at(entry, "conflict", message, path=path, hint="remove one"))
        caps[name] = cap
    return caps
