"""`jupyter openshell trust`: a policy that lies near notebooks counts once a person has trusted it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import Hardware, Status
from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.terminal import complain, say
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import baseline, sources, trust
from openshell_kernel.policy.effective import Compatibility, GpuRequest, GpuSelection
from openshell_kernel.policy.enrichment import enrich
from openshell_kernel.policy.model import FilesystemPolicy
from openshell_kernel.policy.runtime import Runtime
from openshell_kernel.server.planning import protected_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openshell_kernel.policy.model import GpuPolicy, Policy

DESCRIPTION = f"""\
A file {sources.NEARBY_NAME} in a notebook's folder is the policy of that notebook's kernel, once you trust it. So is
one in a folder above, up to the root folder of the Jupyter server. A notebook could have written the file, so its
content is trusted: after every change you must trust it again. If no server starts the kernel, as with jupyter execute,
nbconvert and papermill, only the notebook's own folder is searched. The file does not count if the operator pins one
policy for all notebooks, with {sources.VARIABLE} or the provisioner's trait `policy`."""

EPILOG = f"""\
examples:
  jupyter openshell trust project/{sources.NEARBY_NAME}
  jupyter openshell trust --list
  jupyter openshell untrust project/{sources.NEARBY_NAME}"""

_HASH_SHOWN = 16


def run(words: Sequence[str]) -> int:
    """Trust or list; return 0, or 1 where a part of it could not be done."""
    own = parser("trust", DESCRIPTION, epilog=EPILOG)
    what = own.add_mutually_exclusive_group(required=True)
    # An empty default: with the usual None, argparse takes no file at all for one that was given.
    what.add_argument("files", nargs="*", default=[], metavar="FILE", help="a policy near notebooks")
    what.add_argument("--list", action="store_true", help="list what is trusted, and whether it has changed")
    arguments = own.parse_args(words)
    store = trust.Store(trust.store_path(os.environ))
    return _list(store) if arguments.list else _trust(store, arguments.files)


def policy_in(name: str) -> str:
    """Return the policy that is meant: a folder stands for the one in it."""
    return os.path.join(name, sources.NEARBY_NAME) if os.path.isdir(name) else name


def _trust(store: trust.Store, files: Sequence[str]) -> int:
    # One file's error does not keep the others from being trusted.
    return max([_trust_one(store, name) for name in files])


def _trust_one(store: trust.Store, name: str) -> int:
    try:
        candidate = _candidate(name)
        shown = list(_shown(candidate, candidate.policy()))
        store.add(candidate.trusted)
    except PolicyError as error:
        complain(error)
        return 1
    for line in shown:
        say(line)
    return 0


def _candidate(name: str) -> trust.Candidate:
    candidate = trust.read(policy_in(name))
    if os.path.basename(candidate.path) != sources.NEARBY_NAME:
        raise PolicyError(
            f"{candidate.path}: only a file named {sources.NEARBY_NAME} can be a policy near notebooks; rename it"
        )
    return candidate


def _list(store: trust.Store) -> int:
    for trusted in store.read():
        say(f"{trusted.sha256[:_HASH_SHOWN]}  {_state(trusted):8}  {trusted.path}")
    return 0


def _state(trusted: trust.Trusted) -> str:
    try:
        return "trusted" if trust.read(trusted.path).trusted == trusted else "CHANGED"
    except PolicyError:
        return "gone" if not os.path.lexists(trusted.path) else "UNUSABLE"


def _shown(candidate: trust.Candidate, policy: Policy) -> Iterator[str]:
    """Yield what a person should see of a policy before it counts: what it grants besides what any kernel needs."""
    listed = policy.filesystem_policy or FilesystemPolicy()
    folder = ["the notebook's folder, if that is safe"] if policy.include_workdir else []
    variables = (*policy.environment.passing, *policy.environment.setting)
    yield f"trusted: {candidate.path}"
    yield f"  sha256       {candidate.trusted.sha256}"
    yield f"  read-write   {', '.join([*listed.read_write, *folder]) or 'nothing'}"
    yield f"  read-only    {', '.join(path for path in listed.read_only if path not in listed.read_write) or 'nothing'}"
    if variables:
        yield f"  environment  {', '.join(variables)}"
    yield f"  GPUs         {_gpus_in_words(policy.gpu)}"
    if policy.compatibility is Compatibility.BEST_EFFORT:
        yield "  Landlock     best effort: what a machine lacks is not enforced, where its operator allows that"
    # On a machine with a GPU, where more of a policy can conflict with what a kernel needs.
    runtime = Runtime(
        needs=baseline.SYSTEM, workdir=os.path.dirname(candidate.path), workdir_refusal="decided when a kernel starts"
    )
    any_gpu = GpuSelection(granted=policy.gpu.request is not GpuRequest.NONE)
    hardware = Hardware(status=Status.OK, detail="", present=True)
    try:
        effective = enrich(policy, hardware, runtime, source=candidate.path, selection=any_gpu)
    except PolicyError as error:
        yield f"  WARNING: with a GPU no kernel starts with it: {error}"
        effective = enrich(policy, hardware, runtime, source=candidate.path, selection=GpuSelection())
    for conflict in effective.conflicts:
        yield f"  conflict: {conflict.path} stays read-only, as listed; {conflict.origin.value}: {conflict.reason}"
    own = [os.path.dirname(trust.store_path(os.environ))]
    exposed = protected_paths.exposures(effective.rules, protected_paths.protected((), own, home=str(Path.home())))
    for notice in (*effective.notices, *exposed):
        yield f"  WARNING: {notice}"


def _gpus_in_words(request: GpuPolicy) -> str:
    if request.request is GpuRequest.NONE:
        return "none"
    what = f"{request.count}, held" if request.count else ", ".join(request.devices) or "all"
    extras = f", with {', '.join(request.extras)}" if request.extras else ""
    return f"{what}{extras}{', required' if request.request is GpuRequest.REQUIRED else ', where there are any'}"


COMMAND = Command(name="trust", help="trust policies as they are now, or list what is trusted", run=run)
