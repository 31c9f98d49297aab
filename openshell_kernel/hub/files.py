"""Whether the users of a hub can read a policy file, and none of them could have written it or put another there.

Every folder and every symbolic link on the way is looked at by a descriptor of the folder that it lies in, so that what
was judged is what the next step starts from.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from openshell_kernel.base.links import steps
from openshell_kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from openshell_kernel.base.links import Step

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ELSEWHERE = "or move the policy to a folder such as /etc/openshell"


def check_for_users(what: str, path: str, *, one_account: bool) -> None:
    """Make sure that the users can read a file, and that only root or the hub's own account could have written it.

    The hub does not know its users' accounts: they are taken to be any others than these two, and a member of any group
    to be one of them. Where all have the hub's `one_account`, they can do what the hub can. `what` names the setting.

    Raises:
        ConfigurationError: the file is not there, the users cannot read it, or could change what is read there.
    """
    try:
        way = steps(path)
    except OSError as error:
        raise ConfigurationError(
            f"{what}: {path}: {error.strerror}; correct the path. If it exists only in the users' containers, "
            "set policies_in_containers=True"
        ) from None
    for step in () if one_account else way:
        problem = _why_writable(step.status) or _why_unreadable(step)
        if problem:
            raise ConfigurationError(f"{what}: {path}: {problem.format(step.place)}, {_ELSEWHERE}")
    if not stat.S_ISREG(way[-1].status.st_mode):
        raise ConfigurationError(f"{what}: {path}: not a regular file; name a YAML file")


def _why_writable(status: os.stat_result) -> str:
    if status.st_uid not in (0, os.geteuid()):
        return f"{{}} belongs to user {status.st_uid}, who could change what users' kernels may do: give it to root"
    # In a folder with the sticky bit nobody removes what belongs to others, and the owner of what is there is judged.
    shared = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & _OTHERS_WRITE and not shared:
        return "others may write {}, and so change what users' kernels may do: chmod go-w it"
    return ""


def _why_unreadable(step: Step) -> str:
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
