"""Landlock: the rules of the effective policy, and where links may lead nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.base.rules import Access, Origin
from openshell_kernel.sandbox.layers.landlock import Parameters

if TYPE_CHECKING:
    from openshell_kernel.base.rules import Rule
    from openshell_kernel.policy.runtime import Runtime
    from openshell_kernel.server.planning.decided import Decided


def parameters(decided: Decided) -> Parameters:
    """Return the rules, and the folders in which kernels may have made links."""
    rules = decided.enriched.effective.rules
    exact = tuple(rule._replace(exact=_exact(rule, decided.enriched.runtime)) for rule in rules)
    return Parameters(rules=exact, kernels_folders=_kernels_folders(decided))


def _kernels_folders(decided: Decided) -> tuple[str, ...]:
    """Return the folders in which kernels, this one or others, may write or may have written."""
    loaded, home = decided.request.loaded, decided.gathered.home
    writable = [rule.path for rule in decided.enriched.effective.rules if "write_file" in rule.rights]
    folders = {os.path.realpath(path) for path in (loaded.root or home, home, loaded.workdir, *writable)}
    # A server whose root folder is that of the file system keeps its notebooks somewhere in it, and not everywhere.
    return tuple(sorted(path for path in folders - {"/"} if os.path.isdir(path)))


def _exact(rule: Rule, needed: Runtime) -> bool:
    """Whether a rule's path was judged as it is named; where a policy names it, its author has.

    What GPUs need lies in folders of the system's, or, for MPS and X11, in one where everybody may put a link.
    """
    return (
        rule.origin is Origin.WORKDIR
        or (rule.origin is Origin.RUNTIME_BASELINE and not rule.required and rule.path in needed.exact)
        or (rule.origin is Origin.GPU_BASELINE and rule.access is Access.READ_WRITE and rule.path.startswith("/tmp/"))  # noqa: S108 - see above
    )
