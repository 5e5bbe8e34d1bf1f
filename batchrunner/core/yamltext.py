"""YAML text to values that know where they stand.

PyYAML's own composer builds the whole document, keeps the last of two equal keys without a word and reads words
such as `no` and `1:30` by the rules of YAML 1.1. This one works on PyYAML's events instead:

1. Every value and key keeps its line and column.
2. One top-level list can be streamed: its items are handed out one at a time, so its length costs time, not memory.
3. Plain scalars are read by the core schema of YAML 1.2.2, section 10.3.2: only `true` and `false` are booleans.
4. Whatever is wrong is reported as a Problem; nothing here raises for what a text contains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
import re
import sys
from typing import Any, NamedTuple, NoReturn, TypeAlias

import yaml

from batchrunner.core.problem import Place, Problem
from batchrunner.core.scalars import TYPES_BY_TAG, Value, core_value
from batchrunner.core.yamlevents import Event, Unreadable, events_of

Report: TypeAlias = Callable[[Problem], None]

# Far above what a manifest needs, far below what hurts: a job is three levels deep and has some thirty values.
MAX_DEPTH = 32
MAX_ALIAS_VALUES = 10_000
MAX_ALIAS_VALUES_IN_ALL = 5_000_000
_INTERN_UP_TO = 24

# A line that can begin with a key of the outermost mapping, in block style: no space, comment or item of a list.
_KEY_IN_FIRST_COLUMN = re.compile("[\n\r\x85\u2028\u2029](?:[^\\s#-]|-\\S)")


class ScalarNode(NamedTuple):
    """A single value; `text` is how it was written, without its quotes; `via` tells of a variable it came from."""

    value: Value
    text: str
    source: str
    line: int
    column: int
    via: str | None = None


class ListNode(NamedTuple):
    items: tuple[Node, ...]
    source: str
    line: int
    column: int


class Entry(NamedTuple):
    """One key of a mapping: where the key stands, and its value."""

    node: Node
    source: str
    line: int
    column: int


class MapNode(NamedTuple):
    entries: dict[str, Entry]
    source: str
    line: int
    column: int


class StreamedNode(NamedTuple):
    """Stands for the streamed list in an outline, whose items are handed out beside it."""

    source: str
    line: int
    column: int


Node: TypeAlias = ScalarNode | ListNode | MapNode | StreamedNode


def place_of(node: Node | Entry) -> Place:
    via = node.via if isinstance(node, ScalarNode) else None
    return _place(node.source, node.line, node.column, via)


@lru_cache(maxsize=1024)
def _place(source: str, line: int, column: int, via: str | None) -> Place:
    """The many jobs of one matrix stand at the same few places, and keep them."""
    return Place(source=source, line=line, column=column, via=via)


def plain(node: Node) -> Any:
    """Return the values without their places: dicts, lists and scalars."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, MapNode):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return []


def merged(below: Node, above: Node) -> Node:
    """Return what stands above over what stands below: mappings are merged, everything else is replaced whole."""
    if not isinstance(below, MapNode) or not isinstance(above, MapNode):
        return above
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        under = entries.get(key)
        entries[key] = entry if under is None else entry._replace(node=merged(under.node, entry.node))
    return above._replace(entries=entries)


def exact(node: Node | None, path: Iterable[str]) -> Node | None:
    """Return what stands at the keys of the path; None where one of them is missing."""
    for step in path:
        entry = node.entries.get(step) if isinstance(node, MapNode) else None
        if entry is None:
            return None
        node = entry.node
    return node


def locate(node: Node, path: Iterable[str | int]) -> Node | Entry:
    """Follow keys and indexes as far as they exist; the Entry of the last key, so that its key can be shown too."""
    found: Node | Entry = node
    for step in path:
        inner = found.node if isinstance(found, Entry) else found
        if isinstance(inner, MapNode) and isinstance(step, str) and step in inner.entries:
            found = inner.entries[step]
        elif isinstance(inner, ListNode) and isinstance(step, int) and step < len(inner.items):
            found = inner.items[step]
        else:
            break
    return found


def document(text: str, *, source: str, report: Report) -> Node | None:
    """Return the only document of the text, whole; None when it could not be read to its end."""
    return _guarded(_Composer(text, source=source, report=report).whole, report)


def outline(text: str, *, source: str, stream: str, report: Report) -> tuple[Node | None, Iterator[Node]]:
    """Return the document with a StreamedNode for the top-level list `stream`, and the items of that list.

    The items are composed as they are asked for. When keys stand below the list it is read over first and then
    again for its items; a list with an anchor is composed whole, since an alias may ask for it.
    """
    composer = _Composer(text, source=source, report=report)
    root = _guarded(lambda: composer.top(stream), report)
    if composer.is_inside_list:
        return root, _reported(composer.rest_of_list(), report)
    again = _Composer(text, source=source, report=report)
    return root, _reported(again.items(stream), report)


