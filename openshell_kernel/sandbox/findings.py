"""What live probes find of a report: `verify` writes it in the sandbox, the kernel and who started it read it."""

from __future__ import annotations

from typing import NamedTuple

from openshell_kernel.sandbox.probes import Probe
from openshell_kernel.sandbox.report import LayerStatus


class Finding(NamedTuple):
    """What live probes found of one layer; none are made of a layer that the report says is absent."""

    name: str
    title: str
    status: LayerStatus
    probes: tuple[Probe, ...]

    @property
    def holds(self) -> bool:
        """Whether the layer is what the report says."""
        return self.status is LayerStatus.ABSENT or (bool(self.probes) and all(probe.holds for probe in self.probes))


class Verification(NamedTuple):
    """What live probes found of all layers of a report."""

    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether every layer is what the report says."""
        return all(finding.holds for finding in self.findings)
