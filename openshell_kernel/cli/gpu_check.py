"""`jupyter openshell gpu-check`: whether CUDA works in a confined kernel."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.fresh_kernel import NOT_STARTED, add_options, look
from openshell_kernel.cli.terminal import say, say_lines

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

_FAILED, _NO_GPU = 1, 3


def run(words: Sequence[str]) -> int:
    """Check and print each step; return what the epilog lists."""
    arguments = _parser().parse_args(words)
    from openshell_kernel.server.gpu_check import check  # noqa: PLC0415 - the other commands need none of it

    result = look(arguments, "checking its GPUs; this can take a minute", check)
    if result is None:
        return NOT_STARTED
    if arguments.json:
        say_lines(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        _tell(result)
    if not result.given:
        return _NO_GPU
    return 0 if result.ok else _FAILED


def _parser() -> argparse.ArgumentParser:
    own = parser("gpu-check", _DESCRIPTION, epilog=_EPILOG)
    add_options(own)
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
