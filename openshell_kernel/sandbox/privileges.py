"""Privileges: what the kernel's process could do beyond its user's files is given up before any of its code runs.

Capabilities, the identity, core dumps and the controlling terminal. Everything that is given up is read back; what
does not hold refuses the start.

Sources: capabilities(7), credentials(7), core(5), ioctl_tty(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import termios
from typing import TYPE_CHECKING

from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openshell_kernel.sandbox.plan import Identity

CAPABILITIES = {"dac_override": 1, "dac_read_search": 2}
"""Those that a plan may keep, by their numbers in linux/capability.h."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_SETPCAP = 8
_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_VERSION_3 = 0x20080522

_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_GET_SECUREBITS = 27
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4

# NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE are set, KEEP_CAPS is not, and each has its lock.
_SECUREBITS = 0b11_10_11_11
_KEEP_CAPS = 1 << 4


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def leave_terminal() -> Layer:
    """Leave the session of whoever started this, and its controlling terminal, without becoming another process.

    A process can put words into its controlling terminal, which are then read by the shell outside.

    Raises:
        ConfinementError: the terminal cannot be left.
    """
    if os.getsid(0) != os.getpid():
        try:
            os.setsid()
        except PermissionError:
            # The leader of a process group cannot lead a session; it can still let go of the terminal.
            pass
        else:
            return Layer(name="No terminal", active=True, detail="a session of its own, without controlling terminal")
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT):
            raise ConfinementError(f"/dev/tty: {error.strerror}; the controlling terminal cannot be left") from None
        return Layer(name="No terminal", active=True, detail="no controlling terminal")
    # The leader of a session that lets go is sent a hang-up.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
    except OSError as error:
        raise ConfinementError(f"the controlling terminal cannot be left: {error.strerror}") from None
    finally:
        os.close(terminal)
        signal.signal(signal.SIGHUP, before)
    return Layer(name="No terminal", active=True, detail="the controlling terminal was left")


def forbid_core_dumps() -> Layer:
    """Keep the kernel's memory out of core dumps.

    PR_SET_DUMPABLE is no help: exec sets it again, and a kernel that is not dumpable could not name its own threads in
    /proc, which CUDA does.
    """
    # With 0 the dump would still be piped into a program that core_pattern names; 1 means not even that. core(5)
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    detail = "a crash writes no memory to disk, nor to a crash handler, as long as seccomp keeps the limit as it is"
    return Layer(name="No core dumps", active=True, detail=detail)


def drop(identity: Identity | None, keep: Sequence[str], *, bounded: bool) -> tuple[Layer, ...]:
    """Take on the identity and give up all capabilities but those to keep, in every set, for good.

    `bounded` tells whether Landlock will bound what is read, written and run with those.

    Raises:
        ConfinementError: it cannot be done, or does not hold when it is read back.
    """
    kept = sum(1 << CAPABILITIES[name] for name in keep)
    before = _capabilities()
    try:
        thorough = bool(before["CapEff"] & 1 << _SETPCAP)
        if thorough:
            _close_ways_back(before, kept)
        if identity is not None:
            _become(identity)
        _capset(kept, kept, kept)
        if not kept:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        raise ConfinementError(f"the kernel's capabilities cannot be dropped: {error.strerror}") from None
    after = _capabilities()
    wrong = [name for name in _SETS if after[name] != kept and (thorough or name != "CapBnd")]
    if wrong or (thorough and _prctl(_PR_GET_SECUREBITS) & 0xFF != _SECUREBITS):
        raise ConfinementError(
            f"the kernel's capabilities were dropped, and are still there ({', '.join(wrong) or 'securebits'}); "
            "a security module of this machine interferes"
        )
    detail = _kept(keep, bounded=bounded) if keep else "all of them"
    layer = Layer(name="Capabilities dropped", active=True, detail=f"{detail}; {_way_back(after['CapBnd'], kept)}")
    return (layer,) if identity is None else (layer, _identity_layer(identity))


