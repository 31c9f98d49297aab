"""What the commands `execute`, `papermill` and `nbconvert` have in common: our kernel, whatever a notebook names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from openshell_kernel.cli import passing_on
from openshell_kernel.cli.command import Command
from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server.confined_only import KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DESCRIPTION = """\
Run `{program}` with the kernel OpenShell GPU, whatever kernel the notebook names. It imports nothing from
this folder."""


def command(name: str, program: str, start: Callable[[Sequence[str]], int]) -> Command:
    """Return the command that runs a notebook.

    `start` imports and runs the program with the words that are its own, and may fail where it is not installed.
    """
    return Command(
        name=name,
        help=f"{program} with a confined kernel, whatever kernel a notebook names",
        run=functools.partial(run, name, program, start),
    )


def run(name: str, program: str, start: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """Run the program; return its exit status, if it does not end this process itself.

    Raises:
        ConfigurationError: another kernel is asked for or would be started, or the program is not installed.
    """
    parser = passing_on.parser(name, program, _DESCRIPTION.format(program=program))
    _, given = parser.parse_known_args(words)
    passing_on.check_no_file_gives_options(given)
    passing_on.leave_working_directory()
    from openshell_kernel.server import kernelspecs  # noqa: PLC0415 - the other commands need none of Jupyter

    kernelspecs.check_not_shadowed(KERNEL)
    try:
        return start(given)
    except ImportError as error:
        raise ConfigurationError(f"{program} cannot be started: {error}; install it with pip") from None
