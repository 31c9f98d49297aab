"""Landlock's access rights to files: since which ABI there is each, and on what they make sense. The one list of them.

Source: the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes

from openshell_kernel.base import libc

SINCE_ABI = {
    "execute": 1,
    "write_file": 1,
    "read_file": 1,
    "read_dir": 1,
    "remove_dir": 1,
    "remove_file": 1,
    "make_char": 1,
    "make_dir": 1,
    "make_reg": 1,
    "make_sock": 1,
    "make_fifo": 1,
    "make_block": 1,
    "make_sym": 1,
    "refer": 2,
    "truncate": 3,
    "ioctl_dev": 5,
}
"""Every right in lower case, and the ABI that brought it."""

NEVER = frozenset({"make_char", "make_block"})
"""What no rule grants: a device node gives whatever the device gives."""

GRANTABLE = frozenset(SINCE_ABI) - NEVER
FILE = frozenset({"execute", "read_file", "write_file", "truncate"})
"""What Landlock accepts in a rule for anything but a folder."""

FOLDER = GRANTABLE - FILE - {"ioctl_dev"}
"""What Landlock accepts in a rule for a folder only."""

DEVICE = ("read_file", "write_file", "truncate", "ioctl_dev")
READ = ("execute", "read_file", "read_dir")
WRITE = (*READ, *(right for right in SINCE_ABI if right in GRANTABLE - {*READ, "ioctl_dev"}))
"""All that a folder can be given: `ioctl_dev` is for devices."""

PROC_READ = ("read_file", "read_dir")
PROC_WRITE = (*PROC_READ, "write_file", "truncate")
"""What read-write means on procfs: nothing can be made or removed there, only existing files written."""

SCOPES_SINCE_ABI = 6
"""Since then Landlock decides about signals and abstract Unix sockets too."""

_CREATE_RULESET = 444  # the same number on every architecture, linux/asm-generic/unistd.h
_VERSION = 1 << 0  # LANDLOCK_CREATE_RULESET_VERSION


def handled(abi: int) -> tuple[str, ...]:
    """Return the rights that a Landlock of this ABI decides about."""
    return tuple(right for right, since in SINCE_ABI.items() if since <= abi)


def ask_abi() -> int:
    """Return Landlock's ABI.

    Source: landlock_create_ruleset(2).

    Raises:
        OSError: there is no Landlock; the layer `landlock` knows what each error stands for.
    """
    return libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))


def known_abi() -> int | None:
    """Return Landlock's ABI, or None where there is none."""
    try:
        return ask_abi()
    except OSError:
        return None
