"""A Python environment in a folder that a kernel may write stays as it is: by read-only mounts of the kernel's own.

Landlock's rules add up, so nothing beneath a writable folder can be taken from it again. A mount can: the environment
is bound onto itself, read-only, in a private mount namespace. An ordinary user gets one together with a user namespace,
in which only this user and group exist; files of all others are shown as nobody's, and are what they were.

What is mounted on can be neither renamed nor removed nor replaced; the folders above it can, up to the writable one
itself, so each of them is pinned, bound onto itself as it is. Run as a program, this tells whether it can be done here.

Sources: mount_namespaces(7), user_namespaces(7), open_tree(2), move_mount(2), mount_setattr(2), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base.links import walk
from openshell_kernel.base.paths import is_within
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layer import Layer
from openshell_kernel.sandbox.procfs import MountAttributes, unescaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_REC, _MS_SLAVE = 0x4000, 1 << 19
# The same numbers on every architecture, linux/asm-generic/unistd.h.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_EMPTY_PATHS = 0x4 | 0x40
_READ_ONLY = 0x1 | 0x2 | 0x4  # MOUNT_ATTR_RDONLY, NOSUID, NODEV
_FORBIDDEN = "this machine or container forbids it (kernel.unprivileged_userns_clone, or its seccomp profile)"
_POWERLESS = "user namespaces have no powers here (sysctl kernel.apparmor_restrict_unprivileged_userns)"
_REMEDIES = {
    "unshare": {
        errno.ENOSPC: "user namespaces are switched off (sysctl user.max_user_namespaces)",
        errno.EPERM: _FORBIDDEN,
        errno.ENOSYS: _FORBIDDEN,
    },
    "mount": dict.fromkeys((errno.EPERM, errno.EACCES), _POWERLESS),
}


class _Mount(NamedTuple):
    """A line of mountinfo: which part of which file system is to be seen where."""

    number: int
    device: str
    root: str
    point: str


def freeze(paths: Sequence[str], pinned: Sequence[str]) -> tuple[Layer, ...]:
    """Make paths read-only for this process and all that it starts, and pin folders in their places.

    Call it while single-threaded, with the privileges that there are, and before Landlock, which forbids mounts. All
    are named without symbolic links; one that leads elsewhere by now was exchanged.

    Raises:
        ConfinementError: it cannot be done, or one of them was exchanged.
    """
    if not paths:
        return ()
    foreign = os.geteuid() != 0
    try:
        _enter_namespace(own_users=foreign)
        for path in sorted({*paths, *pinned}, key=lambda path: path.count("/")):
            for place in _everywhere(path):
                _bind(place, _READ_ONLY if path in paths else 0)
    except OSError as error:
        raise ConfinementError(f"{', '.join(paths)}: cannot be made read-only: {_why(error)}") from None
    for path in paths:
        _check(path)
    detail = f"{', '.join(paths)}: read-only by mounts of this kernel's own"
    if foreign:
        detail += ", in a user namespace, where files of other users are shown as nobody's"
    return (Layer(name="Read-only environment", active=True, detail=detail),)


def _enter_namespace(*, own_users: bool) -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", "unshare", _CLONE_NEWNS | (_CLONE_NEWUSER if own_users else 0))
    if own_users:
        # Without it, nobody who is not root may map a group: a group can also take rights away.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    # What is mounted outside from here on appears inside, and nothing that is mounted inside appears outside.
    _call("mount", "mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)


def _bind(path: str, attributes: int) -> None:
    target = _open(path)
    try:
        flags = _OPEN_TREE_CLONE | _AT_EMPTY_PATH | _AT_RECURSIVE | os.O_CLOEXEC
        tree = _call("mount", "syscall", ctypes.c_long(_OPEN_TREE), target, b"", ctypes.c_uint(flags))
        try:
            wanted = MountAttributes(attributes, 0, 0, 0)
            where = _AT_EMPTY_PATH | _AT_RECURSIVE
            size = ctypes.c_size_t(ctypes.sizeof(wanted))
            _call("mount", "syscall", ctypes.c_long(_MOUNT_SETATTR), tree, b"", where, ctypes.byref(wanted), size)
            _call("mount", "syscall", ctypes.c_long(_MOVE_MOUNT), tree, b"", target, b"", _MOVE_EMPTY_PATHS)
        finally:
            os.close(tree)
    finally:
        os.close(target)


def _everywhere(path: str) -> Iterator[str]:
    """Yield a path, and wherever else what is there is to be seen: Landlock knows a folder under all of its names."""
    fd = _open(path)
    try:
        here = os.fstat(fd)
        number = _mount_of(fd)
    finally:
        os.close(fd)
    mounts = {mount.number: mount for mount in _mounts()}
    own = mounts[number]
    inside = _join(own.root, os.path.relpath(path, own.point))
    yield path
    for mount in mounts.values():
        if mount.number == number or mount.device != own.device:
            continue
        if is_within(inside, mount.root):
            other = _join(mount.point, os.path.relpath(inside, mount.root))
            if other != path and _is(other, here):
                yield other
        elif is_within(mount.root, inside) and not is_within(mount.point, path):
            yield mount.point


def _check(path: str) -> None:
    fd = _open(path)
    try:
        frozen = os.fstatvfs(fd).f_flag & os.ST_RDONLY
    finally:
        os.close(fd)
    if not frozen:
        raise ConfinementError(f"{path}: was made read-only, and can be written all the same; nothing was started")


def _open(path: str) -> int:
    """Open a path that leads through no symbolic link.

    Raises:
        ConfinementError: it does by now.
    """
    way = walk(path)
    real = os.readlink(f"/proc/self/fd/{way.fd}")
    if real != path:
        os.close(way.fd)
        raise ConfinementError(f"{path}: it leads to {real} by now, through a symbolic link that was put there since")
    return way.fd


def _is(path: str, status: os.stat_result) -> bool:
    """Whether this very file or folder is to be seen there, and nothing that is mounted over it."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def _mount_of(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("mnt_id:"))


def _mounts() -> Iterator[_Mount]:
    with open("/proc/self/mountinfo", "rb") as stream:
        for line in stream:
            number, _, device, root, point = line.split(b" ")[:5]
            yield _Mount(int(number), device.decode(), *map(os.fsdecode, map(unescaped, (root, point))))


def _join(folder: str, rest: str) -> str:
    return os.path.normpath(os.path.join(folder, rest))


def _why(error: OSError) -> str:
    if os.geteuid() == 0 and error.filename == "unshare":
        return "Jupyter runs as root and may make no mounts: grant the container CAP_SYS_ADMIN, or run it as a user"
    remedy = _REMEDIES.get(str(error.filename), {}).get(error.errno or 0)
    return remedy or f"{error.filename or 'mount'}: {error.strerror}"


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as stream:
            stream.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "unshare") from None


def _call(step: str, function: str, *arguments: object) -> int:
    result = int(getattr(_LIBC, function)(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), step)
    return result


def main(paths: Sequence[str]) -> int:
    """Print why these paths cannot be made read-only here, and nothing where they can."""
    try:
        freeze(paths, ())
    except ConfinementError as error:
        print(error)  # noqa: T201 - the answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
