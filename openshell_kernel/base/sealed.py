"""Sealed memory files: content that a process hands to the next, and that nobody can change any more.

Source: memfd_create(2) and fcntl(2), File Sealing.
"""

from __future__ import annotations

import fcntl
import os

VARIABLE = "OPENSHELL_SNAPSHOT_FD"
"""Names the descriptor from which the kernel reads the record of its own sandbox."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed(name: str, content: bytes) -> int:
    """Return an inheritable descriptor of a new memory file with this content.

    Raises:
        OSError: Linux, or a container around us, makes none.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    os.set_inheritable(fd, True)
    return fd


def is_sealed(fd: int) -> bool:
    """Return whether a descriptor's content can change no more.

    Raises:
        OSError: it is closed, or no memory file.
    """
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
