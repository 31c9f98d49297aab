"""Tunables in /proc: protected where the kernel could write them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.sandbox.layers.tunables import Parameters

if TYPE_CHECKING:
    from openshell_kernel.server.planning.decided import Decided


def parameters(decided: Decided) -> Parameters:
    """Return that root's are protected, and whether a GPU needs /proc read-write."""
    return Parameters(protect=os.geteuid() == 0, for_gpu=decided.enriched.effective.selection.granted)
