"""Trees of files that untrusted code has made: however deep, full of links, closed to their owner, or changing."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from openshell_kernel.base.modes import chmod

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSES = 2


def walk(path: str, *, opening: bool = False) -> Iterator[tuple[int, str]]:
    """Yield what is beneath a folder, each as the descriptor of the folder it is in and its name; folders come last.

    Links are not followed, and two descriptors and no recursion do for any depth. With `opening`, folders are made
    accessible to their owner on the way. What cannot be entered is yielded without what is in it. Where the tree is
    changed so that there is no way back, the walk ends.
    """
    try:
        here = _enter(path, None, opening=opening)
    except OSError:
        return
    # Of every folder on the way: what is still to visit in it; and of all but this one, which it is and the name below.
    ahead, way = [_names(here)], list[tuple[tuple[int, int], str]]()
    try:
        while ahead[-1] or way:
            if ahead[-1]:
                name = ahead[-1].pop()
                try:
                    below = _enter(name, here, opening=opening)
                except OSError:
                    yield here, name
                    continue
                way.append((_identity(here), name))
                os.close(here)
                here = below
                ahead.append(_names(here))
            else:
                ahead.pop()
                identity, name = way.pop()
                try:
                    above = os.open("..", os.O_RDONLY | _FOLDER, dir_fd=here)
                except OSError:
                    return
                os.close(here)
                here = above
                if _identity(here) != identity:
                    return
                yield here, name
    finally:
        os.close(here)


def remove_tree(path: str) -> None:
    """Remove a folder and all that is in it. Raises nothing.

    A process that a kernel left running may still add files; what cannot be removed stays.
    """
    for _ in range(_PASSES):
        for folder, name in walk(path, opening=True):
            with contextlib.suppress(OSError):
                try:
                    os.unlink(name, dir_fd=folder)
                except IsADirectoryError:
                    os.rmdir(name, dir_fd=folder)
        with contextlib.suppress(OSError):
            os.rmdir(path)
            return


def _enter(name: str, parent: int | None, *, opening: bool) -> int:
    if not opening:
        return os.open(name, os.O_RDONLY | _FOLDER, dir_fd=parent)
    found = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
    try:
        if os.fstat(found).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            chmod(found, stat.S_IRWXU)
        return os.open(".", os.O_RDONLY | _FOLDER, dir_fd=found)
    finally:
        os.close(found)


def _names(folder: int) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino
