"""How a command speaks: one line at a time, which cannot rewrite what stands on a terminal."""

from __future__ import annotations

import sys


def complain(error: object) -> None:
    """Tell what went wrong, on stderr."""
    sys.stderr.write(f"jupyter openshell: {printable(str(error))}\n")


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{printable(text)}\n")


def say_lines(text: str) -> None:
    """Print several lines."""
    for line in text.split("\n"):
        say(line)


def printable(text: str) -> str:
    """Return one line that cannot rewrite what stands on a terminal; names of files and policies are not ours."""
    return "".join(c if c.isprintable() else " " if c == "\n" else c.encode("unicode_escape").decode() for c in text)
