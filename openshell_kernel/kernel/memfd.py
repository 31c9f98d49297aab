"""The sealed memory file that holds the snapshot: finding and reading it.

On the kernel's start path: imports nothing that Python has not loaded anyway.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openshell_kernel.base.sealed import VARIABLE, is_sealed
from openshell_kernel.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE_LIMIT = 16 * 1024 * 1024
_RESTART = "restart the kernel to record it anew"
_at_start: dict[str, str] = {}


def remember(environ: Mapping[str, str]) -> None:
    """Keep what a starting kernel's environment says of its record: a notebook may empty that environment later."""
    _at_start.clear()
    _at_start.update({VARIABLE: environ[VARIABLE]} if VARIABLE in environ else {})


def remembered() -> int | None:
    """Return what `descriptor` says of the environment that was remembered.

    Raises:
        SnapshotError: as `descriptor`.
    """
    return descriptor(_at_start)


def descriptor(environ: Mapping[str, str]) -> int | None:
    """Return the number of the snapshot's descriptor, None outside an OpenShell kernel.

    Raises:
        SnapshotError: the variable is set and is not a number.
    """
    value = environ.get(VARIABLE)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10):  # noqa: PLR2004 - what fits into a C int
        raise SnapshotError(f"{VARIABLE}={value[:40]!r} is not the number of a file descriptor; {_RESTART}")
    return int(value)


def read_sealed(fd: int) -> bytes:
    """Return the whole content of a memory file that nobody can alter any more.

    Raises:
        SnapshotError: it is closed, is something else, is not fully sealed or is too large.
    """
    try:
        if not is_sealed(fd):
            raise SnapshotError(f"descriptor {fd} is not sealed, so anyone could have altered it; {_RESTART}")
        size = os.fstat(fd).st_size
        if size > SIZE_LIMIT:
            raise SnapshotError(f"descriptor {fd} holds {size} bytes, more than {SIZE_LIMIT}; {_RESTART}")
        return _read(fd, size)
    except OSError as error:
        raise SnapshotError(
            f"descriptor {fd} is not the sealed record of the sandbox ({error.strerror}); {_RESTART}"
        ) from None


def _read(fd: int, size: int) -> bytes:
    """Read by position: whoever shares the descriptor may have moved its offset."""
    content = bytearray()
    while len(content) < size:
        piece = os.pread(fd, size - len(content), len(content))
        if not piece:
            break
        content += piece
    return bytes(content)
