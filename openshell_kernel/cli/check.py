"""`jupyter openshell check`: what is wrong with policy files, for editors and CI."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.terminal import say, say_lines
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import loading

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from openshell_kernel.policy.document import Violation

_DESCRIPTION = """\
Read policy files and tell everything that is wrong with them, a line for each mistake:

  FILE:LINE:COLUMN: KEY: PROBLEM; REMEDY

Nothing is started, and nothing of this machine is looked at. A key that this version does not know, and that nothing
would enforce, is a warning."""

_EPILOG = """\
exit status:
  0  every file is a valid policy; there may be warnings
  1  a file is not a valid policy
  2  a file cannot be read, or the command line is wrong

--json prints a list with file, line, column, key, problem, remedy and severity (error or warning) of each mistake. Of a
file that cannot be read, line and column are null.

examples:
  jupyter openshell check ~/.config/openshell/policy.yaml
  jupyter openshell check --json project/*.yaml
  generate-policy | jupyter openshell check -"""

_VALID, _INVALID, _UNREADABLE = 0, 1, 2
_STDIN, _STDIN_NAME = "-", "<stdin>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mistake, as `--json` prints it. `line` and `column` begin with 1, and are None where the file is not read."""

    file: str
    line: int | None
    column: int | None
    key: str
    problem: str
    remedy: str
    severity: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        parts = (place, "warning" if self.severity == "warning" else "", self.key, self.problem)
        return ": ".join(filter(None, parts)) + (f"; {self.remedy}" if self.remedy else "")


def run(words: Sequence[str]) -> int:
    """Check the files, or tell where the schema is; return what the epilog lists."""
    own = _parser()
    arguments = own.parse_args(words)
    if arguments.schema:
        from openshell_kernel.policy import schema  # noqa: PLC0415 - the rest needs none of it

        say(schema.PATH)
        return _VALID
    if not arguments.files:
        own.error("the following arguments are required: FILE")
    checked = [_check(name) for name in arguments.files]
    findings = [finding for _, found in checked for finding in found]
    if arguments.json:
        say_lines(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            say(str(finding))
    return max(status for status, _ in checked)


def _parser() -> argparse.ArgumentParser:
    own = parser("check", _DESCRIPTION, epilog=_EPILOG, usage="%(prog)s [--json] FILE...\n       %(prog)s --schema")
    own.add_argument("files", nargs="*", metavar="FILE", help="a policy file; - reads the standard input")
    own.add_argument("--json", action="store_true", help="print the mistakes as JSON, for programs")
    own.add_argument("--schema", action="store_true", help="print the path of the JSON Schema, for editors, and exit")
    return own


def _check(name: str) -> tuple[int, list[Finding]]:
    shown = _STDIN_NAME if name == _STDIN else name
    try:
        content = sys.stdin.buffer.read() if name == _STDIN else loading.read(name).content
    except PolicyError as error:
        problem, _, remedy = str(error).removeprefix(f"{name}: ").partition("; ")
        unread = Finding(file=shown, line=None, column=None, key="", problem=problem, remedy=remedy, severity="error")
        return _UNREADABLE, [unread]
    found = loading.lint(content)
    severity = "error" if found.policy is None else "warning"
    return (
        _INVALID if found.policy is None else _VALID,
        [_finding(shown, violation, severity) for violation in found.violations],
    )


def _finding(file: str, violation: Violation, severity: str) -> Finding:
    return Finding(file=file, severity=severity, **asdict(violation))


COMMAND = Command(name="check", help="find the mistakes in policy files, for editors and CI", run=run)
