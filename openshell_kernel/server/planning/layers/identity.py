"""Identity: whom the policy has the kernel run as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.server.planning.command import START

if TYPE_CHECKING:
    from openshell_kernel.sandbox.layers.identity import Parameters
    from openshell_kernel.server.planning.decided import Decided


def parameters(decided: Decided) -> Parameters | None:
    """Return the identity, and what starts the kernel; None where the kernel runs as the server does."""
    identity = decided.gathered.identity
    return identity and identity._replace(reads=tuple(word for word in decided.program.argv if word == START))
