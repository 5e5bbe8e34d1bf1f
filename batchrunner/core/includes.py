"""A manifest and the files that it includes, put together.

An included file shares `vars`, `defaults`, `limits`, `budget` and `jobs`. What a later file says stands over what an
earlier one says, and the including file over them all; jobs are added up, those of included files first. Every value
keeps the file and the line where it stands. A file counts once, however often it is included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
import posixpath
import re

from batchrunner.core import findings, yamltext
from batchrunner.core.problem import Problem
from batchrunner.core.variables import Variables
from batchrunner.core.yamltext import Entry, ListNode, MapNode, Node, ScalarNode, StreamedNode
from batchrunner.errors import ManifestError, UsageError

SHARED = ("vars", "defaults", "limits", "budget")
INCLUDED_KEYS = ("version", "include", *SHARED, "jobs")
MAX_DEPTH = 8
MAX_FILES = 100

_FOLDER = re.compile(r"^.*[/\\]", re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")


def _no_files(name: str) -> str:
    raise UsageError(f"cannot read {name}: there are no files here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a manifest is read with, beside its own text.

    Attributes:
        variables: the words of `--var`, by name.
        environ: the environment, of which a manifest sees what its `env` names.
        fetch: gives the text of an included file by its name; raises UsageError where it cannot be read, ManifestError
            where it is known at which place.
        zones: gives the names of all time zones; where it gives none, none is checked.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    fetch: Callable[[str], str] = _no_files
    zones: Callable[[], Collection[str]] = tuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file: what stands in it, its jobs left out, and the jobs."""

    root: Node
    jobs: Iterator[Node]

    def job_nodes(self) -> Iterator[Node]:
        """Yield the jobs, each once; they are composed as they are asked for."""
        node = yamltext.exact(self.root, ("jobs",))
        if isinstance(node, StreamedNode):
            yield from self.jobs
        elif isinstance(node, ListNode):
            yield from node.items


