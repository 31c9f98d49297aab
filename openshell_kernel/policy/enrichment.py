"""Enrichment: from a policy, the hardware and what the kernel's runtime needs to the effective policy.

One function for every source of a policy, whatever GPU there is and with or without network policies.

The rules are OpenShell's (its issues #1486 and #1522): baseline paths that do not exist are skipped; what the policy
lists is never lost; an explicit read-only entry beats a baseline that wants the path read-write, except `/proc`, which
is promoted when a GPU is given; the two lists stay disjoint. Where OpenShell looks whether a GPU is present, the
policy's request decides here (see `selection`), and `conflicts` may be set to other rules than the exception of /proc.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from openshell_kernel.base.hardware import Extra
from openshell_kernel.base.paths import is_within
from openshell_kernel.policy import baseline, unenforced
from openshell_kernel.policy.effective import Compatibility, EffectivePolicy, Origin
from openshell_kernel.policy.merging import Merging
from openshell_kernel.policy.overlaps import check_overlaps, overlaps
from openshell_kernel.policy.selection import select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from openshell_kernel.base.hardware import Hardware
    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.policy.effective import GpuSelection, Rule, Unenforced
    from openshell_kernel.policy.model import ConflictsPolicy, Policy
    from openshell_kernel.policy.runtime import Runtime


def enrich(
    policy: Policy,
    hardware: Hardware,
    runtime: Runtime,
    *,
    source: str,
    selection: GpuSelection | None = None,
    pinned: ConflictsPolicy | None = None,
    exists: Callable[[str], bool] = os.path.exists,
    realpath: Callable[[str], str] = os.path.realpath,
) -> EffectivePolicy:
    """Return the effective policy: every rule with its rights, origin and reason, and every decision on the way.

    Args:
        policy: what its author wrote.
        hardware: what GPU discovery found.
        runtime: what this one kernel needs.
        source: where the policy came from, for people.
        selection: which GPUs the kernel is given; by default, what `select` says of the policy and the hardware alone.
        pinned: the operator's settings for conflicts, which the policy's cannot loosen.
        exists: decides which baseline paths are there.
        realpath: resolves links: one folder may have two names.

    Raises:
        PolicyError: the settings for conflicts refuse one, a GPU that is required is not there, or the policy says
            hard_requirement and lists a path read-only in a folder that it makes writable.
    """
    if selection is None:
        selection = select(policy.gpu, hardware)
    merging = Merging([policy.baseline_conflicts, *([pinned] if pinned else [])], realpath)
    merging.add_policy(policy)
    if policy.include_workdir:
        merging.add_workdir(runtime)
    elif policy.leaves_workdir_open:
        merging.tell_lost_workdir(runtime)
    for origin, needs in _baselines(policy, hardware, selection, runtime):
        merging.add_needs(origin, (need for need in needs if need.required or exists(need.path)))
    merging.check_conflicts(source)
    rules = tuple(merging.rules.values())
    overlapping = tuple(overlaps(rules, realpath))
    if policy.compatibility is Compatibility.HARD_REQUIREMENT:
        check_overlaps(source, overlapping)
    return EffectivePolicy(
        source=source,
        compatibility=policy.compatibility,
        rules=rules,
        promotions=tuple(merging.promotions),
        conflicts=tuple(merging.conflicts),
        skipped=tuple(merging.skipped),
        notices=(
            *policy.notices,
            *(overlap.notice() for overlap in overlapping),
            *selection.notices,
            *_past_the_selection(rules, hardware, selection),
            *runtime.notices,
            *(notice for path, notice in runtime.refused if not merging.grants(path, "read_file")),
        ),
        unenforced=(
            *_unenforced_of_policy(policy, runtime),
            *_unenforced_of_gpus(hardware, selection),
            *unenforced.ALWAYS,
        ),
        hardware=hardware,
        selection=selection,
        declared=_without_values(policy.declared()),
        environment=runtime.environment,
        home=runtime.home,
    )


def _baselines(
    policy: Policy, hardware: Hardware, selection: GpuSelection, runtime: Runtime
) -> Iterator[tuple[Origin, Iterable[Need]]]:
    if policy.network_policies:
        yield Origin.PROXY_BASELINE, baseline.PROXY
    if selection.granted:
        yield Origin.GPU_BASELINE, baseline.gpu(hardware, selection)
    else:
        yield Origin.RUNTIME_BASELINE, baseline.without_gpu(hardware)
    yield Origin.RUNTIME_BASELINE, runtime.needs


def _past_the_selection(rules: Iterable[Rule], hardware: Hardware, selection: GpuSelection) -> Iterator[str]:
    """Yield a sentence for each rule of the policy that opens GPUs which were not selected."""
    if selection.granted and not selection.devices:
        return
    # A GPU's own node may be missing, a MIG device's are known only where they are.
    missing = {gpu.node for gpu in hardware.gpus} - set(hardware.nodes)
    left_out = [node for node in hardware.own_nodes if node not in {*missing, *selection.own_nodes}]
    for rule in rules:
        opened = [node for node in left_out if is_within(node, rule.path)]
        if rule.origin is Origin.POLICY and opened:
            yield (
                f"the policy's {rule.access.value} {rule.path} opens {', '.join(opened)} of GPUs that were not "
                "selected: list narrower paths, and ask for GPUs in jupyter.gpu"
            )


def _without_values(declared: dict[str, Any]) -> dict[str, Any]:
    """Leave out the values of variables: what is recorded gets shown, saved in notebooks and passed on."""
    values = declared.get("jupyter", {}).get("environment", {}).get("set", {})
    values.update(dict.fromkeys(values))
    return declared


def _unenforced_of_policy(policy: Policy, runtime: Runtime) -> Iterator[Unenforced]:
    if policy.network_policies:
        yield unenforced.NETWORK_POLICIES
    if policy.network_middlewares:
        yield unenforced.NETWORK_MIDDLEWARES
    if policy.unknown_blocks:
        yield unenforced.unknown(policy.unknown_blocks)
    if policy.process is not None and policy.process.asked and not runtime.identity_applied:
        yield unenforced.PROCESS


def _unenforced_of_gpus(hardware: Hardware, selection: GpuSelection) -> Iterator[Unenforced]:
    if not selection.granted:
        return
    yield unenforced.driver(hardware.driver_version)
    if hardware.shares_nodes and len(selection.devices) < len(hardware.gpus):
        yield unenforced.SHARED_NODE
    if hardware.paths_of(Extra.MPS) and not selection.includes(Extra.MPS):
        yield unenforced.MPS
    if selection.extras:
        yield unenforced.extras(family.name for family in selection.extras)
