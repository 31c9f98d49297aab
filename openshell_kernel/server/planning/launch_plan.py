"""The last stage of planning: what was decided, as the plan that the launcher carries out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import os
import pkgutil
from typing import TYPE_CHECKING, Any

from openshell_kernel.policy.effective import Compatibility
from openshell_kernel.policy.protected_paths import PRIVATE_DIR, Guarded
from openshell_kernel.sandbox.layers.contract import Need
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.sandbox.plan import LaunchPlan
from openshell_kernel.sandbox.report import LANDLOCK
from openshell_kernel.server.planning import layers
from openshell_kernel.server.planning.program import fitted_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openshell_kernel.policy.protected_paths import ProtectedPath
    from openshell_kernel.sandbox.layers.contract import Layer
    from openshell_kernel.server.planning.decided import Decided


def launch_plan(decided: Decided) -> LaunchPlan:
    """Return the plan of what all the other stages have decided."""
    request, program = decided.request, decided.program
    asked = {name: parameters for name in LAYERS if (parameters := parameters_of(LAYERS[name], decided)) is not None}
    hard = request.loaded.policy.compatibility is Compatibility.HARD_REQUIREMENT
    return LaunchPlan(
        argv=program.argv,
        cwd=request.loaded.workdir,
        environment=fitted_environment(request, program, decided.enriched.effective.rules),
        layers=asked,
        required=required(asked, request.settings.required, policys=(LANDLOCK,) if hard else ()),
        record=_record(decided),
    )


def required(asked: Iterable[str], operators: Mapping[str, bool], policys: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the layers without which nothing is started, of those that are asked for.

    `operators` is what the operator says of some, and `policys` those that the policy requires, whatever that is.
    """
    by_default = {name: LAYERS[name].need is not Need.IF_ASKED for name in asked}
    return tuple(name for name, need in by_default.items() if name in policys or operators.get(name, need))


def parameters_of(layer: type[Layer[Any]], decided: Decided) -> Any:  # noqa: ANN401 - each layer has a type of its own
    """Return a layer's parameters: as the module of its name in `layers` says, or all by default."""
    module = f"{layers.__name__}.{layer.name}"
    if importlib.util.find_spec(module) is None:
        return layer.takes()
    return pkgutil.resolve_name(f"{module}:parameters")(decided)


def _record(decided: Decided) -> dict[str, Any]:
    """Return what `%policy` is told besides what was achieved. The rules come with that."""
    return {
        "effective": dataclasses.replace(decided.enriched.effective, rules=()).to_json(),
        "guarded": _guarded(decided.gathered.home, decided.protection.paths),
        "kernel": {
            "started": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "python": decided.gathered.executable,
            "workdir": decided.request.loaded.workdir,
        },
    }


def _guarded(home: str, protected: Iterable[ProtectedPath]) -> dict[str, Any]:
    """Return what `%policy why` must know so that it proposes nothing that a start refuses, or that exposes secrets.

    Most of it stands in every account, or in what a kernel is shown anyway. Where other kernels' folders are does not.
    """
    told = [place for place in protected if not PRIVATE_DIR.fullmatch(os.path.basename(place.path))]
    return dataclasses.asdict(Guarded(home=os.path.realpath(home), places=tuple(told)))
