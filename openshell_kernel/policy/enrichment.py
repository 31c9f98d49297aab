"""Enrichment: from a policy, the hardware and what the kernel's runtime needs to the effective policy.

One function for every source of a policy, whatever GPU there is and with or without network policies.

The rules are OpenShell's (its issues #1486 and #1522): baseline paths that do not exist are skipped; what the policy
lists is never lost; an explicit read-only entry beats a baseline that wants the path read-write, except `/proc`, which
is promoted when a GPU is given; the two lists stay disjoint. Where OpenShell looks whether a GPU is present, the
policy's request decides here (see `selection`), and `conflicts` may be set to other rules than the exception of /proc.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openshell_kernel.base.hardware import Extra
from openshell_kernel.base.paths import is_within
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import baseline, unenforced
from openshell_kernel.policy.conflicts import Decision, decide
from openshell_kernel.policy.effective import (
    PROC_READ_RIGHTS,
    PROC_WRITE_RIGHTS,
    READ_RIGHTS,
    WRITE_RIGHTS,
    Access,
    Compatibility,
    Conflict,
    EffectivePolicy,
    Environment,
    GpuSelection,
    Home,
    Origin,
    Promotion,
    Rule,
    Skipped,
    Unenforced,
)
from openshell_kernel.policy.model import FilesystemPolicy
from openshell_kernel.policy.selection import select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from openshell_kernel.base.hardware import Hardware
    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.policy.model import ConflictsPolicy, Policy

PROC = "/proc"
_BASELINES = frozenset({Origin.RUNTIME_BASELINE, Origin.GPU_BASELINE, Origin.PROXY_BASELINE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is granted of a folder that holds something which must stay as it is.

    `kept` is that; `folders` may be read only, and `entries`, which lie in them beside it, written.
    """

    kept: tuple[str, ...]
    folders: tuple[str, ...]
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What this one kernel needs: the runtime baseline and its working directory.

    `workdir` is the folder to grant where the policy includes it; `workdir_refusal` says, instead, why none is safe.
    `workdir_parts` is what may be granted where the whole is not safe, and `kept` is what stays read-only in the whole.
    `refused` are paths, without symbolic links, that are named for the kernel and not granted to it, with sentences
    that say so unless the policy grants them all the same.
    `identity_applied` tells whether the kernel takes on the identity that the policy asks for. `exact` are the paths
    among the needs that were judged as they are named, so that no symbolic link may be on the way. `environment`,
    `home` and `notices` are recorded as they are.
    """

    needs: tuple[Need, ...]
    workdir: str
    workdir_refusal: str = ""
    workdir_parts: Beside | None = None
    kept: tuple[str, ...] = ()
    identity_applied: bool = False
    exact: frozenset[str] = frozenset()
    refused: tuple[tuple[str, str], ...] = ()
    environment: Environment = field(default_factory=Environment)
    home: Home | None = None
    notices: tuple[str, ...] = ()


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
    building = _Building([policy.baseline_conflicts, *([pinned] if pinned else [])])
    building.add_policy(policy)
    if policy.include_workdir:
        building.add_workdir(runtime, realpath)
    elif policy.leaves_workdir_open:
        building.tell_lost_workdir(runtime, realpath)
    if policy.network_policies:
        building.add_needs(Origin.PROXY_BASELINE, filter(lambda need: exists(need.path), baseline.PROXY))
    if selection.granted:
        needs = baseline.gpu(hardware, selection)
        building.add_needs(Origin.GPU_BASELINE, filter(lambda need: exists(need.path), needs))
    else:
        building.add_needs(
            Origin.RUNTIME_BASELINE, filter(lambda need: exists(need.path), baseline.without_gpu(hardware))
        )
    building.add_needs(Origin.RUNTIME_BASELINE, filter(lambda need: need.required or exists(need.path), runtime.needs))
    building.check_conflicts(source)
    writable_all_the_same = tuple(_writable_all_the_same(building.rules, realpath))
    if policy.compatibility is Compatibility.HARD_REQUIREMENT:
        _check_writable(source, writable_all_the_same)
    return EffectivePolicy(
        source=source,
        compatibility=policy.compatibility,
        rules=tuple(building.rules.values()),
        promotions=tuple(building.promotions),
        conflicts=tuple(building.conflicts),
        skipped=tuple(building.skipped),
        notices=(
            *policy.notices,
            *_notices(writable_all_the_same),
            *selection.notices,
            *_past_the_selection(building.rules, hardware, selection),
            *runtime.notices,
            *(notice for path, notice in runtime.refused if not building.grants(path, "read_file", realpath)),
        ),
        unenforced=_unenforced(policy, hardware, selection, runtime),
        hardware=hardware,
        selection=selection,
        declared=_without_values(policy.declared()),
        environment=runtime.environment,
        home=runtime.home,
    )


class _Building:
    """The rules by path while they come together, in the order of their origins."""

    def __init__(self, conflict_settings: list[ConflictsPolicy]) -> None:
        self._conflict_settings = conflict_settings
        self.rules: dict[str, Rule] = {}
        self.promotions: list[Promotion] = []
        self.conflicts: list[Conflict] = []
        self.refused: list[Conflict] = []
        self.skipped: list[Skipped] = []

    def add_policy(self, policy: Policy) -> None:
        required = policy.compatibility is Compatibility.HARD_REQUIREMENT
        listed = policy.filesystem_policy or FilesystemPolicy()
        # A path in both lists is read-write: Landlock adds rights up, so that is what it would be.
        for access, paths in ((Access.READ_ONLY, listed.read_only), (Access.READ_WRITE, listed.read_write)):
            for path in paths:
                self.rules[path] = Rule(
                    path=path,
                    access=access,
                    rights=_policy_rights(path, access),
                    origin=Origin.POLICY,
                    reason=f"listed in filesystem_policy.{access.value}",
                    required=required,
                )

    def add_workdir(self, runtime: Runtime, realpath: Callable[[str], str]) -> None:
        path, refusal = runtime.workdir, runtime.workdir_refusal
        if not refusal:
            self.add_needs(Origin.WORKDIR, _workdir_needs(runtime))
        elif not self.grants(path, "write_file", realpath):
            if self.grants(path, "read_file", realpath):
                refusal = f"only reading it is, as the policy lists it; {refusal}"
            self._skip_workdir(runtime, refusal)

    def tell_lost_workdir(self, runtime: Runtime, realpath: Callable[[str], str]) -> None:
        """Say that the policy has lost the notebook's folder, unless it lists that or a folder above it."""
        if not self.grants(runtime.workdir, "write_file", realpath):
            remedy = (
                f"and it could not be: {runtime.workdir_refusal}"
                if runtime.workdir_refusal
                else "add include_workdir: true to its filesystem_policy, or include_workdir: false if that is meant"
            )
            self._skip_workdir(runtime, f"the policy does not include the notebook's folder: {remedy}")

    def _skip_workdir(self, runtime: Runtime, why: str) -> None:
        self.skipped.append(Skipped(path=runtime.workdir, access=Access.READ_WRITE, origin=Origin.WORKDIR, why=why))

    def grants(self, path: str, right: str, realpath: Callable[[str], str]) -> bool:
        """Return whether one of the rules gives a right at a path without symbolic links."""
        return any(right in rule.rights and is_within(path, realpath(rule.path)) for rule in self.rules.values())

    def add_needs(self, origin: Origin, needs: Iterable[Need]) -> None:
        for need in needs:
            present = self.rules.get(need.path)
            if present is None:
                self.rules[need.path] = Rule(
                    path=need.path,
                    access=need.access,
                    rights=need.rights,
                    origin=origin,
                    reason=need.reason,
                    required=need.required,
                )
            elif present.access is Access.READ_ONLY and need.access is Access.READ_WRITE:
                self._raise_access(present, need, origin)
            elif present.origin is not Origin.POLICY:
                self.rules[need.path] = present._replace(rights=_union(present.rights, need.rights))

    def _raise_access(self, present: Rule, need: Need, origin: Origin) -> None:
        path = need.path
        rights = _union(present.rights, need.rights)
        if present.origin is not Origin.POLICY:
            self.rules[path] = present._replace(access=need.access, rights=rights, origin=origin, reason=need.reason)
            return
        conflict = Conflict(path=path, origin=origin, reason=need.reason)
        # The working directory is no baseline: the policy itself asks for both.
        decision = decide(path, self._conflict_settings) if origin in _BASELINES else Decision.KEEP
        if decision is Decision.PROMOTE:
            self.promotions.append(Promotion(path=path, origin=origin, reason=need.reason))
            self.rules[path] = present._replace(
                access=need.access, rights=rights, origin=Origin.PROMOTION, reason=need.reason
            )
        elif decision is Decision.REJECT:
            self.refused.append(conflict)
        else:
            self.conflicts.append(conflict)

    def check_conflicts(self, source: str) -> None:
        if self.refused:
            modes = " and ".join(dict.fromkeys(setting.mode for setting in self._conflict_settings))
            raise PolicyError(
                "\n".join(
                    f"{source}: filesystem_policy.read_only lists {conflict.path}, which the {conflict.origin.value} "
                    f"wants read-write ({conflict.reason}), and baseline_conflicts says {modes}: move {conflict.path} "
                    "to read_write, or have jupyter.baseline_conflicts, and the operator's setting where there is one, "
                    f"allow it: mode keep_unlisted or reject_unlisted with {conflict.path} in allow_promotion"
                    for conflict in self.refused
                )
            )


