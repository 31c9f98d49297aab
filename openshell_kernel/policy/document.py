"""From YAML text to a tree of values that know their place, and to all that is wrong with the YAML itself.

The YAML accepted here is what JSON can say, plus comments, anchors and aliases: plain scalars follow the core
schema of YAML 1.2 (`yes` and `2024-01-01` are strings), and duplicate keys, other tags and further documents
are errors. Nothing here recurses or grows beyond a limit, whatever the text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from openshell_kernel.policy.scalars import CORE, ScalarError, scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_VALUES = 100_000
MAX_DEPTH = 64

_CollectionEvent = SequenceStartEvent | MappingStartEvent
_NodeEvent = AliasEvent | ScalarEvent | _CollectionEvent

Key = tuple["str | int", ...]
"""Where a value stands: the keys and list positions from the root to it."""

_UNREADABLE_KEY = "(key)"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong with a policy. `key` is a path such as `filesystem_policy.read_only[0]`."""

    line: int
    column: int
    key: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        return f"{self.line}:{self.column}:{key} {self.problem}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    index: int
    node: Node


@dataclass(slots=True, kw_only=True)
class Node:
    """A value and its index in the text. A `bad` one was reported already and has no value."""

    index: int
    value: str | float | list[Node] | dict[str, Entry] | None = None
    bad: bool = False
    size: int = 1
    height: int = 0

    def to_json(self) -> Any:  # noqa: ANN401 - JSON values have no narrower type
        """Return the value as lists, dictionaries and scalars, aliases written out."""
        if isinstance(self.value, list):
            return [node.to_json() for node in self.value]
        if isinstance(self.value, dict):
            return {key: entry.node.to_json() for key, entry in self.value.items()}
        return self.value


class Document:
    """A YAML text: its root mapping, or None where there is none, and the violations found so far."""

    def __init__(self, text: str) -> None:
        self.violations: list[Violation] = []
        self._end = len(text.rstrip())
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.root = _Composer(self).compose(text)

    def report(self, index: int, key: Key, problem: str, remedy: str) -> None:
        """Add a violation that stands at an index of the text."""
        line, column = self.position(index)
        problem = " ".join(problem.split())
        self.violations.append(Violation(line=line, column=column, key=_key_text(key), problem=problem, remedy=remedy))

    def position(self, index: int) -> tuple[int, int]:
        """Return line and column, from 1; at most the place behind the last visible character."""
        index = min(index, self._end)
        line = bisect_right(self._lines, index)
        return line, index - self._lines[line - 1] + 1


class _AbortError(Exception):
    """Reading on makes no sense; the reason was reported."""


