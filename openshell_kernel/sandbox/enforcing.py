"""All layers that are asked for, applied to this process in the order of the table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox import ruleset
from openshell_kernel.sandbox.layers.contract import Context, Need, Stage
from openshell_kernel.sandbox.layers.table import TABLE
from openshell_kernel.sandbox.report import LayerStatus, Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.base.rules import Rule
    from openshell_kernel.sandbox.layers.contract import Layer
    from openshell_kernel.sandbox.report import LayerReport


def context(
    *, program: str, cwd: str, temporary: str | None, ending: int | None, uid: int | None, rules: tuple[Rule, ...]
) -> Context:
    """Return what the layers know of a start; `uid` is the user that is taken on, None where none is."""
    is_root = os.geteuid() == 0
    return Context(
        program=program,
        cwd=cwd,
        temporary=temporary,
        ending=ending,
        support=ruleset.probe(),
        is_root=is_root,
        stays_root=is_root and uid in (None, 0),
        new_user=uid is not None,
        rules=rules,
    )


def enforce(layers: Mapping[str, Any], required: tuple[str, ...], context: Context) -> Report:
    """Apply layers, which are named with their parameters, and return what was achieved.

    Raises:
        ConfinementError: one that is required cannot be applied. Others may be in force: the process must end.
    """
    rows = [(row, row.layer(layers[row.layer.name], context)) for row in TABLE if row.layer.name in layers]
    done: dict[str, LayerReport] = {}
    for stage in Stage:
        for row, layer in rows:
            if row.prepares is stage and (report := layer.prepare()) is not None:
                done[layer.name] = _checked(layer, report, required)
        for row, layer in rows:
            if row.enforces is stage and layer.name not in done:
                done[layer.name] = _checked(layer, layer.enforce(), required)
    reports = tuple(done[layer.name] for _, layer in rows)
    return Report(abi=context.support.abi, release=context.support.release, layers=reports, rules=context.rules)


def _checked(layer: Layer[Any], report: LayerReport, required: tuple[str, ...]) -> LayerReport:
    """Return a layer's report.

    Raises:
        ConfinementError: the layer is required, and is absent; the message says why and what to do.
    """
    if report.status is LayerStatus.ABSENT and layer.name in required:
        remedy = f": {report.remedy}" if report.remedy else ""
        raise ConfinementError(f"{report.detail}{remedy}{_waiver(layer)}")
    return report


def _waiver(layer: Layer[Any]) -> str:
    if layer.need is Need.ALWAYS:
        return ""
    return f"; or set c.OpenShellProvisioner.required = {{{layer.name!r}: False}} {layer.waiver}"
