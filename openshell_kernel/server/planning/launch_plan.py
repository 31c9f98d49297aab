"""The last stage of planning: what was decided, as the plan that the launcher carries out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from typing import TYPE_CHECKING, Any

from openshell_kernel.policy.effective import Access, Compatibility, Origin
from openshell_kernel.policy.protected_paths import PRIVATE_DIR, Guarded
from openshell_kernel.sandbox.plan import LaunchPlan, PlanRule
from openshell_kernel.server.planning.program import fitted_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.policy.effective import Rule
    from openshell_kernel.policy.enrichment import Runtime
    from openshell_kernel.policy.protected_paths import ProtectedPath
    from openshell_kernel.server.planning.enriching import Enriched
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.loading import LoadedPolicy
    from openshell_kernel.server.planning.program import Program
    from openshell_kernel.server.planning.protection import Protection
    from openshell_kernel.server.planning.request import KernelRequest
    from openshell_kernel.server.settings import Settings

_LISTED = frozenset({Origin.POLICY, Origin.PROMOTION})


def launch_plan(
    request: KernelRequest,
    gathered: Gathered,
    program: Program,
    protection: Protection,
    enriched: Enriched,
) -> LaunchPlan:
    """Return the plan of what all the other stages have decided."""
    loaded, settings, effective = request.loaded, request.settings, enriched.effective
    writable = [rule.path for rule in effective.rules if "write_file" in rule.rights]
    record: dict[str, Any] = {
        "effective": effective.to_json(),
        "guarded": _guarded(gathered.home, protection.paths),
        "kernel": {
            "started": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "python": gathered.executable,
            "workdir": loaded.workdir,
        },
    }
    return LaunchPlan(
        argv=program.argv,
        cwd=loaded.workdir,
        environment=fitted_environment(request, program, effective.rules),
        rules=tuple(_plan_rule(rule, enriched.runtime) for rule in effective.rules),
        read_only_mounts=protection.kept.paths,
        pinned=protection.kept.pinned,
        kernels_folders=_kernels_folders(loaded, gathered.home, writable),
        require_landlock=settings.require_landlock or loaded.policy.compatibility is Compatibility.HARD_REQUIREMENT,
        record=record,
        seccomp=gathered.seccomp.program,
        seccomp_detail=gathered.seccomp.detail,
        require_seccomp=settings.require_seccomp,
        identity=gathered.identity,
        keep_capabilities=enriched.capabilities,
        proc=_proc(settings),
        proc_for_gpu=effective.selection.granted,
    )


def _kernels_folders(loaded: LoadedPolicy, home: str, writable: Iterable[str]) -> tuple[str, ...]:
    """Return the folders in which kernels, this one or others, may write or may have written."""
    folders = {os.path.realpath(path) for path in (loaded.root or home, home, loaded.workdir, *writable)}
    # A server whose root folder is that of the file system keeps its notebooks somewhere in it, and not everywhere.
    return tuple(sorted(path for path in folders - {"/"} if os.path.isdir(path)))


def _guarded(home: str, protected: Iterable[ProtectedPath]) -> dict[str, Any]:
    """Return what `%policy why` must know so that it proposes nothing that a start refuses, or that exposes secrets.

    Most of it stands in every account, or in what a kernel is shown anyway. Where other kernels' folders are does not.
    """
    told = [place for place in protected if not PRIVATE_DIR.fullmatch(os.path.basename(place.path))]
    return dataclasses.asdict(Guarded(home=os.path.realpath(home), places=tuple(told)))


def _plan_rule(rule: Rule, needed: Runtime) -> PlanRule:
    return PlanRule(
        path=rule.path,
        rights=rule.rights,
        required=rule.required,
        exact=_exact(rule, needed),
        listed=rule.origin in _LISTED,
    )


def _exact(rule: Rule, needed: Runtime) -> bool:
    """Whether a rule's path was judged as it is named; where a policy names it, its author has.

    What GPUs need lies in folders of the system's, or, for MPS and X11, in one where everybody may put a link.
    """
    return (
        rule.origin is Origin.WORKDIR
        or (rule.origin is Origin.RUNTIME_BASELINE and not rule.required and rule.path in needed.exact)
        or (rule.origin is Origin.GPU_BASELINE and rule.access is Access.READ_WRITE and rule.path.startswith("/tmp/"))  # noqa: S108 - see above
    )


def _proc(settings: Settings) -> str:
    if os.geteuid() != 0:
        return "leave"
    return "allow" if settings.allow_root_proc else "protect"
