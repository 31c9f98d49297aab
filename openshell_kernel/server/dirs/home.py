"""A kernel's private home: kept for the notebooks of one folder, so that caches stay warm, or gone with the kernel.

Never shared with unconfined programs: what a sandbox leaves here must not run outside of it. And what it leaves must
not mislead this side at the next start, so every folder is opened by descriptor, without following links, and
nothing but the home itself is made here: programs make what they need inside the sandbox.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openshell_kernel.base.modes import chmod
from openshell_kernel.errors import LaunchError
from openshell_kernel.policy.effective import HomeKind
from openshell_kernel.server.dirs.private_dir import HOME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.server.dirs.private_dir import PrivateDir

_LONGEST_SLUG = 40
_LOSS = "caches and histories are deleted with the kernel"
_PACKAGES = "openshell_user_packages.pth"


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeFolder:
    """A folder of mode 0700 that is there, whether it is kept, and what its user should know about it."""

    kind: HomeKind
    path: str
    notices: tuple[str, ...] = ()


def homes(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that holds the user's homes of projects."""
    data = environ.get("XDG_DATA_HOME", "")
    return Path(data if os.path.isabs(data) else Path.home() / ".local" / "share") / "openshell" / "homes"


def settle(
    kind: HomeKind, *, workdir: str, private: PrivateDir, link: str = "", root: Path | None = None
) -> HomeFolder:
    """Return the home for a kernel that starts in `workdir`, without symbolic links, made if it is missing.

    Where no home can be kept, for want of a writable folder of the user, it is one that goes away with the kernel. So
    it is where `link` says which symbolic link leads to the working directory: the home is another project's then, and
    who made the link could leave code in it.

    Raises:
        LaunchError: something that is not a folder of this user's stands in the home's place.
    """
    if kind is HomeKind.EPHEMERAL:
        return _ephemeral(private)
    if link:
        return _ephemeral(private, f"no home is kept for this folder's notebooks, because {link}; {_LOSS}")
    root = homes() if root is None else root
    # The folder above may well be behind a link that the user has made; from there on every folder is ours.
    data = os.path.realpath(root.parent.parent)
    names = (root.parent.name, root.name, name_of(workdir))
    try:
        os.makedirs(data, mode=stat.S_IRWXU, exist_ok=True)
        os.close(_walk(data, names))
    except OSError as error:
        notice = (
            f"no home is kept for this folder's notebooks, because of {root}: {error.strerror}; {_LOSS}. Set "
            "XDG_DATA_HOME to a folder of yours"
        )
        return _ephemeral(private, notice)
    return HomeFolder(kind=HomeKind.PROJECT, path=os.path.join(data, *names))


def name_of(workdir: str) -> str:
    """Return a project's name: readable, and different for each folder, which is named without symbolic links."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(workdir)).strip("-.")[:_LONGEST_SLUG]
    return f"{slug or 'folder'}-{hashlib.sha256(os.fsencode(workdir)).hexdigest()[:16]}"


def show_packages(home: str, user_site: str) -> str:
    """Let Python import, in this home, the packages that the user has installed for unconfined programs.

    As after the user's own packages everywhere, and with what their `.pth` files do, which now run confined. Returns
    why it could not be done, or an empty string.
    """
    line = f"import site; site.addsitedir({user_site!a})\n".encode()
    # The user's site is `<base>/lib/pythonX.Y/site-packages`, and so is this home's, by Python's default base.
    folders = (".local", *user_site.split("/")[-3:])
    temporary = f".{_PACKAGES}.{os.getpid()}"
    try:
        folder = _walk(home, folders)
        try:
            # Opened anew: what stands at the name may be a link or a pipe that a notebook has made.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as stream:
                stream.write(line)
            os.rename(temporary, _PACKAGES, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)
    except (OSError, LaunchError) as error:
        return f"the packages in {user_site} cannot be imported: {error}"
    return ""


def _ephemeral(private: PrivateDir, *notices: str) -> HomeFolder:
    os.close(_walk(str(private.path), (HOME,)))
    return HomeFolder(kind=HomeKind.EPHEMERAL, path=str(private.path / HOME), notices=notices)


def _walk(base: str, names: tuple[str, ...]) -> int:
    """Open a folder beneath another, making what is missing; each must be this user's own, and is closed to others.

    Raises:
        LaunchError: something else stands there.
    """
    fd = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    path = base
    for name in names:
        path = f"{path}/{name}"
        parent = fd
        try:
            fd = _enter(parent, name, path)
        finally:
            os.close(parent)
    return fd


def _enter(parent: int, name: str, path: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, stat.S_IRWXU, dir_fd=parent)
    try:
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except NotADirectoryError:
        raise LaunchError(f"{path}: this must be a private folder, but it is a link or a file; remove it") from None
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        os.close(fd)
        raise LaunchError(f"{path}: it belongs to another user (uid {status.st_uid}); remove it, or ask its owner to")
    if stat.S_IMODE(status.st_mode) != stat.S_IRWXU:
        # Landlock does not restrict chmod, so a notebook may have opened or closed its own home.
        chmod(fd, stat.S_IRWXU)
    return fd
