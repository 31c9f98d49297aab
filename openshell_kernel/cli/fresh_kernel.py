"""What the commands share that start a kernel of their own and look at it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TypeVar

from openshell_kernel.cli.terminal import complain
from openshell_kernel.errors import OpenShellError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

NOT_STARTED = 4
"""The exit status where the kernel was not started."""

R = TypeVar("R")


def add_options(own: argparse.ArgumentParser) -> None:
    """Let the command line say which kernel, with which policy, and how the outcome is printed."""
    own.add_argument("--policy", metavar="FILE", help="the policy to use, instead of that of notebooks in this folder")
    own.add_argument("--kernel", default="openshell-gpu", metavar="NAME", help="the kernelspec (%(default)s)")
    own.add_argument("--json", action="store_true", help="print the outcome as JSON, for programs")


def look(arguments: argparse.Namespace, doing: str, at: Callable[..., R]) -> R | None:
    """Have a fresh kernel looked at, and say meanwhile what is done; None, and why, where it was not started."""
    sys.stderr.write(f"Starting a confined kernel and {doing} ...\n")
    policy = arguments.policy and os.path.abspath(arguments.policy)
    try:
        return at(kernel=arguments.kernel, folder=os.getcwd(), policy=policy)
    except OpenShellError as error:
        complain(error)
        return None
