"""No core dumps: a crash writes the kernel's memory neither to disk nor to a crash handler.

Source: core(5).
"""

from __future__ import annotations

import os
import resource
import signal
from typing import TYPE_CHECKING

from openshell_kernel.base.rules import Unenforced
from openshell_kernel.sandbox.layers.contract import Layer, Need, NoParameters
from openshell_kernel.sandbox.probes import Probe, equals, status_of_child

if TYPE_CHECKING:
    from openshell_kernel.sandbox.report import LayerReport, Report

# With 0 the dump would still be piped into a program that core_pattern names; 1 means not even that. core(5)
_LIMIT = (1, 1)


class CoreDumps(Layer[NoParameters]):
    """The limit on the size of core dumps.

    PR_SET_DUMPABLE is no help: exec sets it again, and a kernel that is not dumpable could not name its own threads in
    /proc, which CUDA does.
    """

    name = "core_dumps"
    title = "Core dumps off"
    covers = "A crash does not write the kernel's memory to disk, or to a crash handler."
    residual = (
        Unenforced(
            what="core dumps",
            why="When the kernel crashes, its memory goes to a file, or to the machine's crash handler, which is not "
            "confined",
        ),
    )
    need = Need.UNLESS_WAIVED

    def enforce(self) -> LayerReport:
        """Set the limit; nobody can raise a hard limit again."""
        try:
            resource.setrlimit(resource.RLIMIT_CORE, _LIMIT)
        except (OSError, ValueError) as error:
            return self.absent(f"the limit on core dumps cannot be set: {error}")
        return self.enforced("a crash writes no memory to disk or to a handler, as long as seccomp keeps the limit")

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:  # noqa: ARG003 - the contract's
        """Look at the limit, and crash."""
        limit = equals("ask for the limit", resource.getrlimit(resource.RLIMIT_CORE), _LIMIT)
        if not limit.holds:
            # A crash could leave a dump behind.
            return (limit,)
        dumped = os.WCOREDUMP(status_of_child(lambda: os.kill(os.getpid(), signal.SIGQUIT)))
        return (limit, Probe("crash", "memory dumped" if dumped else "no dump", not dumped))
