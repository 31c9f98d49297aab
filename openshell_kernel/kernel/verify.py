"""`%policy verify`: whether the protections of this kernel are what was reported, tried for real in a child of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from openshell_kernel.base import wire
from openshell_kernel.base.text import printable
from openshell_kernel.errors import SnapshotError
from openshell_kernel.sandbox import report
from openshell_kernel.sandbox.findings import Verification
from openshell_kernel.sandbox.report import LayerStatus, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openshell_kernel.sandbox.findings import Finding

_PROGRAM = os.path.join(os.path.dirname(report.__file__), "verify.py")
_SECONDS = 60.0


def verify(reported: Report) -> Verification:
    """Probe every layer that a report claims, in a process that is confined as this one is.

    Raises:
        SnapshotError: the probes gave no answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", _PROGRAM],
            input=json.dumps(wire.encode(reported)),
            env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        return wire.decode(Verification, json.loads(done.stdout))
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SnapshotError(f"the probes gave no answer ({error}); restart the kernel and try again") from None


def answer(text: str) -> str:
    """Return, as JSON, what is found of a report that is given as JSON: for who started this kernel."""
    return json.dumps(wire.encode(verify(wire.decode(Report, json.loads(text)))))


def lines(verification: Verification) -> Iterator[str]:
    """Yield what people are told, one line for each layer and one for all."""
    for finding in verification.findings:
        yield f"{_mark(finding)} {printable(finding.title)}: {printable(_what(finding))}"
    failed = [finding for finding in verification.findings if not finding.holds]
    claimed = [finding for finding in verification.findings if finding.status is not LayerStatus.ABSENT]
    if failed:
        yield f"{len(failed)} of {len(claimed)} layers do not do what was reported."
    else:
        yield f"All {len(claimed)} layers do what was reported."


def _mark(finding: Finding) -> str:
    if finding.status is LayerStatus.ABSENT:
        return "absent"
    return "ok    " if finding.holds else "FAILED"


def _what(finding: Finding) -> str:
    if finding.status is LayerStatus.ABSENT:
        return "it does not protect, as was reported"
    return "; ".join(f"{probe.tried} -> {probe.outcome}" for probe in finding.probes)
