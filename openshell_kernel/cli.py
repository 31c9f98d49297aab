"""`jupyter openshell`: trust policies that lie near notebooks, and see which are trusted."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openshell_kernel.errors import OpenShellError, PolicyError
from openshell_kernel.policy import baseline, sources, trust
from openshell_kernel.policy.effective import Hardware
from openshell_kernel.policy.enrichment import Runtime, enrich
from openshell_kernel.policy.model import FilesystemPolicy
from openshell_kernel.server import places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openshell_kernel.policy.model import Policy

_DESCRIPTION = f"""\
A file {sources.NEARBY_NAME} in a notebook's folder, or above it up to the root folder of the Jupyter server, is the
policy of that notebook's kernel, once you have trusted it. A notebook could have written the file itself: so it is
trusted by its very content, and any change of it has to be trusted again. It does not count where the operator names
one policy for every notebook, by {sources.VARIABLE} or the provisioner's trait `policy`."""

_EPILOG = f"""\
examples:
  jupyter openshell trust project/{sources.NEARBY_NAME}
  jupyter openshell trust --list
  jupyter openshell untrust project/{sources.NEARBY_NAME}"""

_HASH_SHOWN = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 where a part of it could not be done."""
    arguments = _parser().parse_args(argv)
    try:
        store = trust.Store(trust.store_path(os.environ))
        if arguments.command == "untrust":
            return _untrust(store, arguments.files)
        return _list(store) if arguments.list else _trust(store, arguments.files)
    except OpenShellError as error:
        _complain(error)
        return 1


def _parser() -> argparse.ArgumentParser:
    shared: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "description": _DESCRIPTION,
        "epilog": _EPILOG,
    }
    parser = argparse.ArgumentParser(prog="jupyter openshell", **shared)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    trusting = commands.add_parser("trust", help="trust policies as they are now, or list what is trusted", **shared)
    what = trusting.add_mutually_exclusive_group(required=True)
    # An empty default: with the usual None, argparse takes no file at all for one that was given.
    what.add_argument("files", nargs="*", default=[], metavar="FILE", help="a policy near notebooks")
    what.add_argument("--list", action="store_true", help="show what is trusted, and whether it has changed")
    untrusting = commands.add_parser("untrust", help="trust policies no longer", **shared)
    untrusting.add_argument("files", nargs="+", metavar="FILE", help="a policy, which may be gone by now")
    return parser


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
    if policy.compatibility == "best_effort":
        yield "  Landlock     best effort: what a machine lacks is not enforced, where its operator allows that"
    # On a machine with a GPU, where more of a policy can conflict with what a kernel needs.
    effective = enrich(
        policy,
        Hardware(status="assumed", detail="", present=True),
        Runtime(
            needs=baseline.SYSTEM,
            workdir=os.path.dirname(candidate.path),
            workdir_refusal="decided when a kernel starts",
        ),
        source=candidate.path,
    )
    for conflict in effective.conflicts:
        yield f"  conflict: {conflict.path} stays read-only, as listed; {conflict.origin.value}: {conflict.reason}"
    own = [os.path.dirname(trust.store_path(os.environ))]
    exposed = places.exposures(effective.rules, places.protected((), own, home=str(Path.home())))
    for notice in (*effective.notices, *exposed):
        yield f"  WARNING: {notice}"


def _complain(error: object) -> None:
    sys.stderr.write(f"jupyter openshell: {_printable(str(error))}\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{_printable(text)}\n")


def _printable(text: str) -> str:
    """Return one line that cannot rewrite what stands on a terminal; names of files and policies are not ours."""
    return "".join(c if c.isprintable() else " " if c == "\n" else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    sys.exit(main())
