"""What the server's log is told of a start: what was decided, and what was achieved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openshell_kernel.base.rules import Origin
from openshell_kernel.sandbox.layers.contract import Need
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.report import LANDLOCK, LayerStatus

if TYPE_CHECKING:
    import logging

    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.sandbox.report import LayerReport, Report

    Log = logging.Logger | logging.LoggerAdapter[Any]


def log_decisions(log: Log, kernel_id: str, effective: EffectivePolicy) -> None:
    """Tell how the policy was made effective. Called before the launcher carries it out."""
    for promotion in effective.promotions:
        log.info(
            "OpenShell: %s is promoted from read-only to read-write (%s): %s",
            promotion.path,
            promotion.origin.value,
            promotion.reason,
        )
    for conflict in effective.conflicts:
        log.info(
            "OpenShell: %s stays read-only, as the policy lists it, but the %s needs it read-write: %s",
            conflict.path,
            conflict.origin.value,
            conflict.reason,
        )
    if effective.selection.hold:
        log.info("OpenShell: kernel %s holds GPU %s", kernel_id, ", ".join(effective.selection.devices))
    for skipped in effective.skipped:
        log.warning("OpenShell: %s is not granted (%s): %s", skipped.path, skipped.origin.value, skipped.why)
    for notice in effective.notices:
        log.warning("OpenShell: %s", notice)


def log_report(log: Log, kernel: str, source: str, report: Report) -> None:
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
