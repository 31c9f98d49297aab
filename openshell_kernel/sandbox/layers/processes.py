"""Other processes are not shown: a fresh /proc for a kernel that runs as root.

Sources: mount(2), proc(5), hidepid.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base import libc, mounts
from openshell_kernel.base.paths import is_beneath
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.sandbox.layers.contract import Layer
from openshell_kernel.sandbox.probes import refused, starter, works

if TYPE_CHECKING:
    from openshell_kernel.sandbox.probes import Probe
    from openshell_kernel.sandbox.report import LayerReport, Report

_PROC = "/proc"
# systemd mounts it on demand; the others that container runtimes mount beneath /proc must stay.
_REPLACEABLE = "/proc/sys/fs/binfmt_misc"
_SHOWN = "the command lines of all processes are shown in /proc"


class Parameters(NamedTuple):
    """Whether a /proc of the kernel's own is wanted; it takes root."""

    hide: bool = False


class Processes(Layer[Parameters]):
    """A /proc that shows only processes which this one could trace: with Landlock, those of its sandbox."""

    name = "processes"
    title = "Other processes hidden"
    covers = "In /proc the kernel sees only its own processes."
    residual = (
        Unenforced(
            what="other programs' processes",
            why="In /proc the notebook sees the command lines of all. If the policy grants /proc read-write, it can "
            "also raise their oom_score_adj",
        ),
    )
    takes = Parameters

    def enforce(self) -> LayerReport:
        """Mount it, unless something is mounted beneath the present one, which a container hides on purpose."""
        if not self.parameters.hide or not self.context.is_root:
            return self.absent(f"{_SHOWN}: a /proc of the kernel's own takes root")
        if self.context.support.abi is None:
            # It hides what the kernel could not trace, and only Landlock keeps it from tracing its user's others.
            return self.absent(f"{_SHOWN}: without Landlock no /proc hides those of the same user")
        try:
            mounts.enter_namespace()
            beneath = [mount.point for mount in mounts.mounts() if is_beneath(mount.point, _PROC)]
            if any(not point.startswith(_REPLACEABLE) for point in beneath):
                return self.absent(f"{_SHOWN}: a container has mounts of its own beneath it, which stay")
            flags = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
            libc.call("mount", b"proc", _PROC.encode(), b"proc", flags, b"hidepid=4")
        except OSError as error:
            # Inside a user namespace only its own process namespace could be shown.
            return self.absent(f"{_SHOWN}: no /proc of the kernel's own can be mounted ({error.strerror})")
        return self.enforced("the kernel sees only its own processes in /proc")

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:  # noqa: ARG003 - the contract's
        """Look for a process outside of the sandbox, and for this one, which must be there."""
        outside = f"{_PROC}/{starter()}"
        return (
            refused("look in /proc for the process that started the kernel", os.stat, outside, by=("ENOENT",)),
            works("look in /proc for this process", os.stat, f"{_PROC}/self"),
        )
