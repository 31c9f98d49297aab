"""seccomp: the filter as it was compiled for this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.sandbox.layers.seccomp import Parameters

if TYPE_CHECKING:
    from openshell_kernel.server.planning.decided import Decided


def parameters(decided: Decided) -> Parameters:
    """Return the filter, or why there is none."""
    compiled = decided.gathered.seccomp
    return Parameters(program=compiled.program, detail=compiled.detail)
