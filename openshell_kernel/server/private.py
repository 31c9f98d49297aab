"""A kernel's private folder: its sockets, its temporary files, and a home that is not kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from openshell_kernel.errors import LaunchError

_LONGEST_SOCKET_PATH = 107  # struct sockaddr_un, unix(7)
# The longest name among the sockets that are made in here: multiprocessing's, in the temporary folder.
_SOCKET = "/tmp/pymp-12345678/listener-12345678"  # noqa: S108 - a part of a path
_PREFIX = "openshell-"


class PrivateFolder:
    """A new folder of mode 0700 that only this kernel's sandbox is given, and that goes away with the kernel.

    Raises:
        LaunchError: no folder can be made whose sockets' names are short enough for the operating system.
    """

    def __init__(self) -> None:
        self.path = Path(_make())
        self._maker = os.getpid()
        self.sockets = self.path / "ipc"
        self.temporary = self.path / "tmp"
        self.runtime = self.path / "run"
        for folder in (self.sockets, self.temporary, self.runtime):
            folder.mkdir(mode=0o700)

    @property
    def socket_prefix(self) -> str:
        """Jupyter's `ip` for the ipc transport: sockets are `<prefix>-<port>`."""
        return str(self.sockets / "k")

    def remove(self) -> None:
        """Remove the folder and all that the kernel left in it.

        A process that was forked from the one which made it inherits this object, and ends without touching the folder.
        """
        if os.getpid() == self._maker:
            remove_tree(str(self.path))


def remove_tree(path: str) -> None:
    """Remove a folder that untrusted code has filled: symbolic links are not followed, modes do not matter.

    A process that the kernel left running may still add files; what cannot be removed stays.
    """

    def open_up(_function: object, name: str, _error: object) -> None:
        # A folder without permissions for its owner hides its content from rmtree. What lies outside is not ours.
        for folder in (os.path.dirname(name), name):
            if folder != path and not folder.startswith(path + "/"):
                continue
            with contextlib.suppress(OSError):
                fd = os.open(folder, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.chmod(f"/proc/self/fd/{fd}", stat.S_IRWXU)
                finally:
                    os.close(fd)

    shutil.rmtree(path, onerror=open_up)
    shutil.rmtree(path, ignore_errors=True)


def _make() -> str:
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - a short fall-back for a long TMPDIR
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=base)
        if len(os.fsencode(folder)) + len(_SOCKET) <= _LONGEST_SOCKET_PATH:
            return folder
        os.rmdir(folder)
    raise LaunchError(
        f"{folder}: too long for the names of sockets ({_LONGEST_SOCKET_PATH} bytes); set TMPDIR to a shorter folder"
    )
