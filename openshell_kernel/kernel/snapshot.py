"""The snapshot: what was decided for this kernel, and the launcher's report of what was achieved, as typed values.

The launcher writes it, this reads it. `Snapshot.to_json` is what `%policy show --json` prints:

    {"format": 2,
     "effective": {...},     EffectivePolicy, with the rules that are in force
     "report": {...},        Report, with what became of every rule and layer
     "kernel": {...}}        KernelProcess

In the record the rules stand in the report alone. The launcher adds, where the trusted side says so, `guarded`: see
`policy.protected_paths`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from openshell_kernel.base import wire
from openshell_kernel.errors import SnapshotError
from openshell_kernel.kernel import memfd
from openshell_kernel.policy.effective import EffectivePolicy, Skipped, decode
from openshell_kernel.policy.explain import Guarded, Kind
from openshell_kernel.sandbox.report import FORMAT, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProcess:
    """The kernel that was started: when (ISO 8601), by which interpreter, in which folder."""

    started: str
    python: str
    workdir: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The effective policy as it was applied, and what enforces it.

    What missing layers leave open is among what `effective` does not enforce.

    `guarded` is for advice only, and is not printed: a saved notebook need not tell where everything is.
    """

    effective: EffectivePolicy
    report: Report
    kernel: KernelProcess
    guarded: Guarded = field(default_factory=Guarded)

    def kinds(self) -> dict[str, Kind | None]:
        """Return the kind of inode behind each rule's path."""
        return {rule.path: rule.kind for rule in self.report.rules}

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as JSON values, in the documented shape."""
        return {
            "format": FORMAT,
            "effective": self.effective.to_json(),
            "report": wire.encode(self.report),
            "kernel": wire.encode(self.kernel),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The JSON as the launcher wrote it."""

    format: int
    effective: EffectivePolicy
    report: Report
    kernel: KernelProcess
    guarded: Guarded


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
            f"the record has format {str(version)[:40]!r}, but this version reads {FORMAT}; restart the kernel, "
            "so that one version writes and reads it"
        )
    try:
        record = decode(_Record, data)
    except RecursionError:
        raise SnapshotError("the record is nested too deeply; restart the kernel to record it anew") from None
    return Snapshot(
        effective=_applied(record.effective, record.report),
        report=record.report,
        kernel=record.kernel,
        guarded=record.guarded,
    )


def _applied(effective: EffectivePolicy, report: Report) -> EffectivePolicy:
    """Return the policy as it turned out. Where nothing is enforced, its rules are what would be asked for."""
    problems = [rule for rule in report.rules if rule.problem and report.enforced]
    skipped = (Skipped(path=rule.path, access=rule.access, origin=rule.origin, why=rule.problem) for rule in problems)
    return dataclasses.replace(
        effective,
        rules=tuple(rule for rule in report.rules if not rule.problem or not report.enforced),
        skipped=(*effective.skipped, *skipped),
        unenforced=(*report.residual, *effective.unenforced),
    )