def _workdir_needs(runtime: Runtime) -> Iterator[Need]:
    reason, parts = "the notebook's working directory", runtime.workdir_parts
    if parts is None:
        kept = f", where {', '.join(runtime.kept)} stays read-only" if runtime.kept else ""
        yield baseline.writing(runtime.workdir, f"{reason}{kept}")
        return
    yield from (baseline.reading(folder, f"{reason}, which holds {', '.join(parts.kept)}") for folder in parts.folders)
    yield from (baseline.writing(entry, f"{reason}, beside {', '.join(parts.kept)}") for entry in parts.entries)


def _policy_rights(path: str, access: Access) -> tuple[str, ...]:
    if path == PROC or path.startswith(PROC + "/"):
        return PROC_READ_RIGHTS if access is Access.READ_ONLY else PROC_WRITE_RIGHTS
    if access is Access.READ_ONLY:
        return READ_RIGHTS
    # A device that a policy names is meant to be used; a folder of devices gets no ioctl.
    return (*WRITE_RIGHTS, "ioctl_dev") if path.startswith("/dev/") else WRITE_RIGHTS


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return (*first, *(right for right in second if right not in first))


def _writable_all_the_same(rules: dict[str, Rule], realpath: Callable[[str], str]) -> Iterator[tuple[Rule, Rule]]:
    """Yield what a policy lists read-only with each read-write folder that holds it: Landlock adds rights up."""
    # In /proc nothing can be made, and what is there can be written.
    folders = [(rule, realpath(rule.path)) for rule in rules.values() if {"write_file", "read_dir"} <= set(rule.rights)]
    for rule in rules.values():
        if rule.origin is Origin.POLICY and rule.access is Access.READ_ONLY:
            real = realpath(rule.path)
            for folder, real_folder in folders:
                named_so = rule.path.startswith(folder.path + "/")
                if named_so or real == real_folder or real.startswith(real_folder + "/"):
                    yield rule, folder


