"""The layers of protection in words: which hold, which hold in part, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.sandbox.report import LANDLOCK, LayerStatus

if TYPE_CHECKING:
    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.sandbox.report import LayerReport

_STATES = {LayerStatus.ENFORCED: "", LayerStatus.DEGRADED: " (in part)", LayerStatus.ABSENT: " (missing)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One kind of protection, whether this kernel has it, and what it covers or why it does not."""

    name: str
    status: LayerStatus
    detail: str

    @property
    def whole(self) -> bool:
        """Whether it protects as it should."""
        return self.status is LayerStatus.ENFORCED


def layers(snapshot: Snapshot) -> tuple[Layer, ...]:
    """Return all layers: Landlock first, the others in the order in which they were applied."""
    return tuple(map(_layer, sorted(snapshot.report.layers, key=lambda layer: layer.name != LANDLOCK)))


def _layer(layer: LayerReport) -> Layer:
    remedy = f"; {layer.remedy}" if layer.remedy else ""
    return Layer(name=layer.title + _STATES[layer.status], status=layer.status, detail=layer.detail + remedy)
