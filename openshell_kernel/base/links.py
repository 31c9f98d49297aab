"""The way that a path leads, one name at a time, so that every symbolic link on it can be judged as it is followed.

A sandbox can put a link into any folder that it may write. A path of a policy that leads through such a link would
carry the policy's rights to wherever the link's maker likes.

Sources: path_resolution(7), symlink(7), openat(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base.paths import is_within

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LINKS = 40  # as Linux's own path resolution
_OPEN = os.O_PATH | os.O_CLOEXEC
_WRITABLE_FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH
# Where a kernel that runs as root is given nothing of its own accord: what links there, the system's root has made.
SYSTEM_TREES = ("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/nix", "/proc", "/sbin", "/sys", "/usr")
_SYSTEM_FOLDERS = ("/", "/dev", "/opt", "/run", "/var")
_SOURCES = ("/usr/src", "/usr/local/src")


class Step(NamedTuple):
    """A folder, a symbolic link or at last the file on the way of a path; no link leads to `place`."""

    place: str
    status: os.stat_result


class Way(NamedTuple):
    """Where a path leads.

    Attributes:
        fd: what is at its end, opened with O_PATH; to be closed by the caller.
        places: every place that it leads through, links included and without links on the way to each.
        planted: the first link on it that a sandbox may have made; empty where there is none.
    """

    fd: int
    places: tuple[str, ...]
    planted: str


def walk(path: str, folders: Sequence[str] = ()) -> Way:
    """Follow an absolute path. `folders` are those that kernels may write, wherever they are and whoever owns them.

    Raises:
        OSError: it leads nowhere.
    """
    # What an automounter shows only to who asks is there from here on; the answer counts for nothing.
    with contextlib.suppress(OSError):
        os.stat(path)
    walker = _Walker(path, folders)
    try:
        while walker.ahead:
            walker.step()
    except BaseException:
        os.close(walker.fd)
        raise
    return Way(fd=walker.fd, places=tuple(step.place for step in walker.steps), planted=walker.planted)


def planted_link(path: str, folders: Sequence[str] = ()) -> str:
    """Return the first link on the way of a path that a sandbox may have made; empty where there is none, or no way."""
    try:
        way = walk(path, folders)
    except OSError:
        return ""
    os.close(way.fd)
    return way.planted


def steps(path: str) -> tuple[Step, ...]:
    """Return the root folder and every place that an absolute path leads through, each as it was when it was passed.

    Raises:
        OSError: it leads nowhere.
    """
    walker = _Walker(path, ())
    try:
        root = Step("/", os.fstat(walker.fd))
        while walker.ahead:
            walker.step()
    finally:
        os.close(walker.fd)
    return (root, *walker.steps)


def links_and_end(path: str) -> tuple[str, ...]:
    """Return every symbolic link on the way of an absolute path, and where it leads, or would if there were something.

    Whoever may replace one of them decides what is found by that path.
    """
    walker = _Walker(path, ())
    try:
        with contextlib.suppress(OSError):
            while walker.ahead:
                walker.step()
    finally:
        os.close(walker.fd)
    end = os.path.normpath(os.path.join(walker.place, *reversed(walker.ahead)))
    return (*walker.links, end)


def may_be_planted(parent: int, link: os.stat_result, folders: Sequence[str] = ()) -> bool:
    """Return whether a sandbox may have made a link in this folder, or put it there.

    Root may write everywhere, and a sandbox of root's owns what root owns: there only the system's own folders count.
    For others it is what they could have made, whether or not they may write in the folder just now: Landlock does not
    restrict chmod.
    """
    folder, where = os.fstat(parent), os.readlink(f"/proc/self/fd/{parent}")
    if any(is_within(where, top) for top in folders):
        return True
    if os.geteuid() == 0:
        roots = folder.st_uid == 0 == link.st_uid and not folder.st_mode & _WRITABLE_FOR_OTHERS
        return not roots or not _is_systems(where)
    return os.geteuid() in (folder.st_uid, link.st_uid) or os.access(".", os.W_OK, dir_fd=parent)


class _Walker:
    """A place on the way, which `fd` holds open, and the names that are still ahead, the next one last."""

    def __init__(self, path: str, folders: Sequence[str]) -> None:
        self.ahead = path.split("/")[::-1]
        self.place = "/"
        self.steps: list[Step] = []
        self.links: list[str] = []
        self.planted = ""
        self.fd = os.open("/", _OPEN)
        self._folders = folders

    def step(self) -> None:
        """Go on by one name, which is no longer ahead then; it still is where nothing is there."""
        name = self.ahead[-1]
        if name in ("", "."):
            self.ahead.pop()
        elif name == "..":
            self._enter(os.open(name, _OPEN, dir_fd=self.fd), os.path.dirname(self.place))
            self.ahead.pop()
        else:
            fd = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=self.fd)
            self.ahead.pop()
            place = os.path.join(self.place, name)
            status = os.fstat(fd)
            self.steps.append(Step(place, status))
            if stat.S_ISLNK(status.st_mode):
                self._follow(name, place, fd, status)
            else:
                self._enter(fd, place)

    def _follow(self, name: str, place: str, fd: int, status: os.stat_result) -> None:
        try:
            target = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        self.links.append(place)
        if len(self.links) > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if status.st_dev == os.stat("/proc").st_dev:
            # Nobody makes links there, and where one leads is more than its text, as with those to open files.
            fd = os.open(name, _OPEN, dir_fd=self.fd)
            self._enter(fd, os.readlink(f"/proc/self/fd/{fd}"))
            return
        if not self.planted and may_be_planted(self.fd, status, self._folders):
            self.planted = place
        if target.startswith("/"):
            self._enter(os.open("/", _OPEN), "/")
        self.ahead += target.split("/")[::-1]

    def _enter(self, fd: int, place: str) -> None:
        os.close(self.fd)
        self.fd, self.place = fd, place


def _is_systems(folder: str) -> bool:
    def is_in(trees: Sequence[str]) -> bool:
        return any(is_within(folder, tree) for tree in trees)

    return folder in _SYSTEM_FOLDERS or (is_in(SYSTEM_TREES) and not is_in(_SOURCES))
