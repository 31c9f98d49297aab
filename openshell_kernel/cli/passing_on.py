"""The commands that pass their arguments on to a program of Jupyter's: what they have in common."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server.confined_only import KERNEL

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser(name: str, program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser for a command's own options; what it does not know is the program's."""
    return argparse.ArgumentParser(
        prog=f"jupyter openshell {name}",
        usage="%(prog)s [OPTIONS] [ARGS]",
        description=description,
        epilog=f"All other ARGS go to `{program}`: see `{program} --help`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An option of the program's is not to be taken for the beginning of one of ours.
        allow_abbrev=False,
    )


def leave_working_directory() -> None:
    """Let Python import nothing from the folder that this program was started in: a notebook can write there.

    Raises:
        ConfigurationError: PYTHONPATH says to look there.
    """
    path = os.environ.get("PYTHONPATH", "")
    if path and not all(map(os.path.isabs, path.split(os.pathsep))):
        raise ConfigurationError(
            f"PYTHONPATH={path!r} makes Python import from the folder that it is started in; make its entries absolute"
        )
    # `python -m` puts it there.
    if sys.path[0] in ("", os.getcwd()):
        del sys.path[0]


def check_no_file_gives_options(words: Sequence[str]) -> None:
    """Make sure that no option is the name of a file here: where a person says `*.ipynb`, a notebook can give one.

    Raises:
        ConfigurationError: there is such a file.
    """
    for word in words:
        if word.startswith("--") and os.path.lexists(word):
            raise ConfigurationError(
                f"{word!r} is an option and also a file here; write ./*.ipynb if you mean files, or remove the file"
            )


def without_kernel(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return a program's arguments without the options that name the kernel, which the command itself gives.

    Raises:
        ConfigurationError: one of them names another kernel than ours.
    """
    kept, left = [], list(words)
    while left:
        name, equals, value = left[0].partition("=")
        word = left.pop(0)
        if name not in options:
            kept.append(word)
            continue
        value = value if equals or not left else left.pop(0)
        if value != KERNEL:
            raise ConfigurationError(f"{name} {value}: this command starts the kernel {KERNEL} only; remove it")
    return kept
