"""Modes that a notebook may have changed, put right: Landlock keeps nobody from chmod on files of the same user.

A notebook could so shut its user's other kernels out of what they start from. Only the owner can change a mode: what is
wrong with one of this user's own was done by a program of the user's, and may be undone without asking. Nothing is
opened up to others here.

Source: path_resolution(7).
"""

from __future__ import annotations

import contextlib
import os
import stat

_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ON_THE_WAY = stat.S_IXUSR
_FOLDER = stat.S_IRWXU
_FILE = stat.S_IRUSR


def chmod(fd: int, mode: int) -> None:
    """Set the mode of what a descriptor holds open, also by O_PATH: no name could be exchanged meanwhile.

    Raises:
        OSError: it belongs to somebody else.
    """
    os.chmod(f"/proc/self/fd/{fd}", mode)


def set_mode(path: str, mode: int) -> None:
    """Set the mode of a file or folder, unless it has it; a link is not followed.

    Raises:
        OSError: there is none, or it belongs to somebody else.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            chmod(fd, mode)
    finally:
        os.close(fd)


def mend(path: str, *, private: bool = False) -> None:
    """Let this user reach and use a file or folder of theirs again, if it is there.

    If `private`, nobody else may write it afterwards, and a link is not followed. Folders of other users, and what they
    own, stay as they are. Raises nothing: whoever opens it finds what is left.
    """
    with contextlib.suppress(OSError):
        for folder in _above(path):
            _grant(folder, _ON_THE_WAY)
        _grant(path, _FOLDER if os.path.isdir(path) else _FILE, private=private)


def _above(path: str) -> list[str]:
    parts = os.path.dirname(path).split("/")
    return ["/".join(parts[: end + 1]) or "/" for end in range(len(parts))]


def _grant(path: str, wanted: int, *, private: bool = False) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC | (os.O_NOFOLLOW if private else 0))
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or stat.S_ISLNK(status.st_mode):
            return
        mode = stat.S_IMODE(status.st_mode)
        wanted = (mode | wanted) & ~(_BY_OTHERS if private else 0)
        if wanted != mode:
            chmod(fd, wanted)
    finally:
        os.close(fd)
