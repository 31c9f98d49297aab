"""Whom a kernel runs as, and what must be arranged for that user; decided on the trusted side, done by the launcher."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

from openshell_kernel.errors import LaunchError, PolicyError
from openshell_kernel.sandbox.layers.identity import Parameters as Identity
from openshell_kernel.server.dirs.untrusted_tree import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from openshell_kernel.policy.model import ProcessPolicy
    from openshell_kernel.server.dirs.private_dir import PrivateDir
    from openshell_kernel.server.planning.request import Connection

_ACCOUNT = "sandbox"


def resolve(
    process: ProcessPolicy | None,
    *,
    euid: int,
    account_named: Callable[[str], pwd.struct_passwd] = pwd.getpwnam,
    account_numbered: Callable[[int], pwd.struct_passwd] = pwd.getpwuid,
    group_named: Callable[[str], grp.struct_group] = grp.getgrnam,
    groups_of: Callable[[str, int], list[int]] = os.getgrouplist,
) -> Identity | None:
    """Return the identity that a policy asks for; None where it asks for none, or where only root could take it on.

    An account brings its groups with it. A number without an account has only the group that the policy names.

    Raises:
        PolicyError: there is no such account or group, or it is root's.
    """
    if euid != 0 or process is None or (process.run_as_user is None and process.run_as_group is None):
        return None
    user, group = process.run_as_user, process.run_as_group
    try:
        account = account_named(_ACCOUNT) if user == _ACCOUNT else account_numbered(int(user)) if user else None
    except KeyError:
        if user == _ACCOUNT:
            raise PolicyError(
                "process.run_as_user: this machine has no account named 'sandbox'; create one (useradd "
                "--system --user-group sandbox), or write a number"
            ) from None
        account = None
    try:
        gid = group_named(_ACCOUNT).gr_gid if group == _ACCOUNT else int(group) if group else None
    except KeyError:
        raise PolicyError(
            "process.run_as_group: this machine has no group named 'sandbox'; create one (groupadd --system "
            "sandbox), or write a number"
        ) from None
    if gid is None:
        if account is None:
            raise PolicyError(
                f"process.run_as_user: no account has the number {user}, so its group is unknown; add run_as_group"
            )
        gid = account.pw_gid
    uid = 0 if user is None else account.pw_uid if account else int(user)
    groups = tuple(sorted({*groups_of(account.pw_name, gid)} - {gid})) if account else ()
    if (user is not None and uid == 0) or 0 in (gid, *groups):
        raise PolicyError(
            f"process.run_as_user: user {uid} is root or in root's group; choose another account, or add "
            "run_as_group and remove the account from group 0"
        )
    return Identity(uid=uid, gid=gid, groups=groups)


def hand_over(private: PrivateDir, *, uid: int, gid: int) -> None:
    """Give the private folder and all that is in it to a user, before a start; modes stay as they are.

    What a kernel left there is not trusted: links are not followed, and a file that has other names is left alone,
    because one of them may be elsewhere.
    """
    status = os.lstat(private.path)
    if (status.st_uid, status.st_gid) == (uid, gid):
        return
    for folder, name in walk(str(private.path)):
        # A process that the kernel left running may remove it at this moment.
        with contextlib.suppress(FileNotFoundError):
            _give(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), uid, gid)
    _give(os.open(private.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC), uid, gid)


def _give(fd: int, uid: int, gid: int) -> None:
    try:
        status = os.fstat(fd)
        alone = stat.S_ISDIR(status.st_mode) or (status.st_nlink == 1 and not stat.S_ISLNK(status.st_mode))
        if alone and (status.st_uid, status.st_gid) != (uid, gid):
            os.chown(f"/proc/self/fd/{fd}", uid, gid)
    finally:
        os.close(fd)


def lend_connection(connection: Connection, private: PrivateDir, identity: Identity | None) -> str:
    """Return a connection file for the kernel: a copy where Jupyter's own will not do.

    That lies in a folder of the server's user, whom the kernel may not run as. And ipykernel writes the file again
    when it holds keys of encryption, while what Jupyter reads must stay out of the sandbox's hands.

    Raises:
        LaunchError: the copy cannot be made.
    """
    foreign = identity is not None and identity.uid != 0
    if not foreign and not connection.encrypted:
        return connection.file
    copy = private.path / os.path.basename(connection.file)
    try:
        copy.unlink(missing_ok=True)
        with open(connection.file, "rb") as source:
            content = source.read()
        with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as target:
            target.write(content)
            if identity is not None:
                os.fchown(target.fileno(), identity.uid, identity.gid)
    except OSError as error:
        raise LaunchError(f"{copy}: the kernel's connection file cannot be created: {error.strerror}") from None
    return str(copy)
