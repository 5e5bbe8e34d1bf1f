"""Jobs of a manifest, read one after the other. Part of the reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from batchrunner.core import (
    bodies,
    checks,
    explain,
    findings,
    folder as folders,
    links,
    matrix,
    naming,
    outputs,
    shape,
    yamltext,
)
from batchrunner.core.bodies import Body, Names, Read
from batchrunner.core.catalog import Catalog
from batchrunner.core.findings import Findings
from batchrunner.core.folder import Folder
from batchrunner.core.inputs import Input
from batchrunner.core.kind import Kind
from batchrunner.core.layers import KINDS, Defaults
from batchrunner.core.leftout import Noted
from batchrunner.core.matrix import Variant
from batchrunner.core.problem import Problem, Severity
from batchrunner.core.typed import Checked, checked, problem_at, refused_in_job, value_of
from batchrunner.core.variables import Refused, Variables
from batchrunner.core.yamltext import MapNode, Node

# Once a combination of a matrix is wrong, so many more are looked at for other problems.
_TRIED_AFTER_AN_ERROR = 1000


@dataclass(slots=True, kw_only=True)
class Jobs:
    """Reads jobs one after the other; remembers the ids, to find those that are taken."""

    catalog: Catalog
    allow_unlisted: bool
    found: Findings
    variables: Variables
    defaults: Defaults
    listed: Mapping[Kind | None, explain.Listed]
    output: str
    """The manifest's template, for jobs without one of their own, and where it stands."""
    output_node: Node
    count: int = 0
    own_keys: set[str] = field(default_factory=set)
    """Every key of a matrix that is no field, in all jobs."""
    left: Noted = field(default_factory=Noted)
    """What is known of the jobs that have errors."""
    _owners: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    def check_defaults(self) -> None:
        """Check the values of defaults by themselves, whether or not a job uses them."""
        for layer in self.defaults.layers:
            given = layer.given
            draft = checks.Draft(
                kind=layer.kind, values=given.values, node=given.node, prefix=given.prefix, broken=given.broken
            )
            self._tell(checks.check_values(draft, self.catalog, allow_unlisted=self.allow_unlisted))
            self._tell(checks.read_inputs(draft, self.catalog)[1])
            self._check_frame(given)

    def read(self, nodes: Iterator[Node]) -> Iterator[Read]:
        """Yield the jobs of one file that are without errors; tell the problems of the others."""
        for index, node in enumerate(nodes):
            prefix = f"jobs[{index}]"
            if not isinstance(node, MapNode):
                self.count += 1
                self.left.has_nameless = True
                message = "a job is a mapping with id, kind and the fields of its request"
                self.found.add(problem_at(node, "wrong-type", message, path=prefix))
                continue
            filled, refused = self.variables.fill(node, prefix)
            assert isinstance(filled, MapNode)
            if "matrix" in filled.entries:
                yield from self._variants(filled, prefix, refused)
            elif (read := self._job(filled, prefix, refused)) is not None:
                yield read

    # --- a matrix ----------------------------------------------------------------------------------------------------

    def _variants(self, node: MapNode, prefix: str, refused: list[Refused]) -> Iterator[Read]:
        kind = self._kind(node, prefix)
        given = None
        if not any(each.path[0] == "matrix" for each in refused):
            fields = tuple(key for each in ([kind] if kind else KINDS) for key in explain.keys_at(shape.JOBS[each], ()))
            where = f"{prefix}.matrix"
            given = matrix.read(node.entries["matrix"].node, prefix=where, fields=fields, report=self.found.add)
        if given is None or kind is None:
            self.count += 1
            self.left.has_nameless = True
            plain = node._replace(entries={key: each for key, each in node.entries.items() if key != "matrix"})
            self._checked(plain, kind, prefix, refused)
            return
        self._check_own_keys(node, given, kind, prefix)
        base = node._replace(entries={key: each for key, each in node.entries.items() if key != "matrix"})
        is_typed = self._check_types_once(base, given, prefix, refused)
        values = yamltext.plain(base)
        tried, may_share = 0, given.has_own_keys()
        known: dict[tuple[int, ...], Body] = {}
        for variant in given.variants():
            body = known.get(variant.asked) if may_share else None
            if body is not None:
                read = self._alike(body, variant, given)
            elif is_typed:
                own = Checked(node=base, prefix=prefix, values=matrix.plain(values, variant))
                read = self._job(base, prefix, refused, own=own, variant=variant, of=given)
            else:
                read = self._job(matrix.overlaid(base, variant), prefix, refused, variant=variant, of=given)
            if read is not None:
                if may_share and body is None:
                    known[variant.asked] = bodies.shared(read.body)
                yield read
            tried += read is None or tried > 0
            if tried > _TRIED_AFTER_AN_ERROR:
                self.left.has_nameless = True
                return

    def _check_types_once(self, base: MapNode, given: matrix.Matrix, prefix: str, refused: list[Refused]) -> bool:
        """Check the type of each value once, where the combinations are many more; tell whether all of them are good.

        No type depends on another field's value, so a combination of good values has good types, too.
        """
        singles = sum(len(axis.values) for axis in given.axes)
        if refused or singles * 4 > given.combinations():
            return False
        told = self.found.errors_told
        for variant in given.singles():
            single = matrix.overlaid(base, variant)
            self._checked(single, self._kind(single, prefix), prefix, refused)
        return self.found.errors_told == told

    def _check_own_keys(self, node: MapNode, given: matrix.Matrix, kind: Kind, prefix: str) -> None:
        """Tell of keys that are neither a field nor used in a template: slips, that would render something else."""
        own = {axis.key: axis for axis in given.axes if not axis.path}
        self.own_keys.update(own)
        if not own:
            return
        tags = [yamltext.plain(tags)] if (tags := value_of(node, "tags")) is not None else [None]
        outputs_ = [value_of(node, "output"), yamltext.exact(self.defaults.for_job(kind, tags[0]).node, ("output",))]
        written = [value_of(node, "id"), *outputs_]
        used = {name for each in written if each is not None for name in naming.names_of(each)}
        base = {key: yamltext.plain(each.node) for key, each in node.entries.items() if key in {"input", "needs"}}
        used.update(name for _, each in links.written(base) for name in naming.names_of(each))
        used.update(naming.names_of(self.output))
        for key, axis in own.items():
            if key not in used:
                fields = explain.keys_at(shape.JOBS[kind], ())
                near = findings.nearest(key, fields)
                hint = f"did you mean {near}?" if near else f'use it: id: "…-{{{key}}}"'
                message = f"{yamltext.quoted(key)} is no field of a job, and neither id nor output has {{{key}}}"
                self.found.add(problem_at(axis.entry, "unknown-key", message, path=f"{prefix}.matrix.{key}", hint=hint))

    # --- one job -----------------------------------------------------------------------------------------------------

    def _job(
        self,
        node: MapNode,
        prefix: str,
        refused: list[Refused],
        *,
        own: Checked | None = None,
        variant: Variant | None = None,
        of: matrix.Matrix | None = None,
    ) -> Read | None:
        self.count += 1
        told = self.found.errors_told
        kind = self._kind(node, prefix)
        own = own or self._checked(node, kind, prefix, refused)
        self._check_frame(own)
        if kind is None:
            self.left.note(self._literal_id(own), own.node, prefix)
            return None
        below = self.defaults.for_job(kind, own.values.get("tags"))
        draft = bodies.draft_of(kind, own, below, variant)
        given, problems = checks.read_inputs(draft, self.catalog)
        self._tell(problems)
        folder = self._folder(draft)
        names = self._names(draft, given, of)
        self._tell(checks.check_job(draft, self.catalog, allow_unlisted=self.allow_unlisted))
        self._tell(checks.check_end(draft, given))
        # What is refused in the defaults is told of them, once; without its end, no job can be made of what is left.
        if self.found.errors_told > told or names.id is None or draft.is_broken("end_seconds"):
            self._leave_out(draft, given, names)
            return None
        body = Body(bodies.ask_of(draft, given, folder), draft, given, below.layers)
        return Read(bodies.entry_of(body, names, names.id), draft, body)

    def _alike(self, body: Body, variant: Variant, of: matrix.Matrix) -> Read | None:
        """Read a job whose body is that of one before it, and right: only its names are its own."""
        self.count += 1
        told = self.found.errors_told
        draft = body.draft.of_variant(variant)
        names = self._names(draft, body.given, of)
        if self.found.errors_told > told or names.id is None:
            self._leave_out(draft, body.given, names)
            return None
        return Read(bodies.entry_of(body, names, names.id), draft, body)

    def _leave_out(self, draft: checks.Draft, given: list[Input], names: Names) -> None:
        """Note what is known of a job that is wrong."""
        self.left.note_files(draft, given)
        self.left.note(None if naming.is_of_folder(draft) else names.id, draft.node, draft.prefix, names.links)

    def _checked(self, node: MapNode, kind: Kind | None, prefix: str, refused: list[Refused]) -> Checked:
        return checked(
            node,
            shape.JOBS[kind] if kind is not None else shape.UnknownJob,
            prefix=prefix,
            refused=refused_in_job(node, prefix) + refused if refused else refused_in_job(node, prefix),
            found=self.found,
            listed=self.listed.get(kind, explain.NOTHING_LISTED),
        )

    def _kind(self, node: MapNode, prefix: str) -> Kind | None:
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
        # What else is wrong is told with it, and not only once the slip is mended.
        return _surely_meant(value) if isinstance(value, str) else None

    def _check_frame(self, own: Checked) -> None:
        """Check what a job has beside the provider's fields."""
        if isinstance(template := own.values.get("output"), str):
            check_output(own.node, template, own.prefix, self.found)
        if own.values.get("input") is not None and isinstance(own.values.get("assets"), dict):
            main = {*checks.MAIN_ASSET.values(), "youtube_url"}.intersection(own.values["assets"])
            if main:
                message = f"input and assets.{min(main)} say the same thing twice"
                node = value_of(own.node, "input") or own.node
                self.found.add(problem_at(node, "conflict", message, path=f"{own.prefix}.input", hint="remove one"))

    def _folder(self, draft: checks.Draft) -> Folder | None:
        """Return what the job asks of a folder, whose flaws are told; None where its input is none."""
        values = draft.values.get("input")
        if not isinstance(values, dict) or "glob" not in values:
            return None
        name, media = checks.main_asset(draft.kind)
        extensions = self.catalog.image_extensions if media == "image" else self.catalog.video_extensions
        for key, note in folders.flaws(values, media=media, extensions=extensions):
            self.found.add(draft.problem(("input", key), note.code, note.message, note.hint))
        return Folder(
            globs=folders.listed(values["glob"]),
            exclude=folders.listed(values.get("exclude")),
            sort=values.get("sort", "name"),
            limit=values.get("limit"),
            newer_than=values.get("newer_than"),
            field=name,
            media=media,
            extensions=extensions,
            place=draft.place("input", "glob"),
            path=f"{draft.prefix}.input.glob",
            exclude_place=draft.place("input", "exclude"),
        )

    # --- names -------------------------------------------------------------------------------------------------------

    def _names(self, draft: checks.Draft, given: list[Input], of: matrix.Matrix | None) -> Names:
        """Return what the job is called, goes to and waits for; tells of what cannot be made."""
        is_folder = naming.is_of_folder(draft)
        waits_for = links.read(draft, given, index=self.count, tell=self.found.add)
        job_id = self._id_for_files(draft) if is_folder else self._id(draft, given, of)
        return Names(job_id, self._output(draft, given, is_folder=is_folder), waits_for)

    def _literal_id(self, own: Checked) -> str | None:
        """Return the id of a job of no known kind, where it can be told."""
        job_id = own.values.get("id")
        if isinstance(job_id, str) and not naming.names_of(job_id):
            self._take(job_id, value_of(own.node, "id") or own.node, own.prefix)
            return job_id
        return None

    def _id(self, draft: checks.Draft, given: list[Input], of: matrix.Matrix | None) -> str | None:
        """Return the job's id, its placeholders filled; None where it has none that can be used."""
        template = draft.values.get("id")
        if not isinstance(template, str):
            return None
        node = value_of(draft.node, "id") or draft.node
        try:
            job_id = naming.id_of(template, draft, given, index=self.count)
        except naming.NoName as error:
            flaw, path = error.flaw, f"{draft.prefix}.id"
            if error.flaw.code == naming.NO_FILE and draft.is_broken("assets", checks.MAIN_ASSET[draft.kind]):
                return None  # what is wrong with the input was told
            self.found.add(problem_at(node, flaw.code, flaw.message, path=path, hint=flaw.hint))
            return None
        return job_id if self._take(job_id, node, draft.prefix, of=of) else None

    def _id_for_files(self, draft: checks.Draft) -> str | None:
        """Return the template of the ids of a folder's jobs; None where it cannot be used."""
        template = draft.values.get("id")
        if not isinstance(template, str):
            return None
        node, path = value_of(draft.node, "id") or draft.node, f"{draft.prefix}.id"
        try:
            filled = naming.id_for_files(template, draft)
        except naming.NoName as error:
            self.found.add(problem_at(node, error.flaw.code, error.flaw.message, path=path, hint=error.flaw.hint))
            return None
        if "index" in naming.names_of(filled):
            said = "a new file in the folder renumbers those behind it: they become other jobs, to be paid for anew"
            problem = problem_at(node, "moving-id", said, path=path, hint="write {stem} or {relpath} in the id")
            self.found.add(replace(problem, severity=Severity.WARNING))
        return filled

    def _take(self, job_id: str, node: Node, prefix: str, *, of: matrix.Matrix | None = None) -> bool:
        """Note that a job has this id; tell of an id that cannot be one, or is taken."""
        path = f"{prefix}.id"
        if said := _id_flaw(job_id):
            self.found.add(problem_at(node, "bad-id", said, path=path))
            return False
        here = (node.source, node.line)
        first = self._owners.setdefault(outputs.collision_key(job_id), (*here, self.count))
        if first[2] == self.count:
            return True
        if of is not None and first[:2] == here:
            message, hint = (
                "several jobs of this matrix have the same id",
                naming.hint_for(str(yamltext.plain(node)), of.varying()),
            )
        else:
            where = f"line {first[1]}" if first[0] == node.source else f"{first[0]}:{first[1]}"
            message = f"the id {yamltext.quoted(job_id)} is taken by the job in {where}"
            hint = "ids must differ by more than upper and lower case"
        self.found.add(problem_at(node, "duplicate-id", message, path=path, hint=hint))
        return False

    def _output(self, draft: checks.Draft, given: list[Input], *, is_folder: bool) -> str | None:
        """Return the job's template for its output, filled but for what `expand` knows; None for the manifest's."""
        own = draft.values.get("output")
        template = own if isinstance(own, str) else self.output
        try:
            filled = naming.output_of(template, draft, given, is_folder=is_folder)
        except naming.NoName as error:
            node = yamltext.exact(draft.node, ("output",)) or yamltext.exact(draft.defaults, ("output",))
            prefix = draft.prefix if isinstance(own, str) else ""
            path = explain.joined(prefix, ("output",))
            flaw = error.flaw
            self.found.add(problem_at(node or self.output_node, flaw.code, flaw.message, path=path, hint=flaw.hint))
            return None
        return filled if filled != self.output else None

    def _tell(self, problems: Iterator[Problem] | list[Problem]) -> None:
        for problem in problems:
            self.found.add(problem)


