"""How a command speaks: one line at a time, which cannot rewrite what stands on a terminal."""

from __future__ import annotations

import sys

from openshell_kernel.base.text import printable, printable_lines


def complain(error: object) -> None:
    """Tell what went wrong, on stderr: a command that is to be copied stands on a line of its own."""
    sys.stderr.write(f"jupyter openshell: {printable_lines(str(error))}\n")


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{in_a_line(text)}\n")


def say_lines(text: str) -> None:
    """Print several lines."""
    for line in text.split("\n"):
        say(line)


def in_a_line(text: str) -> str:
    """Return one line that cannot rewrite what stands on a terminal; names of files and policies are not ours."""
    return printable(text.replace("\n", " "))
