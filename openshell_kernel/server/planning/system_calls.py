"""The system calls that a notebook does not need and an attacker does: data, with the reason for each group.

What is not named here is allowed, and some things are on purpose:

- `memfd_create`: CUDA makes anonymous files while it initialises, and a program that is executed from one stays in the
  sandbox that executed it. Landlock's rules and this filter survive every exec.
- `pidfd_open`, `landlock_*`: they reach nobody that the caller could not reach, and restrict only the caller.
- `pidfd_getfd`, where there is Landlock: it takes descriptors of processes that could be traced, which are those of the
  sandbox. PyTorch's expandable segments and CUDA's memory shared between processes need it.

Sources: the manual page of each call (section 2), the numbers in linux/asm-generic/unistd.h.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import socket
import stat
import termios
from dataclasses import dataclass
from enum import Enum


class Compare(Enum):
    """How an argument is judged. Values are compared in 64 bits, of which the kernel may look at 32 only."""

    EQUAL = "is"
    NOT_EQUAL = "is not"
    GREATER = "is greater than"
    MASKED = "is, under the mask,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A condition on one argument, counted from 0."""

    index: int
    compare: Compare
    value: int
    mask: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A call that is refused, always or when all conditions hold, and the error that it gives.

    `number` helps out where libseccomp is older than the call; since 424 it is the same on every architecture.
    """

    call: str
    when: tuple[Argument, ...] = ()
    code: int = errno.EPERM
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Calls that are refused for one reason. `name` and `reason` are shown to users.

    Since ABI `landlock_since` Landlock decides about them itself, and better: then they are allowed.
    """

    name: str
    reason: str
    refusals: tuple[Refusal, ...]
    landlock_since: int | None = None


NEWEST = 469
"""The newest call that was known when this list was made: file_setattr, Linux 6.17."""
UNKNOWN = range(NEWEST + 1, 600)
"""Calls that may come. Programs take ENOSYS as word that they must do without, as on an older kernel."""

_INT = 0xFFFFFFFF


def _always(*names: str) -> tuple[Refusal, ...]:
    return tuple(Refusal(call=name) for name in names)


def _equal(index: int, value: int) -> Argument:
    return Argument(index=index, compare=Compare.EQUAL, value=value)


def _not_equal(index: int, value: int) -> Argument:
    return Argument(index=index, compare=Compare.NOT_EQUAL, value=value)


def _int(index: int, value: int) -> Argument:
    """Compare as the kernel does with an int: bits above 32, which it ignores, would hide a value."""
    return Argument(index=index, compare=Compare.MASKED, value=value, mask=_INT)


def _bits(index: int, bits: int) -> Argument:
    return Argument(index=index, compare=Compare.MASKED, value=bits, mask=bits)


_CLONE_NEW = {
    "NEWNS": 0x00020000,
    "NEWCGROUP": 0x02000000,
    "NEWUTS": 0x04000000,
    "NEWIPC": 0x08000000,
    "NEWUSER": 0x10000000,
    "NEWPID": 0x20000000,
    "NEWNET": 0x40000000,
}
_CLONE_PARENT = 0x00008000
_CLONE_NEWTIME = 0x00000080  # clone() takes this bit for part of a signal's number
_SETTING_CORE = (_equal(0, 0), _int(1, resource.RLIMIT_CORE), _not_equal(2, 0))
_PRETEND = 0  # the call does nothing and succeeds
_PR_SET_SECCOMP = 22
_NETLINK_ROUTE = 0
_F_SETLEASE, _F_SETDELEG = 1024, 1040  # linux/fcntl.h; the second since Linux 6.19
_SOCKET_TYPE = 0xF  # the flags lie above
_NEITHER_READ_NOR_WRITE = 3  # the fourth access mode of open(2), "for special drivers"
# SNAP_CREATE, SUBVOL_CREATE, SNAP_DESTROY, the first two again, SUBVOL_SETFLAGS and SNAP_DESTROY_V2; linux/btrfs.h
_BTRFS = (0x50009401, 0x5000940E, 0x5000940F, 0x50009417, 0x50009418, 0x4008941A, 0x5000943F)
_OPENS = (("open", 1), ("openat", 2))  # and their flags; openat2 is refused as a whole


def _sockets(call: str) -> tuple[Refusal, ...]:
    """Refuse all families but Unix, IPv4, IPv6 and route netlink, and all types but streams and datagrams.

    A family or type with bits above 32 set is greater than every known one, and refused with the unknown.
    """
    families = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    highest = max(families)
    conditions: list[tuple[Argument, ...]]
    conditions = [(_equal(0, family),) for family in range(highest) if family not in families]
    conditions.append((Argument(index=0, compare=Compare.GREATER, value=highest),))
    conditions.append((_equal(0, socket.AF_NETLINK), _not_equal(2, _NETLINK_ROUTE)))
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind in set(range(_SOCKET_TYPE + 1)) - {socket.SOCK_STREAM, socket.SOCK_DGRAM}:
            kind_is = Argument(index=1, compare=Compare.MASKED, value=kind, mask=_SOCKET_TYPE)
            conditions.append((_equal(0, family), kind_is))
    return tuple(Refusal(call=call, when=when) for when in conditions)


