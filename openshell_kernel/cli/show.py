"""`jupyter openshell show`: what a running kernel was given, by the record of the server that started it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.terminal import complain, say, say_lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from openshell_kernel.kernel.snapshot import Snapshot
    from openshell_kernel.server.process.records import Record

_DESCRIPTION = """\
Show what a running kernel of yours was given, as its server recorded it. `%policy show` says the same, but from inside
the sandbox, where the notebook can change what it says. Without an id, list the kernels.

A kernel that no Jupyter server or runner of this user started has no record here."""

_EPILOG = """\
exit status:
  0  it is shown
  1  there is no such kernel, or there are several
  2  the command line is wrong

examples:
  jupyter openshell show
  jupyter openshell show 3f2a
  jupyter openshell show --json 3f2a"""

_WORTH = (
    "This is the record of the server that started the kernel. No notebook can change it, unless a policy lets one "
    "write Jupyter's runtime folder."
)


def run(words: Sequence[str]) -> int:
    """Show a kernel, or list them; an error tells that there is none."""
    arguments = _parser().parse_args(words)
    from openshell_kernel.server.process import records  # noqa: PLC0415 - the other commands need none of it

    if arguments.kernel is None:
        return _list(records.running(), as_json=arguments.json)
    record = records.find(arguments.kernel)
    if arguments.json:
        say_lines(json.dumps(_to_json(record), indent=2))
        return 0
    say_lines(_to_text(record, verbose=arguments.verbose).rstrip("\n"))
    return 0


def _parser() -> argparse.ArgumentParser:
    own = parser("show", _DESCRIPTION, epilog=_EPILOG)
    own.add_argument("kernel", nargs="?", metavar="KERNEL-ID", help="the kernel's id; its beginning is enough")
    own.add_argument("--verbose", action="store_true", help="show what each protection covers")
    own.add_argument(
        "--json", action="store_true", help="print it as JSON, for programs, as `%%policy show --json` does"
    )
    return own


def _list(found: Sequence[Record], *, as_json: bool) -> int:
    if as_json:
        say_lines(json.dumps([_to_json(record) for record in found], indent=2))
        return 0
    if not found:
        complain("no kernel of yours that a Jupyter server started is running")
    for record in found:
        say(f"{record.kernel}  {record.snapshot['kernel']['started']}  {record.snapshot['kernel']['workdir']}")
    return 0


def _to_text(record: Record, *, verbose: bool) -> str:
    from openshell_kernel.kernel.views import as_text  # noqa: PLC0415 - as above
    from openshell_kernel.policy.explain import exposures  # noqa: PLC0415 - as above

    snapshot = _snapshot(record)
    exposed = exposures(snapshot.effective, snapshot.guarded)
    shown = as_text.render(snapshot, exposed, verbose=verbose, disclaimer=_WORTH)
    return f"Kernel {record.kernel}, process {record.pid}\n{shown}"


def _to_json(record: Record) -> dict[str, object]:
    return {"id": record.kernel, "pid": record.pid, **_snapshot(record).to_json()}


def _snapshot(record: Record) -> Snapshot:
    from openshell_kernel.kernel import snapshot  # noqa: PLC0415 - as above

    return snapshot.parse(json.dumps(record.snapshot).encode())


COMMAND = Command(name="show", help="show what a running kernel was given", run=run)
