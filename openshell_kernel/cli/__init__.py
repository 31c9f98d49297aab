"""`jupyter openshell`: start Jupyter with confined kernels only; trust policies; see GPUs and who holds them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import openshell_kernel
from openshell_kernel.cli import gpu_check, gpus, runners, servers, trusting
from openshell_kernel.cli.terminal import complain
from openshell_kernel.errors import OpenShellError
from openshell_kernel.policy import sources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DESCRIPTION = """\
Start Jupyter, or run a notebook, with OpenShell GPU kernels only; and look after these kernels: the policies that they
may be given, and the GPUs that they hold."""

_EPILOG = f"""\
examples:
  jupyter openshell lab
  jupyter openshell execute --output=out.ipynb student.ipynb
  jupyter openshell trust project/{sources.NEARBY_NAME}
  jupyter openshell trust --list
  jupyter openshell untrust project/{sources.NEARBY_NAME}
  jupyter openshell gpus
  jupyter openshell gpu-check --policy project/{sources.NEARBY_NAME}"""

# These read their own arguments: most are of the program that they start.
_PROGRAMS: Mapping[str, tuple[Callable[[str, Sequence[str]], int], str]] = {
    "lab": (servers.run, "start JupyterLab with confined kernels only"),
    "notebook": (servers.run, "start Jupyter Notebook with confined kernels only"),
    "server": (servers.run, "start Jupyter Server with confined kernels only"),
    "execute": (runners.run, "jupyter execute, whatever kernel a notebook names"),
    "papermill": (runners.run, "papermill, whatever kernel a notebook names"),
    "nbconvert": (runners.run, "jupyter nbconvert, whatever kernel a notebook names"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 where a part of it could not be done, or what `gpu-check --help` lists."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in _PROGRAMS:
            run, _ = _PROGRAMS[words[0]]
            return run(words[0], words[1:])
        arguments = _parser().parse_args(words)
        return int(arguments.run(arguments))
    except OpenShellError as error:
        complain(error)
        return 1


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    shared: dict[str, Any] = {
        "formatter_class": raw,
        "description": trusting.DESCRIPTION,
        "epilog": trusting.EPILOG,
    }
    parser = argparse.ArgumentParser(
        prog="jupyter openshell", formatter_class=raw, description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"openshell_kernel {openshell_kernel.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in _PROGRAMS.items():
        commands.add_parser(name, help=text)
    trust = commands.add_parser("trust", help="trust policies as they are now, or list what is trusted", **shared)
    what = trust.add_mutually_exclusive_group(required=True)
    # An empty default: with the usual None, argparse takes no file at all for one that was given.
    what.add_argument("files", nargs="*", default=[], metavar="FILE", help="a policy near notebooks")
    what.add_argument("--list", action="store_true", help="show what is trusted, and whether it has changed")
    untrust = commands.add_parser("untrust", help="trust policies no longer", **shared)
    untrust.add_argument("files", nargs="+", metavar="FILE", help="a policy, which may be gone by now")
    holding = commands.add_parser(
        "gpus", help="show who holds which GPU of this machine", formatter_class=raw, description=gpus.DESCRIPTION
    )
    holding.add_argument("--json", action="store_true", help="print it for programs")
    holding.add_argument("--claims", metavar="FOLDER", help="the provisioner's gpu_claims, if that is set")
    checking = commands.add_parser(
        "gpu-check",
        help="see whether CUDA works in a confined kernel",
        formatter_class=raw,
        description=gpu_check.DESCRIPTION,
        epilog=gpu_check.EPILOG,
    )
    checking.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy to check with, instead of the one that notebooks here are started with",
    )
    checking.add_argument("--kernel", default="openshell-gpu", metavar="NAME", help="the kernelspec (%(default)s)")
    checking.add_argument("--json", action="store_true", help="print the steps for programs")
    for command, run in (
        (trust, trusting.run),
        (untrust, trusting.run),
        (holding, gpus.run),
        (checking, gpu_check.run),
    ):
        command.set_defaults(run=run)
    return parser
