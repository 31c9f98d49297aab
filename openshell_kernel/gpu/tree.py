"""A machine's file tree, or a copy of one beneath another root: how discoverers look at it."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER = re.compile(r"([0-9]+)")


def _is_machine(root: str) -> bool:
    return os.path.realpath(root) == "/"


class Tree:
    """What lies beneath a root, looked at once.

    Paths are given and returned as on the machine, absolute and without the root.

    What is missing or may not be looked at is not there: discovery never raises. Beneath `/` only character devices
    count as device nodes. Any other root is a copy, where regular files stand for devices, because only root can make
    a device.
    """

    def __init__(self, root: str | os.PathLike[str] = "/", *, is_machine: Callable[[str], bool] = _is_machine) -> None:
        self._root = os.fspath(root)
        self._kinds = {stat.S_IFCHR} if is_machine(self._root) else {stat.S_IFCHR, stat.S_IFREG}
        # Many discoverers look into the same folder.
        self._listed: dict[str, list[str]] = {}

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, in natural order."""
        return sorted(self._list(folder), key=_natural)

    def devices(self, folder: str, pattern: str) -> tuple[str, ...]:
        """Return the device nodes of a folder whose whole names match a regular expression, in natural order."""
        names = filter(re.compile(pattern).fullmatch, self._list(folder))
        paths = [f"{folder}/{name}" for name in sorted(names, key=_natural)]
        return tuple(path for path in paths if self.is_device(path))

    def is_device(self, path: str) -> bool:
        """Return whether a device node is there."""
        status = self.status(path)
        return status is not None and stat.S_IFMT(status.st_mode) in self._kinds

    def exists(self, path: str) -> bool:
        """Return whether anything is there."""
        return self.status(path) is not None

    def text(self, path: str) -> str:
        """Return what a small file says; empty where there is none."""
        try:
            with open(self._real(path), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""

    def link(self, path: str) -> str | None:
        """Return where a symbolic link leads, by its text alone; None where there is no link."""
        try:
            target = os.readlink(self._real(path))
        except OSError:
            return None
        return os.path.normpath(os.path.join(os.path.dirname(path), target))

    def status(self, path: str) -> os.stat_result | None:
        """Return what stat(2) says of a path, or None."""
        try:
            return os.stat(self._real(path))
        except OSError:
            return None

    def _list(self, folder: str) -> list[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = os.listdir(self._real(folder))
            except OSError:
                self._listed[folder] = []
        return self._listed[folder]

    def _real(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers within names by their value, and before other text."""
    parts = _NUMBER.split(name)
    return [(0, int(part), part) if number % 2 else (1, 0, part) for number, part in enumerate(parts)]