def _check_writable(source: str, writable: Iterable[tuple[Rule, Rule]]) -> None:
    # Of what a baseline makes writable a policy's author need not know.
    found = [
        (rule.path, folder.path, folder.reason)
        for rule, folder in writable
        if folder.origin in (Origin.POLICY, Origin.WORKDIR)
    ]
    if found:
        raise PolicyError(
            "\n".join(
                f"{source}: {path} is listed read-only and would stay writable, because it lies beneath {folder} "
                f"({reason}), which is read-write and Landlock adds rights up, and the policy says hard_requirement: "
                f"list narrower read-write folders than {folder}, or set landlock.compatibility to best_effort, which "
                "only tells so"
                for path, folder, reason in found
            )
        )


def _notices(writable: Iterable[tuple[Rule, Rule]]) -> Iterator[str]:
    for rule, folder in writable:
        yield (
            f"{rule.path} is listed read-only but stays writable, because it lies beneath {folder.path}, which is "
            "read-write and Landlock adds rights up: list narrower read-write folders instead"
        )


def _past_the_selection(rules: dict[str, Rule], hardware: Hardware, selection: GpuSelection) -> Iterable[str]:
    """Yield a sentence for each rule of the policy that opens GPUs which were not selected."""
    if selection.granted and not selection.devices:
        return
    # A GPU's own node may be missing, a MIG device's are known only where they are.
    missing = {gpu.node for gpu in hardware.gpus} - set(hardware.nodes)
    left_out = [node for node in hardware.own_nodes if node not in {*missing, *selection.own_nodes}]
    for rule in rules.values():
        opened = [node for node in left_out if is_within(node, rule.path)]
        if rule.origin is Origin.POLICY and opened:
            yield (
                f"the policy's {rule.access.value} {rule.path} opens {', '.join(opened)}, of GPUs that were not "
                "selected: list narrower paths, and ask for GPUs in jupyter.gpu"
            )


def _without_values(declared: dict[str, Any]) -> dict[str, Any]:
    """Leave out the values of variables: what is recorded gets shown, saved in notebooks and passed on."""
    values = declared.get("jupyter", {}).get("environment", {}).get("set", {})
    values.update(dict.fromkeys(values))
    return declared


def _unenforced(
    policy: Policy, hardware: Hardware, selection: GpuSelection, runtime: Runtime
) -> tuple[Unenforced, ...]:
    found = []
    if policy.network_policies:
        found.append(unenforced.NETWORK_POLICIES)
    if policy.network_middlewares:
        found.append(unenforced.NETWORK_MIDDLEWARES)
    if policy.unknown_blocks:
        found.append(unenforced.unknown(policy.unknown_blocks))
    if policy.process is not None and policy.process.asked and not runtime.identity_applied:
        found.append(unenforced.PROCESS)
    if selection.granted:
        found.append(unenforced.driver(hardware.driver_version))
        if hardware.shares_nodes and len(selection.devices) < len(hardware.gpus):
            found.append(unenforced.SHARED_NODE)
        if hardware.paths_of(Extra.MPS) and not selection.includes(Extra.MPS):
            found.append(unenforced.MPS)
        if selection.extras:
            found.append(unenforced.extras(family.name for family in selection.extras))
    return (*found, *unenforced.ALWAYS)
