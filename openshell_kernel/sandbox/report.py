"""The account of what was achieved: the launcher gives it, before the kernel runs, to the server and to the kernel.

It is the only witness, because Linux does not tell a process its own rules.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from openshell_kernel.base.rules import Rule, Unenforced

FORMAT = 2
"""Of the record that the kernel is given: this report and what the trusted side decided."""

LANDLOCK = "landlock"
"""The name of the layer without which a kernel is not confined at all."""


class LayerStatus(str, Enum):
    """Whether a layer protects: as it says, in part, or not at all."""

    ENFORCED = "enforced"
    DEGRADED = "degraded"
    ABSENT = "absent"


class LayerReport(NamedTuple):
    """What became of one layer.

    Attributes:
        name: as the operator and the plan call it.
        title: as people are shown it.
        status: what was achieved.
        detail: what it covers here, or why it does not.
        remedy: what would make it whole; empty where it is, or where nothing does.
        residual: what stays open, because it is not enforced, or not wholly.
        subjects: what it is about here, for the probe that looks whether it holds: paths, or names.
    """

    name: str
    title: str
    status: LayerStatus
    detail: str
    remedy: str = ""
    residual: tuple[Unenforced, ...] = ()
    subjects: tuple[str, ...] = ()


class Report(NamedTuple):
    """What was achieved for one kernel.

    Attributes:
        abi: Landlock's ABI, None where there is no Landlock.
        release: Linux's release, as uname says it.
        layers: all that the plan asked for, in the order of the table.
        rules: those of the plan, with what became of each.
    """

    abi: int | None
    release: str
    layers: tuple[LayerReport, ...]
    rules: tuple[Rule, ...]

    def layer(self, name: str) -> LayerReport | None:
        """Return what became of a layer, None where nobody asked for it."""
        return next((layer for layer in self.layers if layer.name == name), None)

    @property
    def enforced(self) -> bool:
        """Whether the kernel is confined by Landlock, without which the other layers confine nobody."""
        landlock = self.layer(LANDLOCK)
        return landlock is not None and landlock.status is not LayerStatus.ABSENT

    @property
    def reason(self) -> str:
        """Why the kernel is not confined; empty where it is."""
        landlock = self.layer(LANDLOCK)
        return "" if self.enforced else "nobody asked for it" if landlock is None else landlock.detail

    @property
    def residual(self) -> tuple[Unenforced, ...]:
        """What stays open because layers are missing, or not whole."""
        return tuple(item for layer in self.layers for item in layer.residual)


def snapshot(record: dict[str, Any], report: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return what a kernel is told of itself: the record of its plan, with the launcher's report as JSON has it."""
    return {"format": FORMAT, "report": report, **record}
