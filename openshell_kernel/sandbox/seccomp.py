"""seccomp: install the filter of system calls that the trusted side compiled. It comes last, because it is for ever.

Sources: seccomp(2), prctl(2), the kernel's Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os

from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layer import Layer

NAME = "seccomp"
_INSTRUCTION = 8
_SYSTEM_CALL = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER = 1
# Without it kernels before 5.16 slow down everything, against processes that spy on themselves.
_SPEC_ALLOW = 1 << 2
_PR_GET_SECCOMP = 21
_FILTERED = 2
_CAUSES = {
    errno.ENOSYS: "this Linux was built without CONFIG_SECCOMP_FILTER, or a container's seccomp profile hides it",
    errno.EINVAL: "this Linux was built without CONFIG_SECCOMP_FILTER, or the filter is damaged",
    errno.EPERM: "a container's seccomp profile blocks the system call seccomp: allow it in the profile",
    errno.ENOMEM: "too many filters are in force already",
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(program: bytes, *, detail: str, required: bool) -> Layer:
    """Filter the system calls of this process and of all that it starts, for ever. no_new_privs must hold.

    An empty program means that the trusted side could not make one; `detail` says why, otherwise what it covers.

    Raises:
        ConfinementError: the filter is required, and there is none or Linux refuses it.
    """
    problem = _install(program) if program else detail
    if not problem:
        return Layer(name=NAME, active=True, detail=detail)
    if required:
        raise ConfinementError(
            f"no seccomp filter can be installed: {problem}; or set c.OpenShellProvisioner.require_seccomp = False to "
            "go on without this layer"
        )
    return Layer(name=NAME, active=False, detail=problem)


def _install(program: bytes) -> str:
    """Return why it failed, or nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSTEM_CALL.get(os.uname().machine)
    if number is None:
        return f"the number of the system call is not known for {os.uname().machine}"
    structure = _Program(len(program) // _INSTRUCTION, program)
    arguments = (ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_SPEC_ALLOW), ctypes.byref(structure))
    if libc.syscall(ctypes.c_long(number), *arguments) != 0:
        code = ctypes.get_errno()
        return _CAUSES.get(code, os.strerror(code))
    # A profile of a container can pretend success.
    return "" if libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) == _FILTERED else "it was accepted and is not in force"
