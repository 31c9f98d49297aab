"""All that the stages of planning have decided for one start, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.server.planning.enriching import Enriched
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.program import Program
    from openshell_kernel.server.planning.protection import Protection
    from openshell_kernel.server.planning.request import KernelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was asked, what is there, what is run, what is protected from it, and what it is allowed."""

    request: KernelRequest
    gathered: Gathered
    program: Program
    protection: Protection
    enriched: Enriched
