"""The commands that pass their arguments on to a program of Jupyter's: what they have in common."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser(name: str, program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser for a command's own options; what it does not know is the program's."""
    return argparse.ArgumentParser(
        prog=f"jupyter openshell {name}",
        usage="%(prog)s [OPTIONS] [ARGS]",
        description=description,
        epilog=f"All other ARGS are those of `{program}`: see `{program} --help`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An option of the program's is not to be taken for the beginning of one of ours.
        allow_abbrev=False,
    )


def forget_working_directory() -> None:
    """Let Python import nothing from the folder that this program was started in: a notebook can write there."""
    here = os.path.realpath(os.getcwd())
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry) and os.path.realpath(entry) != here]


def check_values(words: Sequence[str], options: Sequence[str], wanted: str) -> None:
    """Make sure that an option which is given, by any of its names, has the value that is wanted.

    Raises:
        ConfigurationError: it has another one.
    """
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in options and (value if equals else following) != wanted:
            raise ConfigurationError(
                f"{name} {value if equals else following}: this command starts the kernel {wanted} only; remove it"
            )
