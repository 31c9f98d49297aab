"""Read-only mounts: the environments that run kernels, where a rule makes a folder around them writable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.sandbox.layers.read_only import Parameters

if TYPE_CHECKING:
    from openshell_kernel.server.planning.decided import Decided


def parameters(decided: Decided) -> Parameters | None:
    """Return what is kept, and what is pinned for it; None where there is nothing."""
    kept = decided.protection.kept
    return Parameters(paths=kept.paths, pinned=kept.pinned) if kept.paths else None
