"""Completion of `%policy`: commands, options, and paths after `why`."""

from __future__ import annotations

import os
import re
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from openshell_kernel.errors import SnapshotError
from openshell_kernel.kernel import memfd

COMMANDS = ("show", "env", "gpus", "verify", "why", "help")
OPTIONS = ("--json", "--verbose", "--yaml")
GPU_OPTIONS = ("--check", "--json")
_QUOTES = ("'", '"')
_SPECIAL = " \t\\'\"`$&;|<>(){}[]*?!#"


@context_matcher(identifier="openshell_policy")  # type: ignore[untyped-decorator]  # IPython is not typed here
def complete(context: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return what IPython may offer, and keep its Python completion out: the line is not Python.

    A matcher rather than a hook: hooks cannot do that, nor say which part of the line is to be replaced.
    """
    line = re.fullmatch(r"\s*(%?)policy\s+(.*)", context.text_until_cursor)
    fragment, matches = _candidates(line[2]) if line else ("", [])
    if line and not matches and fragment and (line[1] or line[2] != fragment):
        # IPython heeds `suppress` only of a matcher that has found something, and would offer names of Python's.
        # Without a percent sign, the first word may be an operator of Python's: `policy in x`.
        matches = [fragment]
    return {
        "completions": [SimpleCompletion(match) for match in matches],
        "matched_fragment": fragment,
        "suppress": True,
        "ordered": True,
    }


def _candidates(typed: str) -> tuple[str, list[str]]:
    """Return the part of the line that can be replaced, and by what."""
    command, space, argument = typed.partition(" ")
    argument = argument.lstrip()
    if not space:
        return typed, [name for name in COMMANDS if name.startswith(typed)]
    if command == "show":
        return argument, [option for option in OPTIONS if option.startswith(argument)]
    if command == "gpus":
        return argument, [option for option in GPU_OPTIONS if option.startswith(argument)]
    return (argument, _paths(argument)) if command == "why" else ("", [])


def _paths(typed: str) -> list[str]:
    quote = typed[:1] if typed.startswith(_QUOTES) else ""
    plain = typed[1:] if quote else re.sub(r"\\(.)", r"\1", typed)
    folder, slash, start = plain.rpartition("/")
    try:
        names = sorted(os.listdir(os.path.expanduser(folder + slash) or "."))
    except (OSError, ValueError):
        names = []
    found = [
        folder + slash + name
        for name in names
        if name.startswith(start) and (start.startswith(".") or not name.startswith("."))
    ]
    paths = (_with_slash(path) for path in found or _towards_rules(plain) if path.isprintable())
    return [quote + path if quote else _escaped(path) for path in paths]


def _towards_rules(typed: str) -> list[str]:
    """Return how a path may go on towards a path that a rule names: inside the sandbox not every folder can be listed.

    Reads the JSON instead of the typed snapshot, whose modules take long to import.
    """
    import json  # noqa: PLC0415

    start = os.path.expanduser(typed)
    try:
        fd = memfd.remembered()
        record = {} if fd is None else json.loads(memfd.read_sealed(fd))
        rests = [rule["path"][len(start) :] for rule in record["report"]["rules"] if rule["path"].startswith(start)]
    except (SnapshotError, ValueError, LookupError, TypeError, RecursionError):
        return []
    return sorted({typed + rest.partition("/")[0] or "/" for rest in rests})


def _with_slash(path: str) -> str:
    return path + "/" if os.path.isdir(os.path.expanduser(path)) and not path.endswith("/") else path


def _escaped(text: str) -> str:
    return "".join("\\" + character if character in _SPECIAL else character for character in text)
