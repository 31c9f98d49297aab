"""Whether the users of a hub can read a policy file, and none of them could have written it or put another there.

Every folder and every symbolic link on the way is looked at by a descriptor of the folder that it lies in, so that what
was judged is what the next step starts from.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LINKS = 40  # as the kernel's own path resolution
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ELSEWHERE = "or move the policy to a folder such as /etc/openshell"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A folder, a symbolic link or at last the file on the way to a policy."""

    path: str
    status: os.stat_result


def check_for_users(what: str, path: str, *, one_account: bool) -> None:
    """Make sure that the users can read a file, and that only root or the hub's own account could have written it.

    The hub does not know its users' accounts: they are taken to be any others than these two, and a member of any group
    to be one of them. Where all have the hub's `one_account`, they can do what the hub can. `what` names the setting.

    Raises:
        ConfigurationError: the file is not there, the users cannot read it, or could change what is read there.
    """
    try:
        steps = list(_steps(path))
    except OSError as error:
        raise ConfigurationError(
            f"{what}: {path}: {error.strerror}; correct the path. If it exists only in the users' containers, "
            "set policies_in_containers=True"
        ) from None
    for step in () if one_account else steps:
        problem = _why_writable(step.status) or _why_unreadable(step)
        if problem:
            raise ConfigurationError(f"{what}: {path}: {problem.format(step.path)}, {_ELSEWHERE}")
    if not stat.S_ISREG(steps[-1].status.st_mode):
        raise ConfigurationError(f"{what}: {path}: not a regular file; name a YAML file")


def _why_writable(status: os.stat_result) -> str:
    if status.st_uid not in (0, os.geteuid()):
        return f"{{}} belongs to user {status.st_uid}, who could change what users' kernels may do: give it to root"
    # In a folder with the sticky bit nobody removes what belongs to others, and the owner of what is there is judged.
    shared = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & _OTHERS_WRITE and not shared:
        return "others may write {}, and so change what users' kernels may do: chmod go-w it"
    return ""


def _why_unreadable(step: _Step) -> str:
    status = step.status
    if stat.S_ISLNK(status.st_mode):
        return ""
    folder = stat.S_ISDIR(status.st_mode)
    bit = stat.S_IXOTH if folder else stat.S_IROTH
    for_all = status.st_mode & bit
    for_group = status.st_mode & bit << 3 and status.st_gid != 0
    # A hub that does not run as root may start servers under its own account.
    for_itself = status.st_mode & bit << 6 and status.st_uid == os.geteuid() != 0
    if for_all or for_group or for_itself:
        return ""
    return f"the users cannot {'enter' if folder else 'read'} {{}}: let them"


def _steps(path: str) -> Iterator[_Step]:
    """Yield all that is on the way from the root folder to a file, and the file."""
    here, name, links = _root(), "/", 0
    ahead = path.split("/")[::-1]
    try:
        yield _Step(path=name, status=os.fstat(here))
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            step = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            status = os.fstat(step)
            beneath = os.path.normpath(os.path.join(name, part))
            yield _Step(path=beneath, status=status)
            if not stat.S_ISLNK(status.st_mode):
                here, name = _stepped(here, step), beneath
                continue
            target = os.readlink("", dir_fd=step)
            os.close(step)
            links += 1
            if links > _MAX_LINKS:
                raise OSError(None, "too many symbolic links")
            ahead += target.split("/")[::-1]
            if target.startswith("/"):
                here, name = _stepped(here, _root()), "/"
    finally:
        os.close(here)


def _root() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _stepped(before: int, after: int) -> int:
    os.close(before)
    return after
