"""A Python environment in a folder that a kernel may write stays as it is: by read-only mounts of the kernel's own.

Landlock's rules add up, so nothing beneath a writable folder can be taken from it again. A mount can: the environment
is bound onto itself, read-only, in a private mount namespace. An ordinary user gets one together with a user namespace,
in which only this user and group exist; files of all others are shown as nobody's, and are what they were.

What is mounted on can be neither renamed nor removed nor replaced; the folders above it can, up to the writable one
itself, so each of them is pinned, bound onto itself as it is. Run as a program, this tells whether it can be done here.

Sources: mount_namespaces(7), user_namespaces(7), open_tree(2), move_mount(2), mount_setattr(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base import mounts
from openshell_kernel.base.links import walk
from openshell_kernel.base.paths import is_within
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.base.values import AbsolutePath
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layers.contract import Layer, Need
from openshell_kernel.sandbox.probes import Probe, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openshell_kernel.sandbox.report import LayerReport, Report

# The same numbers on every architecture, linux/asm-generic/unistd.h.
_OPEN_TREE, _MOVE_MOUNT = 428, 429
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_EMPTY_PATHS = 0x4 | 0x40
_READ_ONLY = mounts.READ_ONLY | mounts.NOSUID | mounts.NODEV
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


class Parameters(NamedTuple):
    """What stays as it is although a rule grants a folder above it read-write, and the folders that are pinned.

    `pinned` are those between that folder and `paths`, which must stay in their places. All are without links.
    """

    paths: tuple[AbsolutePath, ...]
    pinned: tuple[AbsolutePath, ...] = ()


class ReadOnly(Layer[Parameters]):
    """The read-only mounts of environments that run kernels."""

    name = "read_only"
    title = "Read-only environment"
    covers = "Python environments in the notebook's folder that run kernels stay as they are."
    residual = (
        Unenforced(
            what="the Python environments that run kernels",
            why="They lie in a folder that the notebook may write. It could change the code of the next kernel",
            wide_open=True,
        ),
    )
    need = Need.ALWAYS
    takes = Parameters
    may_be_left_out = True

    def enforce(self) -> LayerReport:
        """Make the paths read-only and pin the folders.

        Raises:
            ConfinementError: it cannot be done, or one of them was exchanged.
        """
        paths = self.parameters.paths
        freeze(paths, self.parameters.pinned)
        detail = f"{', '.join(paths)}: read-only by mounts of this kernel's own"
        if not self.context.is_root:
            detail += ", in a user namespace, where files of other users are shown as nobody's"
        return self.enforced(detail, subjects=paths)

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:
        """Set the mode of each path to what it is."""
        layer = report.layer(cls.name)
        paths = layer.subjects if layer else ()
        return tuple(refused(f"set the mode of {path}", _set_mode_again, path, by=("EROFS",)) for path in paths) or (
            Probe("find what is read-only", "nothing is named", holds=False),
        )


def freeze(paths: Sequence[str], pinned: Sequence[str]) -> None:
    """Make paths read-only for this process and all that it starts, and pin folders in their places.

    Call it while single-threaded, with the privileges that there are, and before Landlock, which forbids mounts. All
    are named without symbolic links; one that leads elsewhere by now was exchanged.

    Raises:
        ConfinementError: it cannot be done, or one of them was exchanged.
    """
    try:
        mounts.enter_namespace(own_users=os.geteuid() != 0)
        for path in sorted({*paths, *pinned}, key=lambda path: path.count("/")):
            for place in _everywhere(path):
                _bind(place, _READ_ONLY if path in paths else 0)
    except OSError as error:
        raise ConfinementError(f"{', '.join(paths)}: cannot be made read-only: {_why(error)}") from None
    for path in paths:
        _check(path)


def _set_mode_again(path: str) -> None:
    os.chmod(path, os.stat(path).st_mode & 0o7777)


def _bind(path: str, attributes: int) -> None:
    target = _open(path)
    try:
        flags = _OPEN_TREE_CLONE | _AT_EMPTY_PATH | _AT_RECURSIVE | os.O_CLOEXEC
        tree = mounts.step("mount", "syscall", ctypes.c_long(_OPEN_TREE), target, b"", ctypes.c_uint(flags))
        try:
            mounts.set_attributes(tree, b"", attributes, flags=_AT_EMPTY_PATH | _AT_RECURSIVE)
            move = ctypes.c_long(_MOVE_MOUNT)
            mounts.step("mount", "syscall", move, tree, b"", target, b"", _MOVE_EMPTY_PATHS)
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
    seen = {mount.number: mount for mount in mounts.mounts()}
    own = seen[number]
    inside = _join(own.root, os.path.relpath(path, own.point))
    yield path
    for mount in seen.values():
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
        raise ConfinementError(f"{path}: was made read-only, but can still be written; nothing was started")


def _open(path: str) -> int:
    """Open a path that leads through no symbolic link.

    Raises:
        ConfinementError: it does by now.
    """
    way = walk(path)
    real = os.readlink(f"/proc/self/fd/{way.fd}")
    if real != path:
        os.close(way.fd)
        raise ConfinementError(f"{path}: it now leads to {real}, through a symlink that was put there in the meantime")
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


def _join(folder: str, rest: str) -> str:
    return os.path.normpath(os.path.join(folder, rest))


def _why(error: OSError) -> str:
    if os.geteuid() == 0 and error.filename == "unshare":
        return (
            "Jupyter runs as root but may not mount: grant the container CAP_SYS_ADMIN, or run Jupyter as an "
            "ordinary user"
        )
    remedy = _REMEDIES.get(str(error.filename), {}).get(error.errno or 0)
    return remedy or f"{error.filename or 'mount'}: {error.strerror}"


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
