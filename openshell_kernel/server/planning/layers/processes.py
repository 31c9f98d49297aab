"""Other processes: hidden where a /proc of the kernel's own can be mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.sandbox.layers.processes import Parameters

if TYPE_CHECKING:
    from openshell_kernel.server.planning.decided import Decided


def parameters(_: Decided) -> Parameters:
    """Return that root's kernels have a /proc of their own."""
    return Parameters(hide=os.geteuid() == 0)