def _set_uid() -> tuple[Refusal, ...]:
    """Refuse every way to set the bit. Set-group-id stays: on a folder, many teams need it, and copies carry it."""
    # The mode of an open counts only with these; without, callers leave anything in its place.
    creating = (os.O_CREAT, os.O_TMPFILE & ~os.O_DIRECTORY)
    return (
        *(
            Refusal(call=call, when=(_bits(mode, stat.S_ISUID),), number=number)
            for call, mode, number in (
                ("chmod", 1, None),
                ("fchmod", 1, None),
                ("fchmodat", 2, None),
                ("fchmodat2", 2, 452),
                ("creat", 1, None),
                ("mknod", 1, None),
                ("mknodat", 2, None),
            )
        ),
        *(Refusal(call="open", when=(_bits(1, bit), _bits(2, stat.S_ISUID))) for bit in creating),
        *(Refusal(call="openat", when=(_bits(2, bit), _bits(3, stat.S_ISUID))) for bit in creating),
        # Its mode lies in memory, where no filter can look. Programs fall back on openat.
        Refusal(call="openat2", code=errno.ENOSYS, number=437),
    )


def _devices() -> tuple[Refusal, ...]:
    return tuple(
        Refusal(call=call, when=(Argument(index=mode, compare=Compare.MASKED, value=kind, mask=0o170000),))
        for call, mode in (("mknod", 1), ("mknodat", 2))
        for kind in (stat.S_IFCHR, stat.S_IFBLK)
    )


def _opens(mode: int, flag: int = 0) -> tuple[Refusal, ...]:
    """Refuse to open with this access mode and flag."""
    flags = Argument(index=0, compare=Compare.MASKED, value=mode | flag, mask=os.O_ACCMODE | flag)
    return tuple(Refusal(call=call, when=(dataclasses.replace(flags, index=index),)) for call, index in _OPENS)


