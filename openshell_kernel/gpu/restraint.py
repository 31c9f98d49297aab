"""What the process that asks NVML gives up first: looking for GPUs must change nothing on the machine.

As root, NVIDIA's libraries make, chmod and chown nodes in /dev, and links in /dev/char; as another user they start the
set-uid program nvidia-modprobe, which loads modules too. Where the control node is there and no driver is, programs
take the machine for one with a GPU.

Sources: capabilities(7), mount_setattr(2), prctl(2); what the libraries of drivers 535 and 550 were seen to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 1 << 19
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture, linux/asm-generic/unistd.h
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY = 0x1  # MOUNT_ATTR_RDONLY
_VERSION_3 = 0x20080522
# CAP_DAC_READ_SEARCH: Python or the driver's library may lie in another user's folder.
_KEPT = 1 << 2
_DEVICES = b"/dev"


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def restrain() -> None:
    """Give up, for this process and what it starts, all that could change the machine; reading stays as it was.

    Raises:
        OSError: Linux does not let go of a capability.
    """
    _call("prctl", *map(ctypes.c_ulong, (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
    # Only root has anything to lose there, and not in every container may it be done. Nodes are opened all the same.
    with contextlib.suppress(OSError):
        _make_devices_read_only()
    _drop_capabilities()


def _make_devices_read_only() -> None:
    _call("unshare", _CLONE_NEWNS)
    _call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)
    _call("mount", _DEVICES, _DEVICES, None, ctypes.c_ulong(_MS_BIND | _MS_REC), None)
    attributes = _MountAttributes(_READ_ONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    number = ctypes.c_long(_SYS_MOUNT_SETATTR)
    _call("syscall", number, _AT_FDCWD, _DEVICES, _AT_RECURSIVE, ctypes.byref(attributes), size)


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, for numbers below and above 32
    _call("capget", header, held)
    _call("capset", header, (ctypes.c_uint32 * 6)(held[0] & _KEPT, held[1] & _KEPT))


def _call(function: str, *arguments: object) -> None:
    if getattr(_LIBC, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
