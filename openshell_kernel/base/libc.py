"""Calls into the C library, for what Python's own modules do not reach. What fails is raised."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39


def call(function: str, *arguments: object) -> int:
    """Call a function that tells a failure by a negative result, and the cause by errno.

    Raises:
        OSError: it failed.
    """
    ctypes.set_errno(0)
    result = int(getattr(_LIBC, function)(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def syscall(number: int, *arguments: object) -> int:
    """Make a system call that the C library has no function for.

    Raises:
        OSError: it failed.
    """
    return call("syscall", ctypes.c_long(number), *arguments)


def prctl(option: int, *arguments: int) -> int:
    """Control this process, as in the manual page of this name; unused arguments are zero.

    Raises:
        OSError: it failed.
    """
    return call("prctl", option, *(ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]))


def set_no_new_privs() -> bool:
    """Give up, for this process and all that it starts, gaining privileges by exec. Return whether it holds.

    Source: prctl(2), PR_SET_NO_NEW_PRIVS.
    """
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return prctl(_PR_GET_NO_NEW_PRIVS) == 1
