"""What to add to a policy: only lines with which a kernel starts, and that open nothing which nobody means to open."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within
from openshell_kernel.base.text import printable
from openshell_kernel.policy.effective import MAX_PATHS, Access, Compatibility, Origin
from openshell_kernel.policy.protected_paths import Guarded, why_not_propose_reading, why_not_propose_writing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.policy.effective import EffectivePolicy, Rule

_PROC = "/proc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What would allow it: the path to list in the policy and where, what to do besides, and what else it opens."""

    path: str
    access: Access
    advice: str
    opens: str

    @property
    def yaml(self) -> str:
        """The lines to stand in the policy."""
        return yaml_block((self,))


def remedy(path: str, access: Access, *, folder: bool, advice: str, effective: EffectivePolicy) -> Remedy:
    """Return the lines that list a path which `why_not` found harmless; `folder` tells whether it is or will be one."""
    if access is Access.READ_WRITE and any(rule.access is Access.READ_ONLY for rule in _listed(effective, path)):
        advice = f"{advice} Remove it from read_only: a path may stand in one list only.".strip()
    return Remedy(path=path, access=access, advice=advice, opens=_opens(path, access, folder=folder))


def yaml_block(remedies: Iterable[Remedy]) -> str:
    """Return the lines to stand in the policy as one block of YAML; of two alternatives one is a comment."""
    first, *others = sorted(remedies, key=lambda remedy: remedy.access is Access.READ_WRITE)
    return "\n".join(["filesystem_policy:", f"  {_entry(first)}", *(f"  #{_entry(other)}" for other in others)])


def _entry(remedy: Remedy) -> str:
    return f"{remedy.access.value}: [{yaml_scalar(remedy.path)}]"


def _opens(path: str, access: Access, *, folder: bool) -> str:
    shown, writing = printable(path), access is Access.READ_WRITE
    if path == _PROC:
        return f"{access.value} opens all of {shown}, with the names and command lines of other programs."
    if not folder:
        return "read_write opens this file for reading, writing and running." if writing else ""
    how = "for reading, writing, deleting and running" if writing else "for reading and running"
    return f"{access.value} opens everything in {shown}, now and later, {how}."


def why_not(path: str, access: Access, effective: EffectivePolicy, guarded: Guarded) -> str:
    """Return why no line for a path is proposed, as a part of a sentence; empty where one would do no harm.

    Of what a start refuses besides a line that stands in the wrong place, all is looked at here.
    """
    judge = why_not_propose_writing if access is Access.READ_WRITE else why_not_propose_reading
    return (
        _unwritable_name(path)
        or _too_many(path, effective)
        or judge(path, guarded)
        or _other_gpu(path, effective)
        or (_contradicts(path, effective) if access is Access.READ_WRITE else "")
    )


def _unwritable_name(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, and a policy must be: rename it, or list the folder above it"
    return ""


def _too_many(path: str, effective: EffectivePolicy) -> str:
    listed = effective.declared.get("filesystem_policy") or {}
    count = sum(len(listed.get(access.value) or ()) for access in Access)
    if count < MAX_PATHS or _listed(effective, path):
        return ""
    return f"the policy already lists {count} paths, the most it may: list the folders above them instead"


def _other_gpu(path: str, effective: EffectivePolicy) -> str:
    hardware, selection = effective.hardware, effective.selection
    if path in hardware.own_nodes and path not in selection.own_nodes:
        return "it is a GPU that this kernel was not given: ask for it in jupyter.gpu, which also reserves it"
    return ""


def _contradicts(path: str, effective: EffectivePolicy) -> str:
    """Return what the policy demands to stay read-only and would not; best_effort only tells of it."""
    if effective.compatibility is not Compatibility.HARD_REQUIREMENT:
        return ""
    for rule in effective.rules:
        place = rule.resolved or rule.path
        listed = rule.origin is Origin.POLICY and rule.access is Access.READ_ONLY
        if listed and place != path and is_within(place, path):
            return f"it would make {rule.path} writable, which the policy lists read-only"
    return ""


def _listed(effective: EffectivePolicy, path: str) -> list[Rule]:
    return [
        rule
        for rule in effective.rules
        if path in (rule.resolved or rule.path, rule.path) and rule.origin is Origin.POLICY
    ]


def yaml_scalar(path: str) -> str:
    """Return an absolute path as YAML: as it stands if it is plain, otherwise in double quotes."""
    if re.fullmatch(r"/[A-Za-z0-9_./+@=-]*", path):
        return path
    return '"' + printable(path.replace("\\", "\\\\").replace('"', '\\"')) + '"'
