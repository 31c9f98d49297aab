"""The lock under which the GPUs of this machine are chosen, for all of its users."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

from openshell_kernel.base.modes import set_mode
from openshell_kernel.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODE = 0o644
_SECONDS = 10.0
_PAUSE = 0.01


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep all others on this machine from choosing GPUs meanwhile.

    Raises:
        LaunchError: somebody else did not let go of the lock in time.
    """
    deadline = time.monotonic() + _SECONDS
    while True:
        fd = _open(path)
        try:
            _wait(fd, path, deadline)
            # Whoever cleans up old files may have removed it meanwhile, and others lock a new one.
            if _is_same(fd, path) or stat.S_ISDIR(os.fstat(fd).st_mode):
                yield
                return
        finally:
            os.close(fd)


def mend(path: str) -> None:
    """Make the lock readable for all again, if this user made it: a notebook may have closed it."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            set_mode(path, _MODE)


def _wait(fd: int, path: str, deadline: float) -> None:
    while not _flock(fd):
        if time.monotonic() > deadline:
            raise LaunchError(
                f"{path}: another process has held the lock for choosing GPUs for more than {_SECONDS:.0f} s; "
                f"`lsof {path}` names it"
            )
        time.sleep(_PAUSE)


def _is_same(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _open(path: str) -> int:
    """Open the lock file, which any user may have made. Never with O_CREAT where it is there: fs.protected_regular.

    Where whoever made it keeps it closed, as a notebook of that user can, or something else stands there, the folder
    itself is locked: its mode is nobody's to change but that of whom it belongs to.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with contextlib.suppress(OSError):
            mend(path)
            with contextlib.suppress(FileExistsError):
                try:
                    return os.open(path, flags)
                except FileNotFoundError:
                    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, _MODE)
                    os.fchmod(fd, _MODE)
                    return fd
            return os.open(path, flags)
        return os.open(os.path.dirname(path), flags | os.O_DIRECTORY)
    except OSError as error:
        raise LaunchError(
            f"{path}: the lock for choosing GPUs cannot be opened: {error.strerror}; correct the folder, or "
            "name another one with c.OpenShellProvisioner.gpu_claims"
        ) from None


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
