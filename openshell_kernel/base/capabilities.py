"""The capabilities of this process: what Linux says of them, and setting them.

Source: capabilities(7).
"""

from __future__ import annotations

import ctypes

from openshell_kernel.base import libc

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def sets() -> dict[str, int]:
    """Return every set of this process, by its name in /proc/PID/status, as a number of bits."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        fields = dict(line.split(":", 1) for line in stream)
    return {name: int(fields[name], 16) for name in SETS}


def set_to(*, permitted: int, effective: int, inheritable: int) -> None:
    """Set the three sets of this process.

    Raises:
        OSError: Linux refuses it.
    """
    header = _Header(_VERSION_3, 0)
    words = [[number >> shift & 0xFFFFFFFF for number in (effective, permitted, inheritable)] for shift in (0, 32)]
    libc.call("capset", ctypes.byref(header), (_Data * 2)(*(_Data(*word) for word in words)))


def lower() -> None:
    """Use none of the capabilities from here on; those that are permitted can be taken up again.

    Raises:
        OSError: Linux refuses it.
    """
    held = sets()
    set_to(permitted=held["CapPrm"], effective=0, inheritable=held["CapInh"])
