"""Who holds which GPU just now: the records of this machine's running kernels, as far as this sandbox may read them.

The servers of those kernels write the records and keep them locked; this and they share the JSON and no code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import fcntl
import json
import os
import pwd
import re
import stat
import struct
from typing import TYPE_CHECKING

from openshell_kernel.errors import SnapshotError
from openshell_kernel.policy.effective import Holder, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LARGEST = 1 << 16
_KEYS = frozenset(field.name for field in dataclasses.fields(Holder))  # a newer version may tell more
_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT of Linux
_FLOCK = "hhqqi4x"  # struct flock of fcntl(2)


def holders(folders: Iterable[str]) -> tuple[Holder, ...]:
    """Return the kernels that hold GPUs, in the order of their starts."""
    found = (holder for folder in folders for holder in _beneath(folder))
    return tuple(sorted(found, key=lambda holder: holder.since))


def _beneath(folder: str) -> Iterator[Holder]:
    with contextlib.suppress(OSError):
        for name in filter(re.compile(r"[0-9a-f]+\.json").fullmatch, os.listdir(folder)):
            # One that goes away while it is looked at tells of nothing any more.
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError, SnapshotError):
                yield _read(f"{folder}/{name}")


def _read(path: str) -> Holder:
    # Without O_NONBLOCK, a FIFO that somebody else has put there would hang the notebook.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        lock = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        if not stat.S_ISREG(status.st_mode) or _kind(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, lock)) == fcntl.F_UNLCK:
            raise ValueError(f"{path}: nobody keeps this record any more")
        told = {key: value for key, value in json.loads(os.read(fd, _LARGEST)).items() if key in _KEYS}
        holder = decode(Holder, {**told, "user": _name(status.st_uid)})
    finally:
        os.close(fd)
    # Another user may have written it: what is shown of it must be what it says that it is.
    dt.datetime.fromisoformat(holder.since)
    if not 0 < holder.pid <= _LARGEST_PID:
        raise ValueError(f"{path}: there is no process {holder.pid}")
    return holder


def _kind(lock: bytes) -> int:
    return int(struct.unpack(_FLOCK, lock)[0])


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
