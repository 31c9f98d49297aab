"""The program that looks whether a report is true: run inside the sandbox, as a child of what is confined.

It reads a report as JSON from stdin, tries what each of its layers forbids, and writes what it found to stdout. Run by
its path with -I, it imports nothing but this package and the standard library.
"""

from __future__ import annotations

import json
import os
import sys

if __name__ == "__main__":
    # The kernel's Python need not have this package where it looks by itself.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))

from openshell_kernel.base import wire
from openshell_kernel.sandbox.findings import Finding, Verification
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.probes import Probe
from openshell_kernel.sandbox.report import LayerReport, LayerStatus, Report


def verify(report: Report) -> Verification:
    """Probe every layer that a report claims to be in force for the calling process."""
    return Verification(tuple(_finding(layer, report) for layer in report.layers))


def _finding(layer: LayerReport, report: Report) -> Finding:
    probes: tuple[Probe, ...] = ()
    if layer.status is not LayerStatus.ABSENT:
        try:
            probes = LAYERS[layer.name].verify(report)
        except (OSError, ValueError, LookupError) as error:
            probes = (Probe("probe it", f"{type(error).__name__}: {error}", holds=False),)
    return Finding(layer.name, layer.title, layer.status, probes)


def main() -> int:
    """Return 0 if everything is as the report says, or else 1."""
    verification = verify(wire.decode(Report, json.load(sys.stdin)))
    json.dump(wire.encode(verification), sys.stdout)
    return 0 if verification.holds else 1


if __name__ == "__main__":
    sys.exit(main())
