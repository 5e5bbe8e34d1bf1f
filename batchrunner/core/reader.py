"""The manifest's schema: text in, a Manifest or every problem with its place out.

Jobs are composed, checked and brought down to what they ask for one at a time, so that memory never holds the whole
document: `entries` reads them, over values that `typed` has checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from batchrunner.core import checks, findings, retrying, shape, yamltext
from batchrunner.core.budget import Budget
from batchrunner.core.catalog import Catalog
from batchrunner.core.entries import KINDS, Jobs, check_output, name_flaw
from batchrunner.core.findings import Findings
from batchrunner.core.kind import Kind
from batchrunner.core.manifest import Limits, Manifest, Webhooks
from batchrunner.core.problem import Problem, Severity
from batchrunner.core.retry import Policy
from batchrunner.core.typed import Checked, checked, not_yet_keys, problem_at, refused_in_job, value_of

VERSION = 1
DEFAULT_OUTPUT = "renders/{id}.mp4"


def catalog_of(text: str, *, source: str) -> str | None:
    """Return the catalogue file that a manifest names, for which it must be read before `parse`; None without one.

    Whatever else is wrong with the text is left to `parse`.
    """
    if "catalog" not in text:
        return None
    root, _ = yamltext.outline(text, source=source, stream="jobs", report=_leave)
    node = value_of(root, "catalog") if root is not None else None
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
    reader = Jobs(
        catalog=catalog,
        allow_unlisted=allow_unlisted,
        found=found,
        defaults=_defaults(root, catalog, found),
        listed={kind: checks.listed(kind, catalog) for kind in Kind},
    )
    reader.check_defaults()
    per_model = _per_model(root, head, catalog, allow_unlisted=allow_unlisted, found=found)
    jobs = tuple(reader.read(_job_nodes(root, streamed)))
    if reader.count == 0 and not found.has_errors:
        found.add(
            problem_at(value_of(root, "jobs") or root, "empty", "there is not one job in this manifest", path="jobs")
        )
    found.raise_errors()
    return Manifest(
        name=head.get("name", name),
        source=source,
        version=VERSION,
        output=head.get("output", DEFAULT_OUTPUT),
        limits=Limits(**head.get("limits", {})),
        budget=replace(Budget.of(head.get("budget", {})), per_model=per_model),
        retry=Policy.of(head.get("retry", {})),
        webhooks=Webhooks(**head["webhooks"]) if "webhooks" in head else None,
        jobs=jobs,
        warnings=found.warnings(),
        catalog=head.get("catalog"),
    )


# --- the head ------------------------------------------------------------------------------------------------------


def _refuse_other_versions(root: yamltext.Node, found: Findings) -> None:
    """Raise for a manifest that a newer version is needed for: its other problems would only mislead."""
    node = value_of(root, "version")
    if not isinstance(node, yamltext.ScalarNode) or not isinstance(node.value, int) or node.value <= VERSION:
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


def _head(root: yamltext.Node, found: Findings) -> Mapping[str, Any]:
    """Return the usable values of the manifest's own keys."""
    usable = checked(root, shape.Head, prefix="", refused=not_yet_keys(root, "manifest", ""), found=found)
    node = value_of(root, "version")
    if isinstance(node, yamltext.ScalarNode) and isinstance(node.value, int) and node.value < VERSION:
        hint = f"write version: {VERSION}"
        found.add(problem_at(node, "bad-value", f"there is no version {node.text}", path="version", hint=hint))
    if isinstance(usable.values.get("output"), str):
        check_output(root, usable.values["output"], "", found)
    if isinstance(name := usable.values.get("name"), str) and (said := name_flaw(name)):
        found.add(problem_at(value_of(root, "name") or root, "bad-name", said, path="name"))
    for problem in retrying.problems(value_of(root, "retry"), usable.values.get("retry")):
        found.add(problem)
    return usable.values


def _per_model(
    root: yamltext.Node, head: Mapping[str, Any], catalog: Catalog, *, allow_unlisted: bool, found: Findings
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


def _defaults(root: yamltext.Node, catalog: Catalog, found: Findings) -> Mapping[Kind, Checked]:
    """Return the defaults of each kind, checked by type."""
    node = value_of(root, "defaults")
    if not isinstance(node, yamltext.MapNode):
        return {}
    defaults = {}
    for key, entry in node.entries.items():
        if key not in KINDS:
            hint = findings.did_you_mean(key, KINDS)
            found.add(problem_at(entry, "unknown-key", f"there is no kind {yamltext.quoted(key)}", hint=hint))
            continue
        kind, prefix = Kind(key), f"defaults.{key}"
        refused = refused_in_job(entry.node, prefix)
        defaults[kind] = checked(
            entry.node,
            shape.DEFAULTS[kind],
            prefix=prefix,
            refused=refused,
            found=found,
            listed=checks.listed(kind, catalog),
        )
    return defaults


def _job_nodes(root: yamltext.Node, streamed: Iterator[yamltext.Node]) -> Iterator[yamltext.Node]:
    node = value_of(root, "jobs")
    if isinstance(node, yamltext.StreamedNode):
        yield from streamed
    elif isinstance(node, yamltext.ListNode):
        yield from node.items
