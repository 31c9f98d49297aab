"""How a kernel that a client starts itself is kept from the client's terminal, files and pipes."""

from __future__ import annotations

import os
import stat

from openshell_kernel.server.process import janitor
from openshell_kernel.server.process.leaving import leave

_pipes: set[tuple[int, int]] = set()
"""Those that were put in the place of something else already."""


def detach(environment: dict[str, str]) -> None:
    """Put a pipe in the place of what the client gave as stdout and stderr, and nothing in that of a file as stdin.

    A kernel that inherited the client's own descriptors could rewrite the file behind them, read what others write
    into the same pipe, or steer the terminal.
    """
    pipes: dict[tuple[int, int], int] = {}
    for fd in filter(_is_shared, (1, 2)):
        file = _identity(fd)
        if file not in pipes:
            reading, pipes[file] = os.pipe()
            _pipes.add(_identity(pipes[file]))
            leave(janitor.copying(str(os.getpid())), environment, streams={0: reading, 1: fd})
            os.close(reading)
        os.dup2(pipes[file], fd)
    for fd in pipes.values():
        os.close(fd)
    if _is_shared(0) and stat.S_ISREG(os.fstat(0).st_mode):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)


def _is_shared(fd: int) -> bool:
    """Return whether others read or write what is behind a descriptor, as they do not behind /dev/null."""
    try:
        return _identity(fd) not in _pipes and (not stat.S_ISCHR(os.fstat(fd).st_mode) or os.isatty(fd))
    except OSError:
        return False  # closed


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
