"""Identity: whom the policy has the kernel run as."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.sandbox.layers.identity import Parameters
    from openshell_kernel.server.planning.decided import Decided


def parameters(decided: Decided) -> Parameters | None:
    """Return the identity; None where the kernel runs as the server does."""
    return decided.gathered.identity
