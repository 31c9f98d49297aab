"""`jupyter openshell gpus`: who holds which GPU of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.cli.command import Command, parser
from openshell_kernel.cli.terminal import say_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
List the GPUs of this machine, how busy they are, and the running kernels that hold them. A kernel holds GPUs if its
policy asks for a number of them or names some (jupyter.gpu). Other kernels share what is there and hold nothing."""


def run(words: Sequence[str]) -> int:
    """Print the table; return 0."""
    from openshell_kernel.server import gpu_table  # noqa: PLC0415 - the other commands need none of it

    own = parser("gpus", _DESCRIPTION)
    own.add_argument("--json", action="store_true", help="print it for programs")
    own.add_argument("--claims", metavar="FOLDER", help="the provisioner's gpu_claims, if that is set")
    arguments = own.parse_args(words)
    table = gpu_table.look(arguments.claims)
    say_lines(table.to_json() if arguments.json else table.to_text())
    return 0


COMMAND = Command(name="gpus", help="show who holds which GPU of this machine", run=run)