def check_output(node: Node, template: str, prefix: str, found: Findings) -> None:
    """Check the form of the template that stands at the node's key `output`."""
    if flaw := outputs.flaw_of(template):
        node, path = value_of(node, "output") or node, explain.joined(prefix, ("output",))
        found.add(problem_at(node, flaw.code, flaw.message, path=path, hint=flaw.hint))


def _surely_meant(written: str) -> Kind | None:
    """The kind that a word can only be a slip of, such as `image_to_video`; None where it may mean something else."""
    near = findings.nearest(written, KINDS)
    word = written.casefold().replace("2", "to").translate(_NO_SIGNS)
    is_slip = near is not None and findings.alike(word, near.translate(_NO_SIGNS)) >= _SLIP
    return Kind(near) if near is not None and is_slip else None


_NO_SIGNS: Final = str.maketrans("", "", "-_ ")
_SLIP: Final = 0.9


def name_flaw(name: str) -> str | None:
    """Return what makes a text unfit to be shown and sent as a name; None for a good one."""
    if naming.UNSHOWABLE.search(name):
        return "this must not contain control characters"
    if name != name.strip():
        return "this must not begin or end with a space"
    return None


def _id_flaw(job_id: str) -> str | None:
    if said := name_flaw(job_id):
        return said
    if not job_id or len(job_id) > shape.MAX_ID_LENGTH:
        return f"an id has from 1 to {shape.MAX_ID_LENGTH} characters, not {len(job_id)}"
    if "\\" in job_id:
        return "an id must not contain a backslash; / makes sub-folders"
    if not {"", ".", ".."}.isdisjoint(job_id.split("/")):
        return "an id must not contain empty parts, . or .. between its slashes"
    return None
