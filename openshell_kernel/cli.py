"""`jupyter openshell`: trust policies that lie near notebooks; see who holds which GPU, and whether CUDA works."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openshell_kernel
from openshell_kernel.errors import OpenShellError, PolicyError
from openshell_kernel.policy import baseline, sources, trust
from openshell_kernel.policy.effective import GpuSelection, Hardware
from openshell_kernel.policy.enrichment import Runtime, enrich
from openshell_kernel.policy.model import FilesystemPolicy
from openshell_kernel.server import places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openshell_kernel.policy.model import GpuPolicy, Policy

_DESCRIPTION = "Look after OpenShell GPU kernels: the policies that they may be given, and the GPUs that they hold."

_TRUST_DESCRIPTION = f"""\
A file {sources.NEARBY_NAME} in a notebook's folder, or above it up to the root folder of the Jupyter server, is the
policy of that notebook's kernel, once you have trusted it. A notebook could have written the file itself: so it is
trusted by its very content, and any change of it has to be trusted again. Where no server starts the kernel, as with
jupyter execute, nbconvert and papermill, only the notebook's own folder is looked into. The file does not count where
the operator names one policy for every notebook, by {sources.VARIABLE} or the provisioner's trait `policy`."""

_TRUST_EPILOG = f"""\
examples:
  jupyter openshell trust project/{sources.NEARBY_NAME}
  jupyter openshell trust --list
  jupyter openshell untrust project/{sources.NEARBY_NAME}"""

_EPILOG = f"""\
{_TRUST_EPILOG}
  jupyter openshell gpus
  jupyter openshell gpu-check --policy project/{sources.NEARBY_NAME}"""

_GPUS_DESCRIPTION = """\
The GPUs of this machine, how busy they are, and the running kernels that hold them: those whose policy asks for a
number of GPUs or names some (jupyter.gpu). Kernels whose policy says neither share what is there and hold nothing."""

_CHECK_DESCRIPTION = """\
Start an OpenShell GPU kernel in this folder, as Jupyter would, and try in there what nvidia-smi does not prove: NVML,
the device nodes, cuInit, and on each GPU a kernel that adds two vectors. For each failure it names what is likely to
be missing."""

_CHECK_EPILOG = """\
exit status:
  0  everything works
  1  something failed
  2  the command line is wrong
  3  the kernel was given no GPU, so there was nothing to check
  4  the kernel was not started"""

_HASH_SHOWN = 16
_FAILED, _NO_GPU, _NOT_STARTED = 1, 3, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 where a part of it could not be done, or what `gpu-check --help` lists."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "gpus":
            return _gpus(arguments)
        if arguments.command == "gpu-check":
            return _gpu_check(arguments)
        store = trust.Store(trust.store_path(os.environ))
        if arguments.command == "untrust":
            return _untrust(store, arguments.files)
        return _list(store) if arguments.list else _trust(store, arguments.files)
    except OpenShellError as error:
        _complain(error)
        return 1


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    shared: dict[str, Any] = {
        "formatter_class": raw,
        "description": _TRUST_DESCRIPTION,
        "epilog": _TRUST_EPILOG,
    }
    parser = argparse.ArgumentParser(
        prog="jupyter openshell", formatter_class=raw, description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"openshell_kernel {openshell_kernel.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    trusting = commands.add_parser("trust", help="trust policies as they are now, or list what is trusted", **shared)
    what = trusting.add_mutually_exclusive_group(required=True)
    # An empty default: with the usual None, argparse takes no file at all for one that was given.
    what.add_argument("files", nargs="*", default=[], metavar="FILE", help="a policy near notebooks")
    what.add_argument("--list", action="store_true", help="show what is trusted, and whether it has changed")
    untrusting = commands.add_parser("untrust", help="trust policies no longer", **shared)
    untrusting.add_argument("files", nargs="+", metavar="FILE", help="a policy, which may be gone by now")
    holding = commands.add_parser(
        "gpus", help="show who holds which GPU of this machine", formatter_class=raw, description=_GPUS_DESCRIPTION
    )
    holding.add_argument("--json", action="store_true", help="print it for programs")
    holding.add_argument("--claims", metavar="FOLDER", help="the provisioner's gpu_claims, if that is set")
    checking = commands.add_parser(
        "gpu-check",
        help="see whether CUDA works in a confined kernel",
        formatter_class=raw,
        description=_CHECK_DESCRIPTION,
        epilog=_CHECK_EPILOG,
    )
    checking.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy to check with, instead of the one that notebooks here are started with",
    )
    checking.add_argument("--kernel", default="openshell-gpu", metavar="NAME", help="the kernelspec (%(default)s)")
    checking.add_argument("--json", action="store_true", help="print the steps for programs")
    return parser


def _gpus(arguments: argparse.Namespace) -> int:
    from openshell_kernel.server import gpu_table  # noqa: PLC0415 - the other commands need none of it

    table = gpu_table.look(arguments.claims)
    _say_lines(table.to_json() if arguments.json else table.to_text())
    return 0


