"""The rules of one kernel while they come together: one for each path, in the order of their origins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_beneath, is_within
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import baseline
from openshell_kernel.policy.blocks.filesystem import FilesystemPolicy
from openshell_kernel.policy.conflicts import Decision, decide
from openshell_kernel.policy.effective import (
    PROC_READ_RIGHTS,
    PROC_WRITE_RIGHTS,
    READ_RIGHTS,
    WRITE_RIGHTS,
    Access,
    Compatibility,
    Conflict,
    Origin,
    Promotion,
    Rule,
    Skipped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.policy.blocks.conflicts import ConflictsPolicy
    from openshell_kernel.policy.model import Policy
    from openshell_kernel.policy.runtime import Runtime

_PROC = "/proc"
_BASELINES = frozenset({Origin.RUNTIME_BASELINE, Origin.GPU_BASELINE, Origin.PROXY_BASELINE})


class Merging:
    """The rules by path, and what was decided on the way.

    `settings` are those for conflicts; `realpath` resolves links, as one folder may have two names.
    """

    def __init__(self, settings: list[ConflictsPolicy], realpath: Callable[[str], str]) -> None:
        self._settings = settings
        self._realpath = realpath
        self.rules: dict[str, Rule] = {}
        self.promotions: list[Promotion] = []
        self.conflicts: list[Conflict] = []
        self.skipped: list[Skipped] = []
        self._refused: list[Conflict] = []

    def add_policy(self, policy: Policy) -> None:
        """Add what the policy lists."""
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

    def add_workdir(self, runtime: Runtime) -> None:
        """Add the working directory, or say why it is left out."""
        path, refusal = runtime.workdir, runtime.workdir_refusal
        if not refusal:
            self.add_needs(Origin.WORKDIR, _workdir_needs(runtime))
        elif not self.grants(path, "write_file"):
            if self.grants(path, "read_file"):
                refusal = f"only reading it is granted, as the policy lists it read-only; {refusal}"
            self._skip_workdir(runtime, refusal)

    def tell_lost_workdir(self, runtime: Runtime) -> None:
        """Say that the policy has lost the notebook's folder, unless it lists that or a folder above it."""
        if not self.grants(runtime.workdir, "write_file"):
            remedy = (
                f"and it could not be granted: {runtime.workdir_refusal}"
                if runtime.workdir_refusal
                else "add include_workdir: true to its filesystem_policy, or include_workdir: false if you mean that"
            )
            self._skip_workdir(runtime, f"the policy does not grant the notebook's folder: {remedy}")

    def _skip_workdir(self, runtime: Runtime, why: str) -> None:
        self.skipped.append(Skipped(path=runtime.workdir, access=Access.READ_WRITE, origin=Origin.WORKDIR, why=why))

    def grants(self, path: str, right: str) -> bool:
        """Return whether one of the rules gives a right at a path without symbolic links."""
        return any(right in rule.rights and is_within(path, self._realpath(rule.path)) for rule in self.rules.values())

    def add_needs(self, origin: Origin, needs: Iterable[Need]) -> None:
        """Add what is needed to what is there already; what the policy lists changes as the settings allow."""
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
        if present.origin is not Origin.POLICY:
            self._replace(present, need, origin)
            return
        # The working directory is no baseline: the policy itself asks for both.
        decision = decide(need.path, self._settings) if origin in _BASELINES else Decision.KEEP
        if decision is Decision.PROMOTE:
            self.promotions.append(Promotion(path=need.path, origin=origin, reason=need.reason))
            self._replace(present, need, Origin.PROMOTION)
            return
        conflict = Conflict(path=need.path, origin=origin, reason=need.reason)
        (self._refused if decision is Decision.REJECT else self.conflicts).append(conflict)

    def _replace(self, present: Rule, need: Need, origin: Origin) -> None:
        rights = _union(present.rights, need.rights)
        self.rules[need.path] = present._replace(access=need.access, rights=rights, origin=origin, reason=need.reason)

    def check_conflicts(self, source: str) -> None:
        """Make sure that the settings let the kernel start.

        Raises:
            PolicyError: they refuse a conflict.
        """
        modes = " and ".join(dict.fromkeys(setting.mode for setting in self._settings))
        if self._refused:
            raise PolicyError("\n".join(_refusal(source, conflict, modes) for conflict in self._refused))


def _refusal(source: str, conflict: Conflict, modes: str) -> str:
    return (
        f"{source}: filesystem_policy.read_only: {conflict.path} is read-only, but the {conflict.origin.value} "
        f"needs it read-write ({conflict.reason}), and baseline_conflicts says {modes}; move {conflict.path} to "
        f"read_write, or set mode keep_unlisted or reject_unlisted with {conflict.path} in allow_promotion, in "
        "jupyter.baseline_conflicts and in the operator's setting"
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
    if is_within(path, _PROC):
        return PROC_READ_RIGHTS if access is Access.READ_ONLY else PROC_WRITE_RIGHTS
    if access is Access.READ_ONLY:
        return READ_RIGHTS
    # A device that a policy names is meant to be used; a folder of devices gets no ioctl.
    return (*WRITE_RIGHTS, "ioctl_dev") if is_beneath(path, "/dev") else WRITE_RIGHTS


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return (*first, *(right for right in second if right not in first))