@dataclass(slots=True, kw_only=True)
class Files:
    """A manifest and the files that it includes; `parts` in the order in which they count, the manifest last.

    With `is_torn`, something in them could not be read at all: there may be jobs that nobody knows of.
    """

    around: Around
    report: Callable[[Problem], None]
    parts: list[Part] = field(default_factory=list)
    is_torn: bool = False
    _seen: set[str] = field(default_factory=set)

    def gather(self, text: str, source: str) -> Node | None:
        """Read the manifest and what it includes; the manifest's own root with what is shared, None where it has none.

        Raises:
            ManifestError: never; every problem is reported.
        """
        self._seen.add(_plain_name(source))
        own = self._read(text, source)
        if own is None:
            return None
        for part in list(self._included(own.root, (source,))):
            self.parts.append(part)
        self.parts.append(own)
        return self._shared(own.root)

    def included(self) -> tuple[Part, ...]:
        """Every file but the manifest itself."""
        return tuple(self.parts[:-1])

    def _read(self, text: str, source: str) -> Part | None:
        root, jobs = yamltext.outline(text, source=source, stream="jobs", report=self._tell_tear)
        return Part(root=root, jobs=jobs) if root is not None else None

    def _shared(self, own: Node) -> Node:
        if not isinstance(own, MapNode):
            return own
        entries: dict[str, Entry] = {}
        for part in self.parts:
            for key, entry in part.root.entries.items() if isinstance(part.root, MapNode) else ():
                if key in SHARED:
                    below = entries.get(key)
                    entries[key] = entry if below is None else _over(key, below, entry)
        if any(isinstance(yamltext.exact(part.root, ("jobs",)), ListNode | StreamedNode) for part in self.included()):
            entries["jobs"] = Entry(StreamedNode(own.source, own.line, own.column), own.source, own.line, own.column)
        return own._replace(entries={**entries, **own.entries, **{k: entries[k] for k in SHARED if k in entries}})

    # --- one file after the other -----------------------------------------------------------------------------------

    def _included(self, root: Node, chain: tuple[str, ...]) -> Iterator[Part]:
        """Yield the files that a file includes, each after those that it includes itself."""
        for node in self._names(root):
            name = self._checked_name(node, chain)
            if name is None:
                continue
            self._seen.add(name)
            try:
                part = self._read(self.around.fetch(name), name)
            except ManifestError as error:
                for problem in error.problems:
                    self._tell_tear(problem)
                continue
            except UsageError as error:
                self._tell(node, "bad-include", str(error), error.hint)
                continue
            if part is None:
                continue
            if not isinstance(part.root, MapNode):
                self._tell(part.root, "wrong-type", "an included file is a mapping of keys to values")
                continue
            self._check_keys(part.root)
            yield from self._included(part.root, (*chain, name))
            yield part

    def _names(self, root: Node) -> Iterator[ScalarNode]:
        node = yamltext.exact(root, ("include",))
        if node is None:
            return
        for item in node.items if isinstance(node, ListNode) else (node,):
            if isinstance(item, ScalarNode) and isinstance(item.value, str) and item.value:
                yield item
            else:
                self._tell(item, "wrong-type", "include takes the name of a file, or a list of such names")

    def _checked_name(self, node: ScalarNode, chain: tuple[str, ...]) -> str | None:
        """Return the name that a file is fetched by; None for one that is not to be read."""
        said = node.text
        if "$" in said:
            hint = "write the file's name as it is"
            self._tell(node, "bad-include", "include takes no variables: it must be plain which files are read", hint)
        elif said.startswith(("/", "~")) or _DRIVE.match(said) or "\\" in said or "://" in said:
            hint = "with / between folders on every system, such as ../shared/looks.yaml"
            self._tell(node, "bad-include", "an included file is named relative to the file that includes it", hint)
        else:
            folder = _FOLDER.match(chain[-1])
            name = _plain_name((folder[0] if folder else "") + said)
            if name in map(_plain_name, chain):
                circle = " -> ".join([*chain, name])
                self._tell(node, "include-cycle", f"these files include each other: {circle}", "remove one of them")
            elif len(chain) > MAX_DEPTH or len(self._seen) > MAX_FILES:
                self._tell(node, "too-deep", f"at most {MAX_DEPTH} files inside each other, and {MAX_FILES} in all")
            elif name not in self._seen:
                return name
        return None

    def _check_keys(self, root: MapNode) -> None:
        for key, entry in root.entries.items():
            if key not in INCLUDED_KEYS:
                hint = findings.did_you_mean(key, INCLUDED_KEYS)
                message = f"an included file has no key {yamltext.quoted(key)}"
                place = yamltext.place_of(entry)
                self.report(Problem(place=place, code="unknown-key", message=message, path=key, hint=hint))

    def _tell(self, node: Node, code: str, message: str, hint: str | None = None) -> None:
        place = yamltext.place_of(node)
        self._tell_tear(Problem(place=place, code=code, message=message, path="include", hint=hint))

    def _tell_tear(self, problem: Problem) -> None:
        self.is_torn = True
        self.report(problem)


def _over(key: str, below: Entry, above: Entry) -> Entry:
    """Return an entry over another: a variable is replaced whole, everything else is merged as far as it can be."""
    if key == "vars" and isinstance(below.node, MapNode) and isinstance(above.node, MapNode):
        return above._replace(node=above.node._replace(entries={**below.node.entries, **above.node.entries}))
    return above._replace(node=yamltext.merged(below.node, above.node))


def _plain_name(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/"))


def variables_of(root: Node, source: str, around: Around) -> Variables:
    """Return the variables of a manifest, by what its `vars` and its `env` say."""
    declared = yamltext.exact(root, ("vars",))
    allowed = yamltext.exact(root, ("env",))
    items = allowed.items if isinstance(allowed, ListNode) else ()
    names = {item.value for item in items if isinstance(item, ScalarNode) and isinstance(item.value, str)}
    return Variables(
        source=source,
        declared={key: entry.node for key, entry in declared.entries.items()} if isinstance(declared, MapNode) else {},
        given=around.variables,
        environ={name: around.environ[name] for name in sorted(names & around.environ.keys())},
        withheld=frozenset(around.environ.keys() - names),
    )