def _gpu_check(arguments: argparse.Namespace) -> int:
    from openshell_kernel.server import gpu_check  # noqa: PLC0415 - as above

    policy = arguments.policy and os.path.abspath(arguments.policy)
    sys.stderr.write("Starting a confined kernel and checking its GPUs; this can take a minute ...\n")
    try:
        result = gpu_check.check(kernel=arguments.kernel, folder=os.getcwd(), policy=policy)
    except OpenShellError as error:
        _complain(error)
        return _NOT_STARTED
    if arguments.json:
        _say_lines(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        _say(f"policy: {result.policy}")
        _say(f"GPUs: {result.gpus}")
        for step in result.steps:
            detail = f": {step['detail']}" if step["detail"] else ""
            _say(f"{'ok    ' if step['ok'] else 'FAILED'} {step['step']}{detail}")
            if step["hint"]:
                _say(f"       {step['hint']}")
    if not result.given:
        return _NO_GPU
    return 0 if result.ok else _FAILED


def _trust(store: trust.Store, files: Sequence[str]) -> int:
    # One file's error does not keep the others from being trusted.
    return max([_trust_one(store, name) for name in files])


def _trust_one(store: trust.Store, name: str) -> int:
    try:
        candidate = _candidate(name)
        shown = list(_shown(candidate, candidate.policy()))
        store.add(candidate.trusted)
    except PolicyError as error:
        _complain(error)
        return 1
    for line in shown:
        _say(line)
    return 0


def _candidate(name: str) -> trust.Candidate:
    candidate = trust.read(_file(name))
    if os.path.basename(candidate.path) != sources.NEARBY_NAME:
        raise PolicyError(
            f"{candidate.path}: only files named {sources.NEARBY_NAME} are looked for near notebooks; rename it"
        )
    return candidate


def _untrust(store: trust.Store, files: Sequence[str]) -> int:
    status = 0
    for name in files:
        # By its name only: the file may be gone, or a link may have taken its place.
        folder, base = os.path.split(os.path.abspath(_file(name)))
        path = os.path.join(os.path.realpath(folder), base)
        if store.remove(path):
            _say(f"no longer trusted: {path}")
        else:
            _complain(f"{path}: was not trusted; see {trust.COMMAND} --list")
            status = 1
    return status


def _list(store: trust.Store) -> int:
    for trusted in store.read():
        _say(f"{trusted.sha256[:_HASH_SHOWN]}  {_state(trusted):8}  {trusted.path}")
    return 0


def _state(trusted: trust.Trusted) -> str:
    try:
        return "trusted" if trust.read(trusted.path).trusted == trusted else "CHANGED"
    except PolicyError:
        return "gone" if not os.path.lexists(trusted.path) else "UNUSABLE"


def _file(name: str) -> str:
    """Return the policy that is meant: a folder stands for the one in it."""
    return os.path.join(name, sources.NEARBY_NAME) if os.path.isdir(name) else name


def _shown(candidate: trust.Candidate, policy: Policy) -> Iterator[str]:
    """Yield what a person should see of a policy before it counts: what it grants besides what any kernel needs."""
    listed = policy.filesystem_policy or FilesystemPolicy()
    folder = ["the notebook's folder, where that is safe"] if policy.include_workdir else []
    variables = (*policy.environment.passing, *policy.environment.setting)
    yield f"trusted: {candidate.path}"
    yield f"  sha256       {candidate.trusted.sha256}"
    yield f"  read-write   {', '.join([*listed.read_write, *folder]) or 'nothing'}"
    yield f"  read-only    {', '.join(path for path in listed.read_only if path not in listed.read_write) or 'nothing'}"
    if variables:
        yield f"  environment  {', '.join(variables)}"
    yield f"  GPUs         {_gpus_in_words(policy.gpu)}"
    if policy.compatibility == "best_effort":
        yield "  Landlock     best effort: what a machine lacks is not enforced, where its operator allows that"
    # On a machine with a GPU, where more of a policy can conflict with what a kernel needs.
    runtime = Runtime(
        needs=baseline.SYSTEM, workdir=os.path.dirname(candidate.path), workdir_refusal="decided when a kernel starts"
    )
    any_gpu = GpuSelection(granted=policy.gpu.request != "none")
    hardware = Hardware(status="assumed", detail="", present=True)
    try:
        effective = enrich(policy, hardware, runtime, source=candidate.path, selection=any_gpu)
    except PolicyError as error:
        yield f"  WARNING: no kernel starts with it where there is a GPU: {error}"
        effective = enrich(policy, hardware, runtime, source=candidate.path, selection=GpuSelection())
    for conflict in effective.conflicts:
        yield f"  conflict: {conflict.path} stays read-only, as listed; {conflict.origin.value}: {conflict.reason}"
    own = [os.path.dirname(trust.store_path(os.environ))]
    exposed = places.exposures(effective.rules, places.protected((), own, home=str(Path.home())))
    for notice in (*effective.notices, *exposed):
        yield f"  WARNING: {notice}"


def _gpus_in_words(request: GpuPolicy) -> str:
    if request.request == "none":
        return "none"
    what = f"{request.count}, held" if request.count else ", ".join(request.devices) or "all"
    extras = f", with {', '.join(request.extras)}" if request.extras else ""
    return f"{what}{extras}{', required' if request.request == 'required' else ', where there are any'}"


def _complain(error: object) -> None:
    sys.stderr.write(f"jupyter openshell: {_printable(str(error))}\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{_printable(text)}\n")


def _say_lines(text: str) -> None:
    for line in text.split("\n"):
        _say(line)


def _printable(text: str) -> str:
    """Return one line that cannot rewrite what stands on a terminal; names of files and policies are not ours."""
    return "".join(c if c.isprintable() else " " if c == "\n" else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    sys.exit(main())
