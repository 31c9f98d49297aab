"""Enrichment: from a policy, the hardware and what the kernel's runtime needs to the effective policy.

One function for every source of a policy, whatever GPU there is and with or without network policies.

The rules are OpenShell's (its issues #1486 and #1522): baseline paths that do not exist are skipped; what the policy
lists is never lost; an explicit read-only entry beats a baseline that wants the path read-write, except `/proc`, which
is promoted when a GPU is present; the two lists stay disjoint.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from openshell_kernel.policy import baseline, unenforced
from openshell_kernel.policy.effective import (
    DEVICE_RIGHTS,
    PROC_READ_RIGHTS,
    PROC_WRITE_RIGHTS,
    READ_RIGHTS,
    WRITE_RIGHTS,
    Access,
    Conflict,
    EffectivePolicy,
    Environment,
    Hardware,
    Home,
    Origin,
    Promotion,
    Rule,
    Skipped,
    Unenforced,
)
from openshell_kernel.policy.model import FilesystemPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.policy.model import Policy
PROC = "/proc"
_GPU_NODE = re.compile(r"/dev/nvidia[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What this one kernel needs: the runtime baseline and its working directory.

    `workdir` is the folder to grant where the policy includes it; `workdir_refusal` says, instead, why none is safe.
    `identity_applied` tells whether the kernel takes on the identity that the policy asks for. `environment`, `home`
    and `notices` are recorded as they are.
    """

    needs: tuple[Need, ...]
    workdir: str
    workdir_refusal: str = ""
    identity_applied: bool = False
    environment: Environment = field(default_factory=Environment)
    home: Home | None = None
    notices: tuple[str, ...] = ()


def enrich(
    policy: Policy,
    hardware: Hardware,
    runtime: Runtime,
    *,
    source: str,
    exists: Callable[[str], bool] = os.path.exists,
) -> EffectivePolicy:
    """Return the effective policy: every rule with its rights, origin and reason, and every decision on the way.

    `source` says where the policy came from, for people. `exists` decides which baseline paths are there.
    """
    building = _Building()
    building.add_policy(policy)
    if policy.include_workdir:
        building.add_workdir(runtime)
    if policy.network_policies:
        building.add_needs(Origin.PROXY_BASELINE, filter(lambda need: exists(need.path), baseline.PROXY))
    if hardware.present:
        nodes = [baseline.writing(node, baseline.GPU_NODE_REASON, DEVICE_RIGHTS) for node in _gpu_nodes(hardware)]
        building.add_needs(Origin.GPU_BASELINE, filter(lambda need: exists(need.path), (*baseline.GPU, *nodes)))
    building.add_needs(Origin.RUNTIME_BASELINE, filter(lambda need: need.required or exists(need.path), runtime.needs))
    return EffectivePolicy(
        source=source,
        compatibility=policy.compatibility,
        rules=tuple(building.rules.values()),
        promotions=tuple(building.promotions),
        conflicts=tuple(building.conflicts),
        skipped=tuple(building.skipped),
        notices=(*_notices(building.rules), *runtime.notices),
        unenforced=_unenforced(policy, runtime),
        hardware=hardware,
        declared=_without_values(policy.declared()),
        environment=runtime.environment,
        home=runtime.home,
    )


class _Building:
    """The rules by path while they come together, in the order of their origins."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.promotions: list[Promotion] = []
        self.conflicts: list[Conflict] = []
        self.skipped: list[Skipped] = []

    def add_policy(self, policy: Policy) -> None:
        required = policy.compatibility == "hard_requirement"
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

    def add_workdir(self, runtime: Runtime) -> None:
        if runtime.workdir_refusal:
            self.skipped.append(
                Skipped(
                    path=runtime.workdir, access=Access.READ_WRITE, origin=Origin.WORKDIR, why=runtime.workdir_refusal
                )
            )
        else:
            self.add_needs(Origin.WORKDIR, [baseline.writing(runtime.workdir, "the notebook's working directory")])

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
                self.rules[need.path] = replace(present, rights=_union(present.rights, need.rights))

    def _raise_access(self, present: Rule, need: Need, origin: Origin) -> None:
        path = need.path
        if path == PROC and origin is Origin.GPU_BASELINE and present.origin is Origin.POLICY:
            self.promotions.append(Promotion(path=path, origin=origin, reason=need.reason))
            self.rules[path] = replace(
                present, access=need.access, rights=need.rights, origin=Origin.PROMOTION, reason=need.reason
            )
        elif present.origin in (Origin.POLICY, Origin.PROMOTION):
            self.conflicts.append(Conflict(path=path, origin=origin, reason=need.reason))
        else:
            rights = _union(present.rights, need.rights)
            self.rules[path] = replace(present, access=need.access, rights=rights, origin=origin, reason=need.reason)


def _policy_rights(path: str, access: Access) -> tuple[str, ...]:
    if path == PROC or path.startswith(PROC + "/"):
        return PROC_READ_RIGHTS if access is Access.READ_ONLY else PROC_WRITE_RIGHTS
    if access is Access.READ_ONLY:
        return READ_RIGHTS
    # A device that a policy names is meant to be used; a folder of devices gets no ioctl.
    return (*WRITE_RIGHTS, "ioctl_dev") if path.startswith("/dev/") else WRITE_RIGHTS


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return (*first, *(right for right in second if right not in first))


def _gpu_nodes(hardware: Hardware) -> list[str]:
    return [node for node in hardware.nodes if _GPU_NODE.fullmatch(node)]


def _notices(rules: dict[str, Rule]) -> Iterable[str]:
    writable = [rule.path for rule in rules.values() if "make_reg" in rule.rights]
    for rule in rules.values():
        if rule.origin is not Origin.POLICY or rule.access is not Access.READ_ONLY:
            continue
        for folder in writable:
            if rule.path.startswith(folder + "/"):
                yield (
                    f"{rule.path} is listed read-only but stays writable, because it lies beneath {folder}, which is "
                    "read-write and Landlock adds rights up: list narrower read-write folders instead"
                )


def _without_values(declared: dict[str, Any]) -> dict[str, Any]:
    """Leave out the values of variables: what is recorded gets shown, saved in notebooks and passed on."""
    values = declared.get("jupyter", {}).get("environment", {}).get("set", {})
    values.update(dict.fromkeys(values))
    return declared


def _unenforced(policy: Policy, runtime: Runtime) -> tuple[Unenforced, ...]:
    found = []
    if policy.network_policies:
        found.append(unenforced.NETWORK_POLICIES)
    if policy.network_middlewares:
        found.append(unenforced.NETWORK_MIDDLEWARES)
    if policy.process is not None and not runtime.identity_applied:
        found.append(unenforced.PROCESS)
    return (*found, *unenforced.ALWAYS)