def check_reachable(program: str, folder: str, temporary: str | None) -> None:
    """Make sure that the identity which was taken on can start the kernel at all.

    Raises:
        ConfinementError: it cannot; the message names the path.
    """
    for path, needed in ((program, os.X_OK), (folder, os.X_OK), (temporary, os.W_OK | os.X_OK)):
        if path is not None and not os.access(path, needed):
            raise ConfinementError(
                f"{path}: user {os.getuid()} cannot reach it, and run_as_user makes the kernel run as that user: give "
                "that user access to it and the folders above it, or move it, or remove run_as_user from the policy"
            )


def _close_ways_back(before: dict[str, int], kept: int) -> None:
    """Make sure that no exec, change of user or ambient set brings a capability back, while that may still be done."""
    missing = [name for name, number in CAPABILITIES.items() if (kept & ~before["CapPrm"]) >> number & 1]
    if missing:
        raise ConfinementError(
            f"the notebook needs a folder that another user owns, and this process lacks CAP_{missing[0].upper()} "
            "itself: let the policy's process.run_as_user name the owner, change the folder's owner, or grant the "
            "container that capability"
        )
    _capset(before["CapPrm"], before["CapPrm"], kept)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    number = 0
    while (bound := _prctl(_PR_CAPBSET_READ, number, failing=-1)) >= 0:
        if kept >> number & 1:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
        elif bound:
            _prctl(_PR_CAPBSET_DROP, number)
        number += 1
    _prctl(_PR_SET_SECUREBITS, _prctl(_PR_GET_SECUREBITS) & ~_KEEP_CAPS | _SECUREBITS)


def _become(identity: Identity) -> None:
    try:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise ConfinementError(
            f"the kernel cannot run as user {identity.uid}, group {identity.gid}: {error.strerror}; grant the "
            "container CAP_SETUID and CAP_SETGID, or remove run_as_user and run_as_group from the policy"
        ) from None
    wanted = ((identity.uid,) * 3, (identity.gid,) * 3, set(identity.groups))
    if (os.getresuid(), os.getresgid(), set(os.getgroups())) != wanted:
        raise ConfinementError(f"the kernel does not run as user {identity.uid}, group {identity.gid}")


def _kept(keep: Sequence[str], *, bounded: bool) -> str:
    names = " and ".join(f"CAP_{name.upper()}" for name in keep)
    reach = (
        "Landlock bounds what is read, written and run with it, and not what else it opens: see what is not enforced"
        if bounded
        else "nothing bounds it: Landlock is missing"
    )
    return f"all but {names}, because paths of this policy belong to other users; {reach}"


def _way_back(bounding: int, kept: int) -> str:
    if bounding == kept:
        return "none can be regained: bounding set reduced, securebits locked"
    return "the bounding set stays, as reducing it takes CAP_SETPCAP, but no_new_privs lets no program regain any"


def _identity_layer(identity: Identity) -> Layer:
    groups = f", groups {', '.join(map(str, identity.groups))}" if identity.groups else ""
    return Layer(name="Identity", active=True, detail=f"runs as user {identity.uid}, group {identity.gid}{groups}")


def _capabilities() -> dict[str, int]:
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        fields = dict(line.split(":", 1) for line in stream)
    return {name: int(fields[name], 16) for name in _SETS}


def _capset(permitted: int, effective: int, inheritable: int) -> None:
    header = _Header(_VERSION_3, 0)
    words = [[number >> shift & 0xFFFFFFFF for number in (effective, permitted, inheritable)] for shift in (0, 32)]
    data = (_Data * 2)(*(_Data(*word) for word in words))
    if _LIBC.capset(ctypes.byref(header), data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _prctl(option: int, *arguments: int, failing: int | None = None) -> int:
    """Call prctl(2); return its result, or `failing` where that is given and the call fails."""
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result = int(_LIBC.prctl(option, *padded))
    if result < 0:
        if failing is not None:
            return failing
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
