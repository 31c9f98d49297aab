"""The seccomp filter, compiled on the trusted side into the bytes that the launcher installs.

The only importer of libseccomp's binding, whose import starts a process to find the library.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import platform
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openshell_kernel.base.rights import known_abi
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layers.seccomp import SYSTEM_CALL
from openshell_kernel.server.planning.system_calls import UNKNOWN, Compare, groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

from openshell_kernel.server.planning.system_calls import Argument, Group, Refusal

MACHINES = ("x86_64", "aarch64")
"""The list was made for these: elsewhere, arguments can stand in another order."""

_NO_SUCH_CALL = -1
_GET_ACTION_AVAIL = 2
_RET_KILL_PROCESS = 0x80000000
_CAUSES = {
    errno.EPERM: "a container's seccomp profile blocks the system call seccomp: allow it in the profile",
    errno.ENOSYS: (
        "the system call seccomp is missing: allow it in the container's seccomp profile, which may hide it, "
        "or use a Linux that was built with CONFIG_SECCOMP_FILTER"
    ),
}
_OPTIMIZE_AS_TREE = 2
_32_BITS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A BPF program and what it covers; or no program, and why there is none."""

    program: bytes
    detail: str


def load() -> Filter:
    """Return the filter for this machine. The first call takes about 100 ms: call it off the event loop."""
    try:
        return _cached(abi=known_abi())
    except ConfinementError as error:
        return Filter(program=b"", detail=str(error))


def build(*, abi: int | None, binding: Callable[[], Any] | None = None, machine: str | None = None) -> Filter:
    """Compile the list of system calls that are refused beside a Landlock of this ABI, None where there is none.

    Raises:
        ConfinementError: libseccomp or its binding is missing or too old, or the list does not fit this machine.
    """
    machine = machine or platform.machine()
    if machine not in MACHINES or sys.maxsize < _32_BITS:
        raise ConfinementError(
            f"the seccomp filter is for 64-bit Python on {' and '.join(MACHINES)}, but this is {machine}"
        )
    libseccomp = (binding or _import)()
    try:
        return _compile(libseccomp, groups(abi))
    except OSError as error:
        cause = _blocked(machine) or f"libseccomp cannot compile the filter ({error.strerror}): update libseccomp2"
        raise ConfinementError(cause) from None


_cached = functools.cache(build)


def _blocked(machine: str) -> str:
    """Return why not even this process may ask Linux about filters, as libseccomp does before it compiles one."""
    libc = ctypes.CDLL(None, use_errno=True)
    action = ctypes.c_uint32(_RET_KILL_PROCESS)
    if libc.syscall(ctypes.c_long(SYSTEM_CALL[machine]), _GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0:
        return ""
    return _CAUSES.get(ctypes.get_errno(), "")


def _import() -> Any:  # noqa: ANN401 - the binding has no types
    try:
        import pyseccomp  # noqa: PLC0415 - it starts processes, and is not importable everywhere
    except ImportError:
        raise ConfinementError("Python's binding is missing: pip install pyseccomp") from None
    except (RuntimeError, OSError) as error:
        raise ConfinementError(
            f"the system's library libseccomp.so.2 is missing ({error}): "
            "apt install libseccomp2, or dnf install libseccomp"
        ) from None
    return pyseccomp


def _compile(libseccomp: Any, wanted: Iterable[Group]) -> Filter:  # noqa: ANN401
    rules = libseccomp.SyscallFilter(libseccomp.ALLOW)
    # Calls of another architecture, 32-bit ones on a 64-bit machine, have other numbers: no rule would fit them.
    rules.set_attr(libseccomp.Attr.ACT_BADARCH, libseccomp.KILL_PROCESS)
    rules.set_attr(libseccomp.Attr.CTL_OPTIMIZE, _OPTIMIZE_AS_TREE)
    refused = set()
    for group in wanted:
        for refusal in group.refusals:
            number = _number(libseccomp, refusal)
            if number is not None:
                refused.add(refusal.call)
                conditions = [_condition(libseccomp, argument) for argument in refusal.when]
                rules.add_rule_exactly(libseccomp.ERRNO(refusal.code), number, *conditions)
    for number in UNKNOWN:
        rules.add_rule_exactly(libseccomp.ERRNO(errno.ENOSYS), number)
    with tempfile.TemporaryFile() as stream:
        rules.export_bpf(stream)
        stream.seek(0)
        program = stream.read()
    return Filter(program=program, detail=_detail(len(refused), wanted))


def _number(libseccomp: Any, refusal: Refusal) -> int | None:  # noqa: ANN401
    """Return a call's number, or None where this architecture does not have it."""
    number = int(libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, refusal.call))
    if number == _NO_SUCH_CALL:
        if refusal.number is None:
            raise ConfinementError(f"libseccomp does not know the system call {refusal.call}: update libseccomp2")
        return refusal.number
    return number if number >= 0 else None


def _condition(libseccomp: Any, argument: Argument) -> Any:  # noqa: ANN401
    if argument.compare is Compare.MASKED:
        return libseccomp.Arg(argument.index, libseccomp.MASKED_EQ, argument.mask, argument.value)
    operators = {
        Compare.EQUAL: libseccomp.EQ,
        Compare.NOT_EQUAL: libseccomp.NE,
        Compare.GREATER: libseccomp.GT,
    }
    return libseccomp.Arg(argument.index, operators[argument.compare], argument.value)


def _detail(refused: int, wanted: Iterable[Group]) -> str:
    named = "; ".join(f"{group.name} ({group.reason})" for group in wanted)
    return (
        f"{refused} system calls give EPERM (Operation not permitted), some only with certain arguments: "
        f"{named}. Those that are newer than this list give ENOSYS. Those of another architecture end the "
        "process"
    )