def _reported(items: Iterator[Node], report: Report) -> Iterator[Node]:
    try:
        yield from items
    except Unreadable as error:
        report(error.problem)


def _guarded(compose: Callable[[], Node], report: Report) -> Node | None:
    try:
        return compose()
    except Unreadable as error:
        report(error.problem)
        return None


class _Composer:
    """One pass over one text: the events still to come, the anchors seen, and how much aliases were expanded."""

    def __init__(self, text: str, *, source: str, report: Report) -> None:
        self._text = text
        self._source = source
        self._report = report
        self._events = events_of(text, source=source)
        self._anchors: dict[str, tuple[Node, int]] = {}
        self.is_inside_list = False
        self._values = 0
        self._alias_values = 0

    def whole(self) -> Node:
        root = self._node(self._open(), 0)
        self._close()
        return root

    def top(self, streamed: str) -> Node:
        opening = self._open()
        if not isinstance(opening, yaml.MappingStartEvent):
            root = self._node(opening, 0)
        else:
            root = self._map(opening, 0, streamed=streamed)
        if not self.is_inside_list:
            self._close()
        return root

    def rest_of_list(self) -> Iterator[Node]:
        """Yield the items of the streamed list that `top` stopped at, which is the last value of the document."""
        yield from self._items()
        next(self._events)
        self._close()

    def items(self, key: str) -> Iterator[Node]:
        opening = self._open()
        if not isinstance(opening, yaml.MappingStartEvent):
            return
        report, self._report = self._report, _ignore
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            value = next(self._events) if isinstance(event, yaml.ScalarEvent) else None
            if value is None:
                self._node(event, 1)
                value = next(self._events)
            elif event.value == key and _streams(value):
                self._report = report
                yield from self._items()
                return
            elif event.anchor is not None:
                self._anchors[event.anchor] = (self._scalar(event), 1)
            self._node(value, 1)

    def _items(self) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, 2)

    def _open(self) -> Event:
        """Step to the first event of the first document."""
        next(self._events)
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise self._nothing(line=1)
        opening = next(self._events)
        if isinstance(opening, yaml.ScalarEvent) and opening.implicit[0] and not opening.value:
            self._close()
            raise self._nothing(line=first.start_mark.line + 1)
        return opening

    def _nothing(self, *, line: int) -> Unreadable:
        place = Place(source=self._source, line=line, column=1)
        return Unreadable(Problem(place=place, code="empty", message="there is nothing in this file"))

    def _close(self) -> None:
        """Make sure that nothing follows the first document."""
        next(self._events)
        follow = next(self._events)
        if not isinstance(follow, yaml.StreamEndEvent):
            self._stop(
                follow,
                "several-documents",
                "a second document starts here",
                hint="keep one document in a file: remove the line ---",
            )

    def _node(self, event: Event, depth: int) -> Node:
        if type(event) is yaml.AliasEvent:
            return self._alias(event)
        if event.anchor is None:
            if type(event) is yaml.ScalarEvent:  # the most frequent by far
                self._values += 1
                return self._scalar(event)
            return self._content(event, depth)
        before = self._values
        # Until it is complete, an alias to it would be an alias inside itself.
        self._anchors.pop(event.anchor, None)
        node = self._content(event, depth)
        self._anchors[event.anchor] = (node, self._values - before)
        return node

    def _content(self, event: Event, depth: int) -> Node:
        self._values += 1
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if depth > MAX_DEPTH:
            self._stop(event, "too-deep", f"this is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(event, depth)
        return self._map(event, depth)

    def _list(self, opening: Event, depth: int) -> ListNode:
        self._refuse_tag(opening, "tag:yaml.org,2002:seq")
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return ListNode(tuple(items), self._source, *_position(opening))

    def _map(self, opening: Event, depth: int, *, streamed: str | None = None) -> MapNode:
        self._refuse_tag(opening, "tag:yaml.org,2002:map")
        entries: dict[str, Entry] = {}
        merged: list[MapNode] = []
        events = self._events
        while type(key_event := next(events)) is not yaml.MappingEndEvent:
            key = self._key(key_event, depth)
            value_event = next(events)
            written_out = type(key_event) is yaml.ScalarEvent
            if written_out and key == streamed and key not in entries and _streams(value_event):
                value = self._streamed(opening, value_event)
            else:
                value = self._node(value_event, depth + 1)
            if key is None:
                continue
            if key == "<<" and written_out and key_event.implicit[0]:
                merged.extend(self._merge_sources(value))
            elif key in entries:
                self._duplicate(key_event, key, entries[key])
            else:
                entries[key] = Entry(value, self._source, *_position(key_event))
            if streamed is not None and self.is_inside_list:
                break
        for other in merged:
            for key, entry in other.entries.items():
                entries.setdefault(key, entry)
        return MapNode(entries, self._source, *_position(opening))

    def _key(self, event: Event, depth: int) -> str | None:
        if type(event) is yaml.ScalarEvent:
            self._refuse_tag(event, "tag:yaml.org,2002:str")
            if event.anchor is not None:
                self._anchors[event.anchor] = (self._scalar(event), 1)
            return sys.intern(event.value)
        node = self._node(event, depth + 1)
        if isinstance(node, ScalarNode):
            return sys.intern(node.text)
        self._tell(event, "yaml-key", "a key must be a single word or text, not a list or a mapping")
        return None

    def _duplicate(self, event: Event, key: str, first: Entry) -> None:
        self._tell(
            event,
            "duplicate-key",
            f"the key {quoted(key)} is here for the second time",
            hint=f"the first one is in line {first.line}; remove one of them",
        )

    def _merge_sources(self, value: Node) -> Sequence[MapNode]:
        candidates = value.items if isinstance(value, ListNode) else (value,)
        sources = [node for node in candidates if isinstance(node, MapNode)]
        if len(sources) < len(candidates):
            self._report(
                Problem(
                    place=place_of(value),
                    code="yaml-merge",
                    message="<< takes a mapping or a list of mappings",
                    hint="write <<: *name, where &name marks a mapping",
                )
            )
        return sources

    def _alias(self, event: Event) -> Node:
        if event.anchor not in self._anchors:
            self._stop(
                event,
                "yaml-alias",
                f"*{event.anchor} stands for nothing that is complete before it",
                hint=f"mark the value that is meant with &{event.anchor}, earlier in the file",
            )
        node, size = self._anchors[event.anchor]
        self._values += size
        self._alias_values += size
        if size > MAX_ALIAS_VALUES or self._alias_values > MAX_ALIAS_VALUES_IN_ALL:
            self._stop(event, "yaml-alias", f"*{event.anchor} repeats too many values")
        return node

    def _scalar(self, event: Event) -> ScalarNode:
        text = event.value
        if len(text) <= _INTERN_UP_TO:
            text = sys.intern(text)  # the same few words come once for every job
        value = core_value(text) if event.implicit[0] and event.tag is None else self._tagged(event)
        mark = event.start_mark
        return ScalarNode(value, text, self._source, mark.line + 1, mark.column + 1)

    def _tagged(self, event: Event) -> Value:
        """Return the value of a scalar with quotes or a tag."""
        if event.tag in (None, "!", "tag:yaml.org,2002:str"):
            return str(event.value)
        value = core_value(event.value)
        if isinstance(value, TYPES_BY_TAG.get(event.tag, ())) and (
            not isinstance(value, bool) or event.tag.endswith("bool")
        ):
            return value
        message = f"the tag {quoted(event.tag)} cannot be used for {quoted(event.value)}"
        self._tell(event, "yaml-tag", message, hint=None if event.tag in TYPES_BY_TAG else _NO_TAGS)
        return value

    def _refuse_tag(self, event: Event, allowed: str) -> None:
        if event.tag not in (None, "!", allowed):
            self._tell(event, "yaml-tag", f"the tag {quoted(event.tag)} cannot be used here", hint=_NO_TAGS)

    def _streamed(self, root: Event, opening: Event) -> Node:
        """Stop inside the list when nothing can follow it, else read over it to what does."""
        self._refuse_tag(opening, "tag:yaml.org,2002:seq")
        is_plain_root = not root.flow_style and root.start_mark.column == 0
        if is_plain_root and not _KEY_IN_FIRST_COLUMN.search(self._text, opening.start_mark.index):
            self.is_inside_list = True
        else:
            self._skip_items()
        return StreamedNode(self._source, *_position(opening))

    def _skip_items(self) -> None:
        """Read over the items; those with an anchor are kept, because an alias after the list may ask for them."""
        report, self._report = self._report, _ignore
        open_lists = 1
        while open_lists:
            event = next(self._events)
            if getattr(event, "anchor", None) is not None and not isinstance(event, yaml.AliasEvent):
                self._node(event, 2)
            elif isinstance(event, yaml.CollectionStartEvent):
                open_lists += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                open_lists -= 1
        self._report = report

    def _tell(self, event: Event, code: str, message: str, *, hint: str | None = None) -> None:
        line, column = _position(event)
        place = Place(source=self._source, line=line, column=column)
        self._report(Problem(place=place, code=code, message=message, hint=hint))

    def _stop(self, event: Event, code: str, message: str, *, hint: str | None = None) -> NoReturn:
        line, column = _position(event)
        place = Place(source=self._source, line=line, column=column)
        raise Unreadable(Problem(place=place, code=code, message=message, hint=hint))


_NO_TAGS = "tags are not supported; remove the word that starts with !"


def _streams(event: Event) -> bool:
    return isinstance(event, yaml.SequenceStartEvent) and event.anchor is None


def _position(event: Event) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _ignore(_: Problem) -> None:
    """Take the report of a part that another pass reports."""


def quoted(text: str, *, limit: int = 60) -> str:
    """Return the text in quotes for a message: one line, nothing that a terminal could act on, not too long."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return f'"{safe}"'
