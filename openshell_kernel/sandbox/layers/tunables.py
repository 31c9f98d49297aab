"""/proc without controls of the machine, for a kernel that runs as root.

To root, /proc is also the machine's control panel: what `/proc/sys/kernel/core_pattern` names is run outside of every
sandbox, and the right to write it depends on the user only, not on capabilities. So the kernel is given a mount
namespace of its own, in which all of /proc but the folders of processes is read-only.

Sources: namespaces(7), mount(2), mount_setattr(2), proc(5).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base import libc, mounts
from openshell_kernel.base.paths import is_within
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.sandbox.layers.contract import Layer, Need
from openshell_kernel.sandbox.probes import equals, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from openshell_kernel.base.rules import Rule
    from openshell_kernel.sandbox.probes import Probe
    from openshell_kernel.sandbox.report import LayerReport, Report

_PROC = "/proc"
_DANGEROUS = ("sys", "sysrq-trigger", "irq", "bus", "fs", "driver/nvidia")
_READ_ONLY = mounts.READ_ONLY | mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
_READ_ONLY_PROC = "list /proc in read_only"
_AND_NOT_PROMOTED = (
    "and do without GPUs (jupyter: {gpu: {request: none}}), or keep it read-only although CUDA may then not start "
    "(jupyter: {baseline_conflicts: {allow_promotion: []}})"
)


class Parameters(NamedTuple):
    """Whether to protect them by mounts, and whether a GPU needs /proc read-write, whatever the policy says."""

    protect: bool = False
    for_gpu: bool = False


class Tunables(Layer[Parameters]):
    """Read-only mounts over all of /proc but the folders of processes; what counts is how it turns out."""

    name = "tunables"
    title = "Controls in /proc protected"
    covers = "A kernel that runs as root cannot write the controls of the machine in /proc."
    residual = (
        Unenforced(
            what="the controls of the machine in /proc",
            why="The kernel runs as root and may write them. A notebook that writes /proc/sys/kernel/core_pattern is "
            "root on the machine",
            wide_open=True,
        ),
    )
    need = Need.UNLESS_WAIVED
    waiver = "if you accept that a notebook can become root on the machine"
    takes = Parameters

    def enforce(self) -> LayerReport:
        """Make them read-only, and look which of them could be written all the same."""
        problem = self._protect() if self.parameters.protect and self.context.is_root else "/proc was left as it is"
        points = proc_mounts()
        writable = tuple(path for point in points for path in _writable(point))
        if not self.context.stays_root:
            return self.enforced("only root may write them, and the kernel does not run as root")
        if not writable:
            return self.enforced("read-only, like all of /proc but the folders of processes")
        named = ", ".join(writable)
        if not self.parameters.protect or not granting(self.context.rules, points):
            detail = f"{named}: only the policy's rules protect them; {problem or 'they stay writable'}"
            return self.degraded(detail, _ONLY_RULES)
        cause = "a GPU needs /proc read-write, whatever the policy says," if self.parameters.for_gpu else _GRANTED
        remedy = f"{_READ_ONLY_PROC} {_AND_NOT_PROMOTED}" if self.parameters.for_gpu else _READ_ONLY_PROC
        return self.absent(
            f"the notebook would run as root and could write {named}, which control the whole machine, because "
            f"{cause} and {problem or 'they cannot be made read-only'}",
            remedy=(
                "start Jupyter as an ordinary user, grant the container CAP_SYS_ADMIN, let its runtime mount "
                f"them read-only as Docker does, {remedy}"
            ),
        )

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:  # noqa: ARG003 - the contract's
        """Open controls of the machine for writing; nothing is written."""
        paths = (f"{_PROC}/sys/kernel/core_pattern", f"{_PROC}/sys/vm/drop_caches")
        probes = tuple(
            refused(f"open {path} to write", os.open, path, os.O_WRONLY, by=("EROFS", "EACCES")) for path in paths
        )
        if os.geteuid() != 0:
            return probes
        # The policy's rules could have refused that as well, and it is the mounts that are reported.
        return (*probes, equals("ask which are mounted writable", list(_writable(_PROC)), []))

    def _protect(self) -> str:
        """Return why it could not be done; empty where it could."""
        try:
            mounts.enter_namespace()
            for point in proc_mounts():
                for path in _controls(point):
                    _make_read_only(path)
        except OSError as error:
            return f"a private mount namespace cannot be set up ({error.strerror})"
        return ""


_GRANTED = "the policy grants it"
_ONLY_RULES = (
    Unenforced(
        what="the controls of the machine in /proc",
        why="No mount makes them read-only. Only the policy's rules keep a notebook that runs as root from them",
    ),
)


def _controls(point: str) -> Iterator[str]:
    """Yield all entries of a /proc but processes that could be written: folders, and files with a bit for it."""
    with os.scandir(point) as entries:
        for entry in entries:
            if entry.name.isdigit() or entry.is_symlink():
                continue
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) or mode & 0o222:
                yield entry.path


def _make_read_only(path: str) -> None:
    name = path.encode()
    libc.call("mount", name, name, None, mounts.BIND, None)
    # Private, or a mount that is made outside beneath it would appear here, writable.
    mounts.set_attributes(mounts.AT_FDCWD, name, _READ_ONLY, propagation=mounts.PRIVATE)


def _writable(point: str) -> Iterator[str]:
    for name in _DANGEROUS:
        path = f"{point}/{name}"
        try:
            if not os.statvfs(path).f_flag & os.ST_RDONLY:
                yield path
        except OSError:
            continue


def granting(rules: Iterable[Rule], points: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules by which controls in a /proc at one of these places may be written, through links too."""
    return tuple(
        rule for rule in rules if "write_file" in rule.rights and _reaches(os.path.realpath(rule.path), points)
    )


def proc_mounts() -> tuple[str, ...]:
    """Return where a /proc is mounted; a rule for one of them holds for its other mounts as well."""
    return tuple(
        dict.fromkeys(mount.point for mount in mounts.mounts() if mount.kind == "proc" and _is_whole(mount.point))
    )


def _reaches(target: str, points: Iterable[str]) -> bool:
    # What belongs to this process itself controls nothing else.
    if is_within(target, f"{_PROC}/{os.getpid()}"):
        return False
    return any(is_within(target, point) or is_within(point, target) for point in points)


def _is_whole(point: str) -> bool:
    return os.path.isdir(f"{point}/sys") and os.path.lexists(f"{point}/self")
