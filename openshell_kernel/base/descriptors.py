"""The descriptors that a process has open: all but a few are closed before another program takes its place."""

from __future__ import annotations

import contextlib
import os


def close_all_but(*kept: int | None) -> None:
    """Close every descriptor of this process but these; None stands for one that there is not.

    Source: proc_pid_fd(5).
    """
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in kept:
            # The descriptor of the listing itself is in the list, and closed by now.
            with contextlib.suppress(OSError):
                os.close(fd)
