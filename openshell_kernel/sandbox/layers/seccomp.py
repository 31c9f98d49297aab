"""seccomp: install the filter of system calls that the trusted side compiled. It comes last, because it is for ever.

Sources: seccomp(2), prctl(2), the kernel's Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from typing import TYPE_CHECKING, Annotated, NamedTuple

from openshell_kernel.base import libc
from openshell_kernel.base.rules import Unenforced
from openshell_kernel.base.values import Text
from openshell_kernel.sandbox.layers.contract import Layer, Need
from openshell_kernel.sandbox.probes import equals, refused, status

if TYPE_CHECKING:
    from openshell_kernel.sandbox.probes import Probe
    from openshell_kernel.sandbox.report import LayerReport, Report

_INSTRUCTION = 8  # bytes
_LONGEST = 4096  # instructions, linux/bpf_common.h
SYSTEM_CALL = {"x86_64": 317, "aarch64": 277}
"""The number of seccomp(2), by machine."""

_KEYCTL = {"x86_64": 250, "aarch64": 219}
_USER_KEYRING, _GET_KEYRING_ID = -4, 0  # linux/keyctl.h
_IO_URING_SETUP = 425
_SET_MODE_FILTER = 1
# Without it Linux before 5.16 slows down everything, against processes that spy on themselves.
_SPEC_ALLOW = 1 << 2
_PR_GET_SECCOMP = 21
_FILTERED = 2
_CAUSES = {
    errno.ENOSYS: "this Linux was built without CONFIG_SECCOMP_FILTER, or a container's seccomp profile hides it",
    errno.EINVAL: "this Linux was built without CONFIG_SECCOMP_FILTER, or the filter is damaged",
    errno.EPERM: "a container's seccomp profile blocks the system call seccomp: allow it in the profile",
    errno.ENOMEM: "too many filters are in force already",
}


def why_not_program(value: bytes) -> str:
    """Return why bytes are no program for Linux's filter; empty where they are one, or none at all."""
    whole, rest = divmod(len(value), _INSTRUCTION)
    return "" if rest == 0 and whole <= _LONGEST else "not a BPF program"


class Parameters(NamedTuple):
    """The filter, empty where the trusted side could not make one; and what it covers, or why there is none."""

    program: Annotated[bytes, why_not_program]
    detail: Text


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class Seccomp(Layer[Parameters]):
    """The filter of system calls of this process and of all that it starts."""

    name = "seccomp"
    title = "seccomp"
    covers = "System calls that attackers need and notebooks do not are refused."
    residual = (
        Unenforced(
            what="dangerous system calls",
            why="Nothing refuses them. Tracing other processes, keyrings, user namespaces and rarely tested parts of "
            "Linux are open to the notebook",
        ),
    )
    need = Need.UNLESS_WAIVED
    takes = Parameters

    def prepare(self) -> LayerReport | None:
        """See whether there is a filter."""
        return None if self.parameters.program else self._missing(self.parameters.detail)

    def enforce(self) -> LayerReport:
        """Install it. no_new_privs must hold."""
        problem = _install(self.parameters.program)
        return self._missing(problem) if problem else self.enforced(self.parameters.detail)

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:  # noqa: ARG003 - the contract's
        """Ask whether there is a filter, and make calls that it refuses and that harm nobody."""
        keyctl = _KEYCTL.get(os.uname().machine, -1)
        return (
            equals("ask for a filter", status().get("Seccomp"), str(_FILTERED)),
            refused(
                "ask for the user's keyring", libc.syscall, keyctl, _GET_KEYRING_ID, _USER_KEYRING, 0, by=("EPERM",)
            ),
            refused("set up io_uring with no entries", libc.syscall, _IO_URING_SETUP, 0, None, by=("EPERM",)),
            # A container's own filter refuses the two above as well, but not this.
            refused("set a limit of this process, by its number, to what it is", _set_limit_again, by=("EPERM",)),
        )

    def _missing(self, problem: str) -> LayerReport:
        return self.absent(f"no seccomp filter can be installed: {problem}")


def _set_limit_again() -> None:
    limit = resource.RLIMIT_NOFILE
    resource.prlimit(os.getpid(), limit, resource.getrlimit(limit))


def _install(program: bytes) -> str:
    """Return why it failed, or nothing."""
    number = SYSTEM_CALL.get(os.uname().machine)
    if number is None:
        return f"the number of the system call is not known for {os.uname().machine}"
    structure = _Program(len(program) // _INSTRUCTION, program)
    mode, flags = ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_SPEC_ALLOW)
    try:
        libc.syscall(number, mode, flags, ctypes.byref(structure))
    except OSError as error:
        return _CAUSES.get(error.errno or 0, str(error.strerror))
    # A profile of a container can pretend success.
    return "" if libc.prctl(_PR_GET_SECCOMP) == _FILTERED else "it was accepted but is not in force"
