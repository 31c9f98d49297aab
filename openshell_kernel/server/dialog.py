"""Errors as a browser's dialogs show them, which wrap no lines: in lines that fit, with the file named once. Pure."""

from __future__ import annotations

import re
import textwrap

COLUMNS = 90
_PLACED = re.compile(r"(?P<file>/.*?):(?=\d+:\d+: )")
_POINT = re.compile(r"(/.*?:)?\d+:\d+: ")
_COMMAND = re.compile(r"\s|jupyter ")


def for_dialog(message: str) -> str:
    """Return an error's text in lines of at most 90 columns; names and commands that are longer stay in one piece.

    Where all lines are about places in one file, its name gets the first line.
    """
    lines = message.splitlines()
    placed = [_PLACED.match(line) for line in lines]
    files = {match["file"] if match else None for match in placed}
    if len(lines) > 1 and len(files) == 1 and None not in files:
        lines = [f"{files.pop()}:", *(line[match.end() :] for line, match in zip(lines, placed, strict=True) if match)]
    return "\n".join(part for line in lines for part in _wrapped(line))


def _wrapped(line: str) -> list[str]:
    if _COMMAND.match(line) or not line:
        return [line]
    hang = "    " if _POINT.match(line) else ""
    return textwrap.wrap(line, COLUMNS, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
