"""The end of a kernel and of all that it has started: what the keeper tells of it, and who still has a GPU open.

See `openshell_kernel.sandbox.layers.keeper`. Used by the server and, in a process of its own, by the janitor.

Sources: pidfd_open(2), poll(2), proc_pid_fd(5), proc_pid_maps(5).
"""

from __future__ import annotations

import contextlib
import os
import select
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PAUSE = 1.0  # seconds
_CONFINED = "NoNewPrivs:\t1\n"


class Ending:
    """Tells whether a kernel has ended, and whether anything of it is left. The descriptors become this object's.

    `kernel` is a pidfd, None where processes cannot be watched; from `keeper` the keeper is heard, and never read, so
    that several may listen.
    """

    def __init__(self, kernel: int | None, keeper: int, nodes: Sequence[str] = ()) -> None:
        self.kernel = kernel
        self.keeper = keeper
        self.nodes = tuple(nodes)
        """The device nodes that no process of the kernel's may have open any more. Known only when the plan is."""
        weakref.finalize(self, _close, [fd for fd in (kernel, keeper) if fd is not None])

    def is_over(self) -> bool:
        """Return whether neither the kernel nor, as far as it can be told, a process of its own is left."""
        if self.kernel is not None and not _events(self.kernel, 0):
            return False
        events = _events(self.keeper, 0)
        if not events & select.POLLHUP:
            return False
        # Where the keeper has not said that all is done, there was none, or it could not tell, or it was killed.
        return bool(events & select.POLLIN) or not holding(self.nodes)

    def wait(self) -> None:
        """Wait until it is over, for as long as that takes."""
        for fd in (self.kernel, self.keeper):
            if fd is not None:
                while not _events(fd, None) & (select.POLLHUP if fd == self.keeper else ~0):
                    time.sleep(_PAUSE)
        while not self.is_over():
            time.sleep(_PAUSE)


def of_child(pid: int, keeper: int) -> Ending:
    """Return the ending of a child of this process, which must not have been waited for yet."""
    try:
        return Ending(os.pidfd_open(pid), keeper)
    except OSError:
        return Ending(None, keeper)


def holding(nodes: Iterable[str]) -> tuple[str, ...]:
    """Return which confined processes have one of these device nodes open or mapped, as far as this user may see."""
    wanted = set()
    for node in nodes:
        with contextlib.suppress(OSError):
            status = os.stat(node)
            wanted.add((status.st_dev, status.st_ino))
    if not wanted:
        return ()
    return tuple(filter(None, (_holder(name, wanted) for name in os.listdir("/proc") if name.isdigit())))


def _holder(pid: str, wanted: set[tuple[int, int]]) -> str:
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
            status = stream.read()
        if _CONFINED in status and (_opened(pid) | _mapped(pid)) & wanted:
            return f"process {pid} ({status.split(maxsplit=2)[1]})"
    return ""


def _opened(pid: str) -> set[tuple[int, int]]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            status = os.stat(f"/proc/{pid}/fd/{name}")
            found.add((status.st_dev, status.st_ino))
    return found


def _mapped(pid: str) -> set[tuple[int, int]]:
    found = set()
    with open(f"/proc/{pid}/maps", "rb") as stream:
        for line in stream:
            _, _, _, device, inode, *_ = line.split()
            major, minor = (int(part, 16) for part in device.split(b":"))
            found.add((os.makedev(major, minor), int(inode)))
    return found


def _events(fd: int, milliseconds: int | None) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return dict(poll.poll(milliseconds)).get(fd, 0)


def _close(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        os.close(fd)
