"""Write locks of open file descriptions: they end with the last descriptor, however the processes that had it ended.

Only who may write a file can take one.

Source: fcntl(2), "Open file description locks".
"""

from __future__ import annotations

import fcntl
import os
import struct

# struct flock on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


def lock(fd: int) -> None:
    """Take the lock of a file.

    Raises:
        OSError: somebody else has it, or the file is not open for writing.
    """
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))


def unlock(fd: int) -> None:
    """Let go of the lock, for every process that was handed the description."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK))


def is_locked(fd: int) -> bool:
    """Return whether somebody else has the lock; read locks do not count. It is enough to be able to read the file."""
    # Asked for a read lock, with which read locks do not interfere.
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_RDLCK))
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _flock(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
