"""Whether a confined kernel is what this side was told, for operators: start one and try it for real.

The kernel is a new one, and is held against the report that the launcher gave to this side, not against its own record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base import wire
from openshell_kernel.errors import LaunchError
from openshell_kernel.sandbox.findings import Verification
from openshell_kernel.server.fresh_kernel import fresh_kernel, outcome, printed

if TYPE_CHECKING:
    from openshell_kernel.sandbox.report import Report

_SECONDS = 120.0
_CELL = "from openshell_kernel.kernel import verify; print(verify.answer({report!r}))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A kernel's policy, by its source, what was reported of it, and what probes in it found."""

    policy: str
    report: Report
    verification: Verification

    @property
    def ok(self) -> bool:
        """Whether it is confined, and every layer is what was reported."""
        return self.report.enforced and self.verification.holds


def verify(*, kernel: str, folder: str, policy: str | None = None) -> Result:
    """Start a kernel with the policy of a folder's notebooks, probe every layer that it was given, and end it.

    Raises:
        OpenShellError: the kernel did not start, or gave no answer.
    """
    with fresh_kernel(kernel=kernel, folder=folder, policy=policy) as manager:
        effective, report = outcome(manager)
        cell = _CELL.format(report=json.dumps(wire.encode(report)))
        text = printed(manager, cell, name="%policy verify", seconds=_SECONDS)
    try:
        found = wire.decode(Verification, json.loads(text))
    except ValueError as error:
        raise LaunchError(f"the kernel gave no answer: {error}; try %policy verify in a notebook") from None
    # What is said to be absent is not probed: the kernel does not decide about that.
    if [(finding.name, finding.status) for finding in found.findings] != [
        (layer.name, layer.status) for layer in report.layers
    ]:
        raise LaunchError("the kernel answered for other layers than were reported; try %policy verify in a notebook")
    return Result(policy=effective.source, report=report, verification=found)
