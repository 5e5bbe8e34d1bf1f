"""Variables: `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` in the texts of a manifest.

A value comes from the command line (`--var`), from the environment where the manifest's `env` names it, or from
`vars`, in this order. A text that is one `${NAME}` and nothing else takes the value as it is: a number stays a number,
a list a list. What comes from the command line or the environment is read as YAML reads a word, so that 5 is a number;
where `vars` holds a text of that name, it stays text.

The values from the environment may be secrets: `masked` takes them out of whatever is told of a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
import re
from typing import NamedTuple

from batchrunner.core import explain, findings, yamltext
from batchrunner.core.explain import Step
from batchrunner.core.problem import Problem
from batchrunner.core.scalars import core_value
from batchrunner.core.yamltext import ListNode, MapNode, Node, ScalarNode

# Far above what a manifest needs, far below what hurts.
MAX_TEXT = 20_000
MAX_DEPTH = 32
MAX_VALUES = 10_000
MAX_VALUES_IN_ALL = 5_000_000
_SHORTEST_MASKED = 4
_SHORTEST_CUT = 8

_REFERENCE = re.compile(r"\$(?:\$|\{([^}]*)\}|\{)")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Refused(NamedTuple):
    """A value that is refused before its type is looked at: its path below the node, and why, unless it was told."""

    path: tuple[Step, ...]
    problem: Problem | None


class _Unusable(Exception):
    """A text asks for what cannot be given; None where that was told already."""

    def __init__(self, problem: Problem | None) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(slots=True, kw_only=True)
class Variables:
    """The variables of one manifest, and which of them were asked for.

    `declared` holds the nodes of `vars`, `given` the words of `--var`, `environ` those of the environment that the
    manifest asks for, `withheld` the names that the environment has beside them.
    """

    source: str
    declared: Mapping[str, Node] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()
    used: set[str] = field(default_factory=set)
    _known: dict[str, Node | None] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _sizes: dict[str, int] = field(default_factory=dict)
    _values: int = 0
    _later: list[Problem] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that stands for something."""
        return tuple(sorted({*self.declared, *self.given, *self.environ}))

    def check(self) -> Iterator[Problem]:
        """Yield what is wrong with the values of `vars` themselves, and with `--var` that nothing asks for."""
        for name, node in self.declared.items():
            if _NAME.fullmatch(name) is None:
                yield _at(node, "bad-variable", f"{yamltext.quoted(name)} cannot be the name of a variable", _NAME_HINT)
        for name in self.declared:
            if name not in self._known:
                yield from self._resolved(name)[1]
        yield from self._later
        self._later.clear()

    def unused(self, *, is_torn: bool) -> Iterator[Problem]:
        """Yield what is left to tell when everything was read, such as each `--var` that nothing asked for.

        Of a manifest that `is_torn`, nobody knows what the rest would have asked for.
        """
        yield from self._later
        if is_torn:
            return
        place = yamltext.place_of(ScalarNode(None, "", self.source, 1, 1))
        for name in sorted(self.given.keys() - self.declared.keys() - self.used):
            near = findings.nearest(name, tuple(sorted({*self.declared, *self.used})))
            message = f"--var {name} is for nothing: the manifest has no ${{{name}}}"
            hint = f"did you mean {near}?" if near else None
            yield Problem(place=place, code="unknown-variable", message=message, hint=hint)

    def fill(self, node: Node, prefix: str) -> tuple[Node, list[Refused]]:
        """Return the node with the values in it, and what cannot be given; a node without variables comes back."""
        refused: list[Refused] = []
        return self._filled(node, (), prefix, refused), refused

    def masked(self, text: str) -> str:
        """Return a text without the values from the environment, whole or cut short; the names stand in their place."""
        for name, value in self.environ.items():
            if len(value) < _SHORTEST_MASKED:
                continue
            shown = yamltext.quoted(value, limit=len(value))[1:-1]
            for form in (value, shown):
                text = text.replace(form, f"${{{name}}}")
            for end in range(len(shown) - 1, _SHORTEST_CUT - 1, -1) if "…" in text else ():
                text = text.replace(f"{shown[:end]}…", f"${{{name}}}…")
        return text

    # --- filling ---------------------------------------------------------------------------------------------------

    def _filled(self, node: Node, path: tuple[Step, ...], prefix: str, refused: list[Refused]) -> Node:
        if isinstance(node, ScalarNode):
            if "$" not in node.text or not isinstance(node.value, str):
                return node
            try:
                return self._text(node)
            except _Unusable as error:
                where = explain.joined(prefix, path)
                refused.append(Refused(path, _with_path(error.problem, where) if error.problem else None))
                return node
        if isinstance(node, MapNode):
            changed = {}
            for key, entry in node.entries.items():
                inner = self._filled(entry.node, (*path, key), prefix, refused)
                if inner is not entry.node:
                    changed[key] = entry._replace(node=inner)
            return node._replace(entries={**node.entries, **changed}) if changed else node
        if isinstance(node, ListNode):
            items = tuple(self._filled(item, (*path, index), prefix, refused) for index, item in enumerate(node.items))
            same = all(new is old for new, old in zip(items, node.items, strict=True))
            return node if same else node._replace(items=items)
        return node

    def _text(self, node: ScalarNode) -> Node:
        """Return what a text with `$` in it stands for."""
        whole = _REFERENCE.fullmatch(node.text)
        if whole is not None and whole[1] is not None:
            return self._whole(node, whole[1])
        sources: list[str] = []

        def filled(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            found = self._asked(node, match[1])
            if not isinstance(found, ScalarNode):
                said = f"{match[0]} is {_described(found)} and cannot stand inside a text"
                raise _Unusable(_at(node, "wrong-type", said, "write it alone, as the whole value"))
            if found.via and found.via not in sources:
                sources.append(found.via)
            return found.text

        text = _REFERENCE.sub(filled, node.text)
        if len(text) > MAX_TEXT:
            raise _Unusable(
                _at(node, "too-long", f"with its variables this text has more than {MAX_TEXT:,} characters")
            )
        return node._replace(value=text, text=text, via="; ".join(sources) or None)

    def _whole(self, node: ScalarNode, inside: str) -> Node:
        found = self._asked(node, inside)
        if isinstance(found, ScalarNode):
            return found._replace(source=node.source, line=node.line, column=node.column)
        match = _INSIDE.fullmatch(inside)
        self._values += self._sizes.get(match[1], 0) if match is not None else 0
        if self._values > MAX_VALUES_IN_ALL:
            raise _Unusable(_at(node, "too-long", f"${{{inside}}} repeats too many values"))
        return found

    def _asked(self, node: ScalarNode, inside: str | None) -> Node:
        """Return the value of one reference; raises _Unusable."""
        match = _INSIDE.fullmatch(inside) if inside is not None else None
        if match is None:
            said = (
                "${ is never closed" if inside is None else f"{yamltext.quoted('${' + inside + '}')} asks for nothing"
            )
            raise _Unusable(_at(node, "bad-variable", said, "write ${NAME}; $$ stands for the sign $ itself"))
        name, sign, rest = match[1], match[2], match[3]
        self.used.add(name)
        found = self._value(node, name)
        if sign and (found is None or (isinstance(found, ScalarNode) and found.value in (None, ""))):
            if sign == ":-":
                value = core_value(rest) if rest else ""
                return node._replace(value=value, text=rest, via=f"${{{name}}} is not set")
            message = rest or f"the variable {name} must be set"
            raise _Unusable(_at(node, "variable-required", message, _how_to_set(name)))
        if found is None:
            raise _Unusable(self._undefined(node, name))
        return found

    def _undefined(self, node: ScalarNode, name: str) -> Problem:
        near = findings.nearest(name, self.names)
        if near:
            hint = f"did you mean {near}?"
        elif name in self.withheld:
            hint = f"the environment has it; allow it with env: [{name}]"
        else:
            hint = _how_to_set(name)
        return _at(node, "unknown-variable", f"there is no variable {name}", hint)

    # --- values ----------------------------------------------------------------------------------------------------

    def _value(self, asking: ScalarNode, name: str) -> Node | None:
        """Return the value of a variable; None where it has none. Raises _Unusable for one that is wrong."""
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            raise _Unusable(_at(asking, "variable-cycle", f"the variable {name} needs itself: {circle}"))
        if len(self._open) >= MAX_DEPTH:
            raise _Unusable(_at(asking, "too-deep", f"more than {MAX_DEPTH} variables need one another"))
        if name not in self._known:
            if name not in self.given and name not in self.environ and name not in self.declared:
                return None
            problems = self._resolved(name)[1]
            if problems:
                self._later += problems[1:]
                raise _Unusable(problems[0])
        found = self._known[name]
        if found is None:
            raise _Unusable(None)  # its value is wrong itself, which was told
        return found

    def _resolved(self, name: str) -> tuple[Node | None, list[Problem]]:
        """Find the value of a variable that has one, and remember it; None with its problems where it is wrong."""
        self._open.append(name)
        declared = self.declared.get(name)
        problems: list[Problem] = []
        refused: list[Refused] = []
        node: Node | None
        if name in self.given:
            node = self._outer(name, self.given[name], "--var", declared, problems.append)
        elif name in self.environ:
            node = self._outer(name, self.environ[name], "the environment", declared, problems.append)
        else:
            assert declared is not None
            node, refused = self.fill(declared, f"vars.{name}")
            problems = [each.problem for each in refused if each.problem is not None]
            if isinstance(node, ScalarNode):
                node = node._replace(via=f"${{{name}}} is set at {yamltext.place_of(declared)}")
        self._open.pop()
        size = _size(node, MAX_VALUES) if node is not None else 0
        self._sizes[name] = size
        if size > MAX_VALUES and not problems:
            said = f"the variable {name} has more than {MAX_VALUES:,} values"
            problems.append(_at(declared or ScalarNode(None, "", self.source, 1, 1), "too-long", said))
        self._known[name] = None if problems or refused else node
        return self._known[name], problems

    def _outer(
        self, name: str, word: str, by: str, declared: Node | None, report: Callable[[Problem], None]
    ) -> Node | None:
        """Return the value of a word from outside the manifest, of the type that `vars` shows for it."""
        via = f"${{{name}}} is set by {by}"
        if isinstance(declared, ListNode | MapNode):
            return yamltext.document(word, source=f"{by} {name}", report=report)
        is_text = isinstance(declared, ScalarNode) and isinstance(declared.value, str)
        is_text = is_text and "$" not in (declared.text if isinstance(declared, ScalarNode) else "")
        return ScalarNode(word if is_text or not word else core_value(word), word, self.source, 1, 1, via)


_NAME_HINT = "a name has letters, digits and _, and does not begin with a digit"


def _how_to_set(name: str) -> str:
    return f"set it under vars, or with --var {name}=…"


def _size(node: Node, most: int) -> int:
    """Return how many values a node has; any number above `most` where they are more."""
    if isinstance(node, MapNode):
        inner = [entry.node for entry in node.entries.values()]
    else:
        inner = list(node.items) if isinstance(node, ListNode) else []
    size = 1
    for each in inner:
        size += _size(each, most - size)
        if size > most:
            break
    return size


def _described(node: Node) -> str:
    return "a mapping" if isinstance(node, MapNode) else "a list"


def _at(node: Node, code: str, message: str, hint: str | None = None) -> Problem:
    return Problem(place=yamltext.place_of(node), code=code, message=message, hint=hint)


def _with_path(problem: Problem, path: str) -> Problem:
    return problem if problem.path else replace(problem, path=path)


def masking(variables: Variables) -> Callable[[Problem], Problem]:
    """Return what takes the values from the environment out of a problem."""

    def masked(problem: Problem) -> Problem:
        message, hint = variables.masked(problem.message), problem.hint and variables.masked(problem.hint)
        return replace(problem, message=message, hint=hint)

    return masked
