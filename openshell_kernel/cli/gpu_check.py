"""`jupyter openshell gpu-check`: whether CUDA works in a confined kernel."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.terminal import complain, say, say_lines
from openshell_kernel.errors import OpenShellError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from openshell_kernel.server.gpu_check import Result

_DESCRIPTION = """\
Start an OpenShell GPU kernel in an empty folder, with the policy of this folder's notebooks. Test there what nvidia-smi
does not: NVML, the device nodes, cuInit, and a kernel on each GPU that adds two vectors. For each failure it names what
is probably missing."""

_EPILOG = """\
exit status:
  0  everything works
  1  something failed
  2  the command line is wrong
  3  the kernel was given no GPU, so there was nothing to check
  4  the kernel was not started"""

_FAILED, _NO_GPU, _NOT_STARTED = 1, 3, 4


def run(words: Sequence[str]) -> int:
    """Check and print each step; return what the epilog lists."""
    arguments = _parser().parse_args(words)
    from openshell_kernel.server import gpu_check  # noqa: PLC0415 - the other commands need none of it

    policy = arguments.policy and os.path.abspath(arguments.policy)
    sys.stderr.write("Starting a confined kernel and checking its GPUs; this can take a minute ...\n")
    try:
        result = gpu_check.check(kernel=arguments.kernel, folder=os.getcwd(), policy=policy)
    except OpenShellError as error:
        complain(error)
        return _NOT_STARTED
    if arguments.json:
        say_lines(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        _tell(result)
    if not result.given:
        return _NO_GPU
    return 0 if result.ok else _FAILED


def _parser() -> argparse.ArgumentParser:
    own = parser("gpu-check", _DESCRIPTION, epilog=_EPILOG)
    own.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy to check with, instead of that of notebooks in this folder",
    )
    own.add_argument("--kernel", default="openshell-gpu", metavar="NAME", help="the kernelspec (%(default)s)")
    own.add_argument("--json", action="store_true", help="print the steps as JSON, for programs")
    return own


def _tell(result: Result) -> None:
    say(f"policy: {result.policy}")
    say(f"sandbox: {result.sandbox}")
    say(f"GPUs: {result.gpus}")
    for step in result.steps:
        detail = f": {step['detail']}" if step["detail"] else ""
        say(f"{'ok    ' if step['ok'] else 'FAILED'} {step['step']}{detail}")
        if step["hint"]:
            say(f"       {step['hint']}")


COMMAND = Command(name="gpu-check", help="test whether CUDA works in a confined kernel", run=run)
