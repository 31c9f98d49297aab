"""Who holds which GPU just now: the records of this machine's running kernels, as far as this sandbox may read them.

The servers of those kernels write the records and keep them locked; this and they share the JSON and no code.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
from typing import TYPE_CHECKING

from openshell_kernel.errors import SnapshotError
from openshell_kernel.policy.effective import Holder, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LARGEST = 1 << 16
_FLOCK = "hhqqi4x"  # struct flock of fcntl(2)


def holders(folders: Iterable[str]) -> tuple[Holder, ...]:
    """Return the kernels that hold GPUs, in the order of their starts."""
    found = (holder for folder in folders for holder in _beneath(folder))
    return tuple(sorted(found, key=lambda holder: holder.since))


def _beneath(folder: str) -> Iterator[Holder]:
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            # One that goes away while it is looked at tells of nothing any more.
            with contextlib.suppress(OSError, ValueError, SnapshotError):
                yield _read(f"{folder}/{name}")


def _read(path: str) -> Holder:
    with open(path, "rb") as stream:
        lock = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        if struct.unpack(_FLOCK, fcntl.fcntl(stream, fcntl.F_OFD_GETLK, lock))[0] == fcntl.F_UNLCK:
            raise ValueError(f"{path}: nobody keeps this record any more")
        return decode(Holder, json.loads(stream.read(_LARGEST)))
