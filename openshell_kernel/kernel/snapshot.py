"""The snapshot: what the launcher recorded when it had enforced the sandbox, as typed values.

The launcher writes it, this reads it; they share the JSON and no code. `Snapshot.to_json` is what
`%policy show --json` prints:

    {"format": 1,
     "effective": {...},     EffectivePolicy, with the rights that were really granted
     "confinement": {...},   Confinement
     "kernel": {...}}        KernelProcess

The launcher adds, where the trusted side says so, `guarded`: see `policy.places`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from openshell_kernel.errors import SnapshotError
from openshell_kernel.kernel import memfd
from openshell_kernel.policy.effective import EffectivePolicy, Rule, Skipped, decode
from openshell_kernel.policy.explain import Guarded, Kind

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedRule:
    """What became of one rule: the inode that it binds to and the rights given there, or the `problem`."""

    path: str
    resolved: str | None
    kind: Kind | None
    rights: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLayer:
    """A protection beside Landlock's own, and what it covers on this machine or why it is not active."""

    name: str
    active: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What the launcher achieved. `handled` are the rights that Landlock decides about at all."""

    enforced: bool
    reason: str
    abi: int | None
    kernel_release: str
    no_new_privs: bool
    scopes: tuple[str, ...]
    handled: tuple[str, ...]
    rules: tuple[AppliedRule, ...]
    layers: tuple[AppliedLayer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProcess:
    """The kernel that was started: when (ISO 8601), by which interpreter, in which folder."""

    started: str
    python: str
    workdir: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The effective policy as it was applied, and what enforces it.

    `guarded` is for advice only, and is not printed: a saved notebook need not tell where everything is.
    """

    effective: EffectivePolicy
    confinement: Confinement
    kernel: KernelProcess
    guarded: Guarded = field(default_factory=Guarded)

    def kinds(self) -> dict[str, Kind | None]:
        """Return the kind of inode behind each rule's path."""
        return {applied.path: applied.kind for applied in self.confinement.rules}

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as JSON values, in the documented shape."""
        return {
            "format": FORMAT,
            "effective": self.effective.to_json(),
            "confinement": dataclasses.asdict(self.confinement),
            "kernel": dataclasses.asdict(self.kernel),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The JSON as the launcher wrote it."""

    format: int
    effective: EffectivePolicy
    confinement: Confinement
    kernel: KernelProcess
    guarded: Guarded = field(default_factory=Guarded)


def read(fd: int) -> Snapshot:
    """Read the snapshot from its sealed memory file.

    Raises:
        SnapshotError: it is missing, not sealed, damaged, or of another version.
    """
    return parse(memfd.read_sealed(fd))


def parse(content: bytes) -> Snapshot:
    """Build the snapshot from its JSON, with what was achieved merged into the effective policy.

    Raises:
        SnapshotError: the content is damaged or of another version; the message names the offending value.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"the record is not JSON ({error}); restart the kernel to record it anew") from None
    version = data.get("format") if isinstance(data, dict) else None
    if type(version) is not int or version != FORMAT:
        raise SnapshotError(
            f"the record has format {str(version)[:40]!r}, this version reads {FORMAT}; "
            "restart the kernel, so that one version both writes and reads it"
        )
    try:
        record = decode(_Record, data)
    except RecursionError:
        raise SnapshotError("the record is nested too deeply; restart the kernel to record it anew") from None
    return Snapshot(
        effective=_merge(record.effective, record.confinement),
        confinement=record.confinement,
        kernel=record.kernel,
        guarded=record.guarded,
    )


def _merge(effective: EffectivePolicy, confinement: Confinement) -> EffectivePolicy:
    if not confinement.enforced and not confinement.rules:
        return effective
    asked = tuple(rule.path for rule in effective.rules)
    if asked != tuple(applied.path for applied in confinement.rules):
        raise SnapshotError(
            "$.confinement.rules: not the rules of $.effective.rules in their order; "
            "restart the kernel to record it anew"
        )
    rules: list[Rule] = []
    skipped = list(effective.skipped)
    for rule, applied in zip(effective.rules, confinement.rules, strict=True):
        if applied.problem:
            skipped.append(Skipped(path=rule.path, access=rule.access, origin=rule.origin, why=applied.problem))
        else:
            rules.append(dataclasses.replace(rule, rights=applied.rights, resolved=applied.resolved))
    return dataclasses.replace(effective, rules=tuple(rules), skipped=tuple(skipped))
