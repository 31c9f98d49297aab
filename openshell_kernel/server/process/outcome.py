"""What became of a start, for the server's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.base.rules import Origin
from openshell_kernel.sandbox.layers.contract import Need
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.report import LANDLOCK, LayerStatus

if TYPE_CHECKING:
    import logging

    from openshell_kernel.sandbox.report import LayerReport, Report


def log_report(log: logging.Logger, kernel: str, source: str, report: Report) -> None:
    """Log what confines a kernel, and what does not; `source` says where its policy comes from."""
    if report.enforced:
        log.info("OpenShell: kernel %s is confined by Landlock ABI %s", kernel, report.abi)
    else:
        log.warning("OpenShell: kernel %s is NOT CONFINED: %s", kernel, report.reason)
    log.info("OpenShell: kernel %s has the policy %s", kernel, source)
    for layer in report.layers:
        if layer.status is not LayerStatus.ENFORCED and layer.name != LANDLOCK:
            level = log.warning if _is_expected(layer) else log.info
            level("OpenShell: kernel %s: %s (%s): %s", kernel, layer.title, layer.status.value, layer.detail)
    for rule in report.rules:
        if report.enforced and rule.problem and rule.origin is Origin.POLICY:
            log.warning("OpenShell: %s is not granted (%s): %s", rule.path, rule.origin.value, rule.problem)


def _is_expected(layer: LayerReport) -> bool:
    """Return whether a kernel goes without this layer only where the operator has waived it."""
    return layer.status is LayerStatus.ABSENT and LAYERS[layer.name].need is not Need.IF_ASKED