GROUPS = (
    Group(
        name="taking descriptors of other processes",
        reason="without Landlock they could be any process's of the same user",
        refusals=(Refusal(call="pidfd_getfd", number=438, code=errno.ENOSYS),),
        landlock_since=1,
    ),
    Group(
        name="truncating files by name",
        reason="before ABI 3, which came with Linux 6.2, Landlock does not decide about it, and it would empty every "
        "file that the user may write",
        # Every other way to truncate needs a file that was opened for writing.
        refusals=(*_always("truncate"), *_opens(os.O_RDONLY, os.O_TRUNC)),
        landlock_since=3,
    ),
    Group(
        name="opening files neither to read nor to write",
        reason="Landlock asks for no right then: drivers take commands so, and before ABI 3 the file can be emptied",
        refusals=_opens(_NEITHER_READ_NOR_WRITE),
    ),
    Group(
        name="reaching into other processes",
        reason="ptrace and its kin read the server's memory; limits of others could end it",
        refusals=(
            *_always("ptrace", "process_vm_readv", "process_vm_writev", "kcmp"),
            Refusal(call="process_madvise", number=440),
            # Of another process of the same user; one's own limits are those of process 0.
            Refusal(call="prlimit64", when=(_not_equal(0, 0), _not_equal(2, 0))),
        ),
    ),
    Group(
        name="processes that are made children of who started the kernel",
        reason="ended, they stay with Jupyter's server until it ends, and count among the processes that it may have",
        refusals=(Refusal(call="clone", when=(_bits(0, _CLONE_PARENT),)),),
    ),
    Group(
        name="namespaces",
        reason="inside a user namespace of its own every process has all capabilities, and half of Linux to attack",
        refusals=(
            *_always("setns"),
            *(
                Refusal(call=call, when=(_bits(0, bit),))
                for call in ("clone", "unshare")
                for bit in _CLONE_NEW.values()
            ),
            Refusal(call="unshare", when=(_bits(0, _CLONE_NEWTIME),)),
            # Its flags lie in memory, where no filter can look. The C library falls back on clone.
            Refusal(call="clone3", code=errno.ENOSYS, number=435),
        ),
    ),
    Group(
        name="mounts",
        reason="what is mounted decides what a path leads to",
        refusals=(
            *_always("mount", "umount", "umount2", "pivot_root", "chroot"),
            Refusal(call="open_tree", number=428),
            Refusal(call="move_mount", number=429),
            Refusal(call="fsopen", number=430),
            Refusal(call="fsconfig", number=431),
            Refusal(call="fsmount", number=432),
            Refusal(call="fspick", number=433),
            Refusal(call="mount_setattr", number=442),
            Refusal(call="open_tree_attr", number=467),
        ),
    ),
    Group(
        name="programs and hooks inside the operating system",
        reason="bpf, perf, userfaultfd and further filters are steps of most attacks on it; io_uring works unfiltered",
        refusals=(
            *_always("bpf", "perf_event_open", "userfaultfd", "seccomp"),
            Refusal(call="prctl", when=(_int(0, _PR_SET_SECCOMP),)),
            Refusal(call="io_uring_setup", number=425),
            Refusal(call="io_uring_enter", number=426),
            Refusal(call="io_uring_register", number=427),
        ),
    ),
    Group(
        name="keyrings",
        reason="they hold keys of the user's other programs, and no file rule covers them",
        refusals=_always("add_key", "request_key", "keyctl"),
    ),
    Group(
        name="message queues and semaphores of System V",
        reason="they belong to all programs of the same user, and no file rule covers them; those of POSIX are open",
        refusals=(
            *_always("msgget", "msgsnd", "msgrcv", "msgctl"),
            *_always("semget", "semop", "semtimedop", "semctl"),
        ),
    ),
    Group(
        name="the limit on core dumps",
        reason="at 0 a crash handler would be given the kernel's memory, at 1, as it is set, not even that; who sets "
        "it is told that it worked",
        refusals=(
            # ssh-agent and gpg set it to 0 themselves, for the same reason, and end where they are refused.
            Refusal(call="setrlimit", when=(_int(0, resource.RLIMIT_CORE),), code=_PRETEND),
            Refusal(call="prlimit64", when=(*_SETTING_CORE, _equal(3, 0)), code=_PRETEND),
            # Who asks for the old limit as well would read what nobody has written.
            Refusal(call="prlimit64", when=(*_SETTING_CORE, _not_equal(3, 0)), code=errno.ENOSYS),
        ),
    ),
    Group(
        name="terminal injection",
        reason="what is put into a terminal's input is run by the shell that reads it",
        refusals=tuple(
            Refusal(call="ioctl", when=(_int(1, command),))
            for command in (termios.TIOCSTI, termios.TIOCLINUX, termios.TIOCCONS, termios.TIOCSETD)
        ),
    ),
    Group(
        name="files by handle and watches on whole file systems",
        reason="they pass by the folders in which files lie",
        refusals=_always("name_to_handle_at", "open_by_handle_at", "fanotify_init", "fanotify_mark", "lookup_dcookie"),
    ),
    Group(
        name="making and removing subvolumes of Btrfs",
        reason="Landlock does not decide about it: a snapshot with what a notebook has written could be put into every "
        "folder that it may list",
        refusals=tuple(Refusal(call="ioctl", when=(_int(1, command),)) for command in _BTRFS),
    ),
    Group(
        name="leases on files and folders",
        reason="who opens one that is leased, as Jupyter does to save a notebook, stands still until it is given back",
        refusals=tuple(Refusal(call="fcntl", when=(_int(1, command),)) for command in (_F_SETLEASE, _F_SETDELEG)),
    ),
    Group(
        name="set-user-id programs and device nodes",
        reason="left in a shared folder, they give this kernel's rights to others, outside of the sandbox",
        refusals=(*_set_uid(), *_devices()),
    ),
    Group(
        name="raw and unusual sockets",
        reason="forged packets, and protocols that hardly anyone needs: Bluetooth, vsock, AF_ALG and the like",
        refusals=(*_sockets("socket"), *_sockets("socketpair")),
    ),
    Group(
        name="control of the machine",
        reason="modules, kexec, clock, swap, quotas and the log concern everybody on it",
        refusals=(
            *_always("init_module", "finit_module", "delete_module", "create_module", "query_module"),
            *_always("get_kernel_syms", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct"),
            *_always("quotactl", "settimeofday", "stime", "clock_settime", "adjtimex", "clock_adjtime"),
            *_always("sethostname", "setdomainname", "syslog", "vhangup", "nfsservctl", "iopl", "ioperm"),
            Refusal(call="quotactl_fd", number=443),
        ),
    ),
    Group(
        name="other modes of execution",
        reason="they weaken the randomness of addresses, or lead into code that is seldom tested",
        refusals=(
            *_always("modify_ldt"),
            # With all bits set it only asks. Callers write that as -1 or as 0xFFFFFFFF, which differ in 64 bits.
            *(
                Refusal(call="personality", when=(Argument(index=0, compare=Compare.MASKED, value=0, mask=1 << bit),))
                for bit in range(_INT.bit_length())
            ),
        ),
    ),
)


def groups(abi: int | None) -> tuple[Group, ...]:
    """Return what is refused beside a Landlock of this ABI, or where there is none."""
    return tuple(group for group in GROUPS if group.landlock_since is None or abi is None or abi < group.landlock_since)
