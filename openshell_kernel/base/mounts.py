"""Mounts of this process's own: a namespace for them, what is mounted in it, and changing what a mount allows.

Sources: mount_namespaces(7), user_namespaces(7), mount_setattr(2), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

from openshell_kernel.base import libc

READ_ONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8  # the same as MS_* and as MOUNT_ATTR_*
AT_FDCWD = -100
PRIVATE = 1 << 18  # MS_PRIVATE
BIND = 0x1000  # MS_BIND
_RECURSIVE, _SLAVE = 0x4000, 1 << 19
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_MOUNT_SETATTR = 442  # the same number on every architecture, linux/asm-generic/unistd.h


class Mount(NamedTuple):
    """A line of mountinfo: which part of which file system is to be seen where."""

    number: int
    device: str
    root: str
    point: str
    kind: str


class _Attributes(ctypes.Structure):
    """What mount_setattr(2) changes of a mount: struct mount_attr, linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def enter_namespace(*, own_users: bool = False) -> None:
    """Give this process, which has one thread, mounts of its own; who is not root needs users of its own for that.

    What is mounted outside from here on appears inside, and nothing that is mounted inside appears outside.

    Raises:
        OSError: it cannot be done; `filename` is the step that failed, "unshare" or "mount".
    """
    user, group = os.geteuid(), os.getegid()
    step("unshare", "unshare", _NEW_MOUNTS | (_NEW_USERS if own_users else 0))
    if own_users:
        # Without it, nobody who is not root may map a group: a group can also take rights away.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    step("mount", "mount", None, b"/", None, ctypes.c_ulong(_RECURSIVE | _SLAVE), None)


def set_attributes(place: int, name: bytes, attributes: int, *, flags: int = 0, propagation: int = 0) -> None:
    """Set attributes of the mount at `name` beneath the descriptor `place`.

    Raises:
        OSError: it cannot be done.
    """
    wanted = _Attributes(attributes, 0, propagation, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    step("mount", "syscall", ctypes.c_long(_MOUNT_SETATTR), place, name, flags, ctypes.byref(wanted), size)


def mounts() -> tuple[Mount, ...]:
    """Return what is mounted in this process's namespace."""
    with open("/proc/self/mountinfo", "rb") as stream:
        return tuple(_mount(line.split(b" ")) for line in stream)


def step(name: str, function: str, *arguments: object) -> int:
    """Call into the C library as one step of several; an error bears the step's name as its `filename`.

    Raises:
        OSError: it failed.
    """
    try:
        return libc.call(function, *arguments)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None


def _mount(words: list[bytes]) -> Mount:
    number, _, device, root, point = words[:5]
    kind = words[words.index(b"-") + 1].decode("ascii", "replace")
    return Mount(int(number), device.decode(), _unescaped(root), _unescaped(point), kind)


def _unescaped(name: bytes) -> str:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        name = name.replace(code, character)
    return os.fsdecode(name)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as stream:
            stream.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "unshare") from None
