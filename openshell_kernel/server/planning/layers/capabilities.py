"""Capabilities: those that root needs to work with the paths of the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.sandbox.layers.capabilities import Parameters

if TYPE_CHECKING:
    from openshell_kernel.server.planning.decided import Decided


def parameters(decided: Decided) -> Parameters:
    """Return what the kernel keeps."""
    return Parameters(keep=decided.enriched.capabilities)
