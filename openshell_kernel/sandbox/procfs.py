"""/proc for a kernel that runs as root: its own processes, and no control of the machine.

To root, /proc is also the machine's control panel: what `/proc/sys/kernel/core_pattern` names is run outside of every
sandbox, and the right to write it depends on the user only, not on capabilities. So the kernel is given a mount
namespace of its own, in which all of /proc but the folders of processes is read-only.

Sources: namespaces(7), mount(2), mount_setattr(2), proc(5), hidepid.
"""

from __future__ import annotations

import ctypes
import os
import stat
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.sandbox.plan import PlanRule

PROC = "/proc"
_LIBC = ctypes.CDLL(None, use_errno=True)
_DANGEROUS = ("sys", "sysrq-trigger", "irq", "bus", "fs", "driver/nvidia")
# systemd mounts it on demand; the others that container runtimes mount beneath /proc must stay.
_REPLACEABLE = "/proc/sys/fs/binfmt_misc"

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SLAVE = 0x1000, 0x4000, 1 << 18, 1 << 19
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture, linux/asm-generic/unistd.h
_AT_FDCWD = -100
_READ_ONLY = 0x1 | 0x2 | 0x4 | 0x8  # MOUNT_ATTR_RDONLY, NOSUID, NODEV, NOEXEC


class MountAttributes(ctypes.Structure):
    """What mount_setattr(2) changes of a mount: struct mount_attr, linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_READ_ONLY_PROC = "list /proc in read_only"
_AND_NOT_PROMOTED = (
    "and do without GPUs (jupyter: {gpu: {request: none}}), or keep it read-only although CUDA may then not start "
    "(jupyter: {baseline_conflicts: {allow_promotion: []}})"
)


def protect(rules: Iterable[PlanRule], *, stays_root: bool, refuse: bool, for_gpu: bool) -> tuple[Layer, ...]:
    """Give this process a /proc that cannot be used against the machine. Call it before the rules' paths are opened.

    What counts is how it turned out: when a control of the machine is still writable, the kernel stays root and a rule
    grants writing it, the start is refused, unless the operator has allowed it and `refuse` is False. `for_gpu` tells
    that a GPU needs it writable, whatever the policy says.

    Raises:
        ConfinementError: that, with the remedy.
    """
    hidden, problem = False, ""
    try:
        _call("unshare", _CLONE_NEWNS)
        _call("mount", None, b"/", None, _MS_REC | _MS_SLAVE, None)
        hidden = _hide_processes()
        for point in _points():
            for path in _controls(point):
                _make_read_only(path)
    except OSError as error:
        problem = f"a private mount namespace cannot be set up ({error.strerror})"
    points = _points()
    writable = [path for point in points for path in _writable(point)]
    granted = _may_write(rules, points)
    if writable and granted and stays_root and refuse:
        cause = "a GPU needs /proc read-write, whatever the policy says," if for_gpu else "the policy grants it"
        remedy = f"{_READ_ONLY_PROC} {_AND_NOT_PROMOTED}" if for_gpu else _READ_ONLY_PROC
        raise ConfinementError(
            f"started as root, the notebook could write {', '.join(writable)}, which control the whole machine, "
            f"because {cause} and {problem or 'they cannot be made read-only'}: start Jupyter as an ordinary user, "
            "grant the container CAP_SYS_ADMIN, have its runtime mount them read-only as Docker does, "
            f"{remedy}, or, if you accept the risk, set c.OpenShellProvisioner.allow_root_proc = True"
        )
    return (_tunables(writable, problem, stays_root=stays_root), _processes(hidden=hidden, granted=granted))


def unchanged(rules: Iterable[PlanRule], *, stays_root: bool) -> tuple[Layer, ...]:
    """Say what holds where /proc is left as it is."""
    return (
        _tunables(list(_writable(PROC)), "/proc was left as it is", stays_root=stays_root),
        _processes(hidden=False, granted=_may_write(rules, [PROC])),
    )


def _tunables(writable: list[str], problem: str, *, stays_root: bool) -> Layer:
    if not stays_root:
        active, detail = True, "only root may write them, and the kernel does not run as root"
    elif not writable:
        active, detail = True, "read-only, like all of /proc but the folders of processes"
    else:
        active, detail = False, f"{', '.join(writable)}: nothing but the policy's rules protects them; {problem}"
    return Layer(name="Kernel tunables in /proc", active=active, detail=detail)


def _processes(*, hidden: bool, granted: bool) -> Layer:
    if hidden:
        detail = "the kernel sees only its own in /proc"
    else:
        detail = "the command lines of all are shown in /proc"
        if granted:
            detail += ", and the policy, which grants it read-write, lets their oom_score_adj be raised"
    return Layer(name="Other processes", active=hidden, detail=detail)


def _hide_processes() -> bool:
    """Mount a fresh /proc that shows only processes which this one could trace: with Landlock, those of its sandbox.

    Not where something is mounted beneath the present /proc, which a container hides or replaces on purpose.
    """
    beneath = [point for point, _ in _mounts() if point.startswith(PROC + "/") and not point.startswith(_REPLACEABLE)]
    if beneath:
        return False
    try:
        _call("mount", b"proc", PROC.encode(), b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, b"hidepid=4")
    except OSError:
        # Inside a user namespace only its own process namespace could be shown.
        return False
    return True


def _controls(point: str) -> Iterable[str]:
    """Return all entries of a /proc but processes that could be written: folders, and files with a bit for it."""
    with os.scandir(point) as entries:
        for entry in entries:
            if entry.name.isdigit() or entry.is_symlink():
                continue
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) or mode & 0o222:
                yield entry.path


def _make_read_only(path: str) -> None:
    name = path.encode()
    _call("mount", name, name, None, _MS_BIND, None)
    # Private, or a mount that is made outside beneath it would appear here, writable.
    attributes = MountAttributes(_READ_ONLY, 0, _MS_PRIVATE, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _call("syscall", ctypes.c_long(_SYS_MOUNT_SETATTR), _AT_FDCWD, name, 0, ctypes.byref(attributes), size)


def _writable(point: str) -> Iterable[str]:
    for name in _DANGEROUS:
        path = f"{point}/{name}"
        try:
            if not os.statvfs(path).f_flag & os.ST_RDONLY:
                yield path
        except OSError:
            continue


def _may_write(rules: Iterable[PlanRule], points: list[str]) -> bool:
    targets = [os.path.realpath(rule.path) for rule in rules if "write_file" in rule.rights]
    # What belongs to this process itself controls nothing else.
    targets = [target for target in targets if not is_within(target, f"{PROC}/{os.getpid()}")]
    return any(is_within(target, point) or is_within(point, target) for target in targets for point in points)


def _points() -> list[str]:
    """Return where a /proc is mounted; a rule for one of them holds for its other mounts as well."""
    return list(dict.fromkeys(point for point, kind in _mounts() if kind == "proc" and _is_whole(point)))


def _is_whole(point: str) -> bool:
    return os.path.isdir(f"{point}/sys") and os.path.lexists(f"{point}/self")


def _mounts() -> list[tuple[str, str]]:
    """Return the mount points and file system types of this namespace."""
    with open("/proc/self/mountinfo", "rb") as stream:
        lines = [line.split(b" ") for line in stream]
    return [(os.fsdecode(unescaped(line[4])), line[line.index(b"-") + 1].decode("ascii", "replace")) for line in lines]


def unescaped(name: bytes) -> bytes:
    """Return a name of mountinfo as it is: proc_pid_mountinfo(5)."""
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        name = name.replace(code, character)
    return name


def _call(function: str, *arguments: object) -> None:
    if getattr(_LIBC, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