class _Composer:
    """Builds the nodes from the parser's events.

    Not ruamel.yaml's own composer: it recurses as deep as its input goes, and forgets what tags were written.
    """

    def __init__(self, document: Document) -> None:
        self._report = document.report
        self._position = document.position
        self._anchors: dict[str, Node | None] = {}
        self._size = 0

    def compose(self, text: str) -> Node | None:
        try:
            return self._document(iter(YAML(typ="safe", pure=True).parse(text)))
        except _AbortError:
            pass
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = ", ".join(part for part in (error.context, error.problem) if part)
            self._report(mark.index if mark else 0, (), f"not valid YAML: {problem}", "correct the syntax")
        except ReaderError as error:
            code = error.character if isinstance(error.character, int) else ord(error.character)
            self._report(error.position, (), f"the character U+{code:04X} is not allowed in YAML", "remove it")
        except Exception as error:  # noqa: BLE001 - the parser lets Python's errors through, such as chr()'s on "\UFFFFFFFF"
            self._report(0, (), f"not valid YAML: {error or type(error).__name__}", "correct the syntax")
        return None

    def _document(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        for event in events:
            if isinstance(event, DocumentStartEvent) and root is not None:
                self._report(event.start_mark.index, (), "a second document starts here", "keep one in the file")
                break
            if isinstance(event, _NodeEvent):
                root = self._node(event, events, ())
        if root is None or (root.value is None and not root.bad):
            self._report(0, (), "the policy is empty", "write at least `version: 1`")
        elif root.bad:
            return None
        elif not isinstance(root.value, dict):
            self._report(root.index, (), "a policy must be a mapping", "begin with `version: 1`")
        else:
            return root
        return None

    def _node(self, event: _NodeEvent, events: Iterator[Any], key: Key) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, key)
        self._check_limits(event, key, size=1, height=0)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, ScalarEvent):
            node = self._scalar(event, key)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, events, key)
        else:
            node = self._mapping(event, events, key)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: AliasEvent, key: Key) -> Node:
        index = event.start_mark.index
        node = self._anchors.get(event.anchor)
        if node is not None:
            self._check_limits(event, key, size=node.size, height=node.height)
            return node
        if event.anchor in self._anchors:
            self._report(index, key, f"the alias *{event.anchor} contains itself", "write the value out")
        else:
            self._report(index, key, f"the alias *{event.anchor} has no anchor", f"write &{event.anchor} before it")
        return Node(index=index, bad=True)

    def _check_limits(self, event: _NodeEvent, key: Key, *, size: int, height: int) -> None:
        self._size += size
        if self._size > MAX_VALUES:
            problem, remedy = f"more than {MAX_VALUES} values, aliases written out", "shorten the policy"
        elif len(key) + height > MAX_DEPTH:
            problem, remedy = f"nested deeper than {MAX_DEPTH} levels", "nest less"
        else:
            return
        self._report(event.start_mark.index, key[:2], problem, remedy)
        raise _AbortError

    def _sequence(self, event: SequenceStartEvent, events: Iterator[Any], key: Key) -> Node:
        items: list[Node] = []
        while not isinstance(child := next(events), CollectionEndEvent):
            items.append(self._node(child, events, (*key, len(items))))
        return self._collection(event, "seq", key, items, items)

    def _mapping(self, event: MappingStartEvent, events: Iterator[Any], key: Key) -> Node:
        entries: dict[str, Entry] = {}
        while not isinstance(child := next(events), CollectionEndEvent):
            index = child.start_mark.index
            name = self._name(child, events, key)
            node = self._node(next(events), events, (*key, _UNREADABLE_KEY if name is None else name))
            if name is None:
                continue
            if name in entries:
                line, column = self._position(entries[name].index)
                problem = f"duplicate key, already set at line {line}, column {column}"
                both = isinstance(node.value, dict) and isinstance(entries[name].node.value, dict)
                remedy = "move what is in this one into that one" if both else "keep one of the two"
                self._report(index, (*key, name), problem, remedy)
            else:
                entries[name] = Entry(index=index, node=node)
        return self._collection(event, "map", key, entries, [entry.node for entry in entries.values()])

    def _name(self, event: _NodeEvent, events: Iterator[Any], key: Key) -> str | None:
        node = self._node(event, events, (*key, _UNREADABLE_KEY))
        if isinstance(node.value, str):
            return node.value
        if not node.bad:
            self._report(event.start_mark.index, key, "a key must be a string", "put the key in quotes")
        return None

    def _collection(
        self,
        event: _CollectionEvent,
        kind: str,
        key: Key,
        value: list[Node] | dict[str, Entry],
        children: list[Node],
    ) -> Node:
        node = Node(index=event.start_mark.index, value=value)
        node.size += sum(child.size for child in children)
        node.height = max((child.height + 1 for child in children), default=0)
        if event.tag is not None and event.tag not in ("!", CORE + kind):
            self._report(node.index, key, f"the tag {event.tag} is not supported here", "remove it")
            node.bad = True
        return node

    def _scalar(self, event: ScalarEvent, key: Key) -> Node:
        index = event.start_mark.index
        try:
            return Node(index=index, value=scalar(event.value, event.tag, plain=not event.style))
        except ScalarError as error:
            self._report(index, key, error.problem, error.remedy)
            return Node(index=index, bad=True)


def _key_text(key: Key) -> str:
    text = ""
    for step in key:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _BARE_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step[:80])}]"
    return text
