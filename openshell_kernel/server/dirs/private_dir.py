"""A kernel's private folder: its sockets, its temporary files, and a home that is not kept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import tempfile
from pathlib import Path

from openshell_kernel.base.modes import chmod
from openshell_kernel.errors import LaunchError
from openshell_kernel.policy.protected_paths import PRIVATE_DIR
from openshell_kernel.server.dirs.untrusted_tree import remove_tree

_LONGEST_SOCKET_PATH = 107  # struct sockaddr_un, unix(7)
# The longest name among the sockets that are made in here: multiprocessing's, in the temporary folder.
_SOCKET = "/tmp/pymp-12345678/listener-12345678"  # noqa: S108 - a part of a path
_PREFIX = "openshell-"
_NAME = PRIVATE_DIR  # as tempfile.mkdtemp makes it
_INSIDE = ("ipc", "tmp", "run")
HOME = "home"
"""Where a home that is not kept lies."""


class PrivateDir:
    """A new folder of mode 0700 that only this kernel's sandbox is given, and that goes away with the kernel.

    Raises:
        LaunchError: no folder can be made whose sockets' names are short enough for Linux.
    """

    def __init__(self) -> None:
        path, self._lock = _make()
        self.path = Path(path)
        self._maker = os.getpid()
        self.sockets, self.temporary, self.runtime = (self.path / name for name in _INSIDE)
        for name in _INSIDE:
            (self.path / name).mkdir(mode=0o700)

    def descriptor(self) -> int:
        """Return a descriptor with which another process keeps `remove_abandoned` from this folder as well."""
        return os.dup(self._lock)

    def renew(self) -> None:
        """Put new folders in the place of those that an earlier kernel was given, under the same names.

        Landlock's rules bind to inodes: a process that is left of that kernel keeps its rights on the old folders, and
        they go away. What a home holds moves into the new one, as it is kept until the kernel is shut down. The modes
        are as they were, since Landlock keeps no notebook from changing those of its folders.

        Raises:
            LaunchError: the private folder is not there any more.
        """
        try:
            folder = _opened(str(self.path))
            try:
                old = [_renewed(folder, name) for name in (*_INSIDE, *self._home())]
            finally:
                os.close(folder)
        except OSError as error:
            raise LaunchError(
                f"{self.path}: the kernel's private folder cannot be used any more: {error.strerror}; shut the "
                "kernel down and start it again"
            ) from None
        for name in old:
            remove_tree(f"{self.path}/{name}")

    def _home(self) -> tuple[str, ...]:
        return (HOME,) if os.path.lexists(self.path / HOME) else ()

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
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1


def _opened(name: str, parent: int | None = None) -> int:
    """Open a folder of ours, and make it accessible to its owner again."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        chmod(fd, stat.S_IRWXU)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _renewed(folder: int, name: str) -> str:
    """Replace a folder by a new one, and return the name of the old one, which is not there if there was none."""
    aside = f".{secrets.token_hex(8)}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    os.mkdir(name, stat.S_IRWXU, dir_fd=folder)
    if name == HOME:
        with contextlib.ExitStack() as closing:
            old, new = _opened(aside, folder), _opened(name, folder)
            for fd in (old, new):
                closing.callback(os.close, fd)
            for entry in os.listdir(f"/proc/self/fd/{old}"):
                # What the notebook has closed to its owner cannot be moved, and goes.
                with contextlib.suppress(OSError):
                    os.rename(entry, entry, src_dir_fd=old, dst_dir_fd=new)
    return aside


def remove_abandoned() -> None:
    """Remove the private folders that this user's servers left behind when they were killed. Raises nothing.

    A name alone tells none: somebody may keep a folder called openshell-projects there.
    """
    for base in _bases():
        with contextlib.suppress(OSError):
            for name in filter(_NAME.fullmatch, os.listdir(base)):
                path = f"{base}/{name}"
                with contextlib.suppress(OSError):
                    if _is_abandoned(path):
                        remove_tree(path)


def _is_abandoned(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_uid != os.geteuid() or not set(_INSIDE).issubset(os.listdir(fd)):
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def private_dirs() -> list[str]:
    """Return the private folders of all kernels that this user's programs may enter, whichever server made them."""
    found = []
    for base in _bases():
        with contextlib.suppress(OSError), os.scandir(base) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if _NAME.fullmatch(entry.name) and _is_ours(entry.stat(follow_symlinks=False)):
                        found.append(entry.path)
    return found


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and os.geteuid() in (0, status.st_uid)


def _bases() -> list[str]:
    """Return the folders to make private ones in, the best first.

    One in /tmp is the last resort: OpenShell's policies and its proxy baseline let sandboxes write there, and who can
    enter another kernel's private folder can read its keys, and run code in it. Every user reaches these folders,
    so that a kernel may run as somebody else; and they are local, outlive a session, and are cleaned by the system,
    which the user's home and XDG_RUNTIME_DIR are not all.
    """
    bases = dict.fromkeys((tempfile.gettempdir(), "/var/tmp", "/tmp"))  # noqa: S108 - these are meant
    return sorted(bases, key=lambda base: f"{os.path.realpath(base)}/".startswith("/tmp/"))  # noqa: S108


def _make() -> tuple[str, int]:
    """Return a new folder, and a descriptor that keeps it locked."""
    problems = []
    for base in _bases():
        try:
            # Under another name until it is locked, so that nobody takes it for an abandoned one.
            unlocked = tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=base)
            folder = f"{base}/{os.path.basename(unlocked)[1:]}"
            lock = os.open(unlocked, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(unlocked, folder)
        except OSError as error:
            problems.append(f"{base}: {error.strerror}")
            continue
        if len(os.fsencode(folder)) + len(_SOCKET) <= _LONGEST_SOCKET_PATH:
            return folder, lock
        os.close(lock)
        os.rmdir(folder)
        problems.append(f"{base}: too long for the names of sockets ({_LONGEST_SOCKET_PATH} bytes)")
    raise LaunchError(
        f"no private folder can be created: {'; '.join(problems)}; set TMPDIR to a short, writable folder"
    )
