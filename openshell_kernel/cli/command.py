"""A command of `jupyter openshell`, as the table of all commands knows it, and the parser that most start from."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: its name, one line for the list of commands, and what runs it.

    `run` is given the words behind the name and returns the exit status. It ends the process itself, with 2, where the
    words are wrong; an `OpenShellError` of it is told in one line, with exit status 1.
    """

    name: str
    help: str
    run: Callable[[Sequence[str]], int]


def parser(name: str, description: str, *, epilog: str = "", usage: str | None = None) -> argparse.ArgumentParser:
    """Return an empty parser for a command. Both texts are shown as they are written."""
    return argparse.ArgumentParser(
        prog=f"jupyter openshell {name}",
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
