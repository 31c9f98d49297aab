"""`jupyter openshell verify`: whether every protection of a confined kernel is in force, tried for real."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from openshell_kernel.base import wire
from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.fresh_kernel import NOT_STARTED, add_options, look
from openshell_kernel.cli.terminal import say, say_lines
from openshell_kernel.sandbox.report import LayerStatus

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from openshell_kernel.sandbox.findings import Finding
    from openshell_kernel.server.verify import Result

_DESCRIPTION = """\
Start an OpenShell GPU kernel in an empty folder, with the policy of this folder's notebooks. Try there what each layer
of protection forbids, and compare the outcome with what the launcher reported to the server."""

_EPILOG = """\
exit status:
  0  the kernel is confined, and every layer does what was reported
  1  a layer does not, or the kernel is not confined
  2  the command line is wrong
  4  the kernel was not started"""

_FAILED = 1


def run(words: Sequence[str]) -> int:
    """Verify and print what was found of each layer; return what the epilog lists."""
    arguments = _parser().parse_args(words)
    from openshell_kernel.server.verify import verify  # noqa: PLC0415 - the other commands need none of it

    result = look(arguments, "trying its protections", verify)
    if result is None:
        return NOT_STARTED
    if arguments.json:
        say_lines(json.dumps(_as_json(result), indent=2))
    else:
        _tell(result)
    return 0 if result.ok else _FAILED


def _parser() -> argparse.ArgumentParser:
    own = parser("verify", _DESCRIPTION, epilog=_EPILOG)
    add_options(own)
    return own


def _as_json(result: Result) -> dict[str, object]:
    return {"policy": result.policy, "ok": result.ok, **wire.encode(result.verification)}


def _tell(result: Result) -> None:
    say(f"policy: {result.policy}")
    details = {layer.name: layer.detail for layer in result.report.layers}
    for finding in result.verification.findings:
        say(f"{_mark(finding)} {finding.title}")
        if finding.status is LayerStatus.ABSENT:
            say(f"       {details[finding.name]}")
        for probe in finding.probes:
            say(f"       {probe.tried}: {probe.outcome}")
    say(
        "Every layer does what was reported." if result.verification.holds else "A layer does not do what was reported."
    )
    if not result.report.enforced:
        say(f"The kernel is NOT CONFINED: {result.report.reason}")


def _mark(finding: Finding) -> str:
    if finding.status is LayerStatus.ABSENT:
        return "absent"
    return "ok    " if finding.holds else "FAILED"


COMMAND = Command(name="verify", help="test whether every protection of a confined kernel works", run=run)
