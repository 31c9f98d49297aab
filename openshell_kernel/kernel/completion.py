"""Completion of `%policy`: commands, options, and paths after `why`."""

from __future__ import annotations

import os
import re
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

COMMANDS = ("show", "env", "gpus", "why", "help")
OPTIONS = ("--json", "--yaml")
GPU_OPTIONS = ("--check", "--json")
_QUOTES = ("'", '"')
_SPECIAL = " \t\\'\"`$&;|<>(){}[]*?!#"


@context_matcher(identifier="openshell_policy")  # type: ignore[untyped-decorator]  # IPython is not typed here
def complete(context: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return what IPython may offer, and keep its Python completion out: the line is not Python.

    A matcher rather than a hook: hooks cannot do that, nor say which part of the line is to be replaced.
    """
    line = re.fullmatch(r"\s*%?policy\s+(.*)", context.text_until_cursor)
    fragment, matches = _candidates(line[1]) if line else ("", [])
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
        return []
    matches = []
    for name in names:
        if name.startswith(start) and (start.startswith(".") or not name.startswith(".")) and name.isprintable():
            path = folder + slash + name
            if os.path.isdir(os.path.expanduser(path)):
                path += "/"
            matches.append(quote + path if quote else _escaped(path))
    return matches


def _escaped(text: str) -> str:
    return "".join("\\" + character if character in _SPECIAL else character for character in text)
