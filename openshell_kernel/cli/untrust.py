"""`jupyter openshell untrust`: a policy near notebooks counts no longer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.terminal import complain, say
from openshell_kernel.cli.trust import DESCRIPTION, EPILOG, policy_in
from openshell_kernel.policy import trust

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(words: Sequence[str]) -> int:
    """Forget policies; return 0, or 1 where one of them was not trusted."""
    own = parser("untrust", DESCRIPTION, epilog=EPILOG)
    own.add_argument("files", nargs="+", metavar="FILE", help="a policy file, which may no longer exist")
    store = trust.Store(trust.store_path(os.environ))
    # One that was not trusted does not keep the others from being forgotten.
    return max([_untrust(store, name) for name in own.parse_args(words).files])


def _untrust(store: trust.Store, name: str) -> int:
    # By its name only: the file may be gone, or a link may have taken its place.
    folder, base = os.path.split(os.path.abspath(policy_in(name)))
    path = os.path.join(os.path.realpath(folder), base)
    if store.remove(path):
        say(f"no longer trusted: {path}")
        return 0
    complain(f"{path}: it was not trusted; see {trust.COMMAND} --list")
    return 1


COMMAND = Command(name="untrust", help="trust policies no longer", run=run)
