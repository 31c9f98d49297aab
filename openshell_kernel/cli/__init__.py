"""`jupyter openshell`: confined kernels, confined programs, and the policies that confine them.

Each command is a module of its own name here; what several of them share has names that are no command's.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import openshell_kernel
from openshell_kernel.cli import (
    check,
    execute,
    gpu_check,
    gpus,
    lab,
    nbconvert,
    notebook,
    papermill,
    run,
    server,
    show,
    trust,
    untrust,
    verify,
)
from openshell_kernel.cli.terminal import complain
from openshell_kernel.errors import OpenShellError
from openshell_kernel.policy import sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openshell_kernel.cli.command import Command

COMMANDS: tuple[Command, ...] = (
    lab.COMMAND,
    notebook.COMMAND,
    server.COMMAND,
    execute.COMMAND,
    papermill.COMMAND,
    nbconvert.COMMAND,
    run.COMMAND,
    check.COMMAND,
    show.COMMAND,
    trust.COMMAND,
    untrust.COMMAND,
    verify.COMMAND,
    gpus.COMMAND,
    gpu_check.COMMAND,
)
"""All commands, in the order in which `--help` lists them."""

_DESCRIPTION = """\
Start Jupyter with confined kernels only, or run a notebook or a program confined. Check policies, trust them, and see
which kernels hold the GPUs."""

_EPILOG = f"""\
`jupyter openshell COMMAND --help` tells more of each.

examples:
  jupyter openshell lab
  jupyter openshell execute --output=out.ipynb student.ipynb
  jupyter openshell run -- python3 script.py
  jupyter openshell check project/{sources.NEARBY_NAME}
  jupyter openshell trust project/{sources.NEARBY_NAME}
  jupyter openshell trust --list
  jupyter openshell show
  jupyter openshell untrust project/{sources.NEARBY_NAME}
  jupyter openshell verify
  jupyter openshell gpus
  jupyter openshell gpu-check --policy project/{sources.NEARBY_NAME}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 1 where a part of it could not be done; see its `--help`."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((command for command in COMMANDS if words[:1] == [command.name]), None)
    if command is None:
        # It lists the commands, tells the version or complains, and ends the process.
        _parser().parse_args(words)
        raise AssertionError(words)
    try:
        status = command.run(words[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough, as `head` has; and Python is not to complain of it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OpenShellError as error:
        complain(error)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jupyter openshell",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"openshell_kernel {openshell_kernel.__version__}")
    listed = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        listed.add_parser(command.name, help=command.help)
    return parser
