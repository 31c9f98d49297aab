"""Which Landlock the running kernel has: one number, on which depends what the other layers must do."""

from __future__ import annotations

import ctypes
import os

_LANDLOCK_CREATE_RULESET = 444  # the same number on every architecture, linux/asm-generic/unistd.h
_VERSION = 1 << 0  # LANDLOCK_CREATE_RULESET_VERSION


def ask_abi() -> int:
    """Return Landlock's ABI.

    Source: landlock_create_ruleset(2).

    Raises:
        OSError: there is no Landlock; `sandbox.landlock` knows what each error stands for.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = int(libc.syscall(ctypes.c_long(_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION)))
    if abi < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return abi


def known_abi() -> int | None:
    """Return Landlock's ABI, or None where there is none."""
    try:
        return ask_abi()
    except OSError:
        return None
