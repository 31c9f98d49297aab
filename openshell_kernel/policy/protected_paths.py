"""Whether a path is safe to grant without being asked, or to propose to a policy's author: the one rule for both.

Used by the trusted side, for what it grants by itself, and by `%policy why`, which proposes no line for anything else.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CREDENTIALS = (
    ".aws",
    ".azure",
    ".cache/huggingface",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".huggingface",
    ".jupyter",
    ".kaggle",
    ".kube",
    ".local/share/keyrings",
    ".mozilla",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pypirc",
    ".ssh",
)
"""What holds credentials in a home directory."""

PRIVATE_DIR = re.compile(r"openshell-[a-z0-9_]{8}")
"""The name of a kernel's private folder, where its keys and sockets are."""

_SHARED = stat.S_ISVTX | stat.S_IWOTH
# What tells a home directory. A project may have settings of npm and a folder for containers of its own.
_SIGNS = (*(name for name in CREDENTIALS if name not in (".docker", ".npmrc")), ".docker/config.json")
_FIRST_USER = 1000  # UID_MIN, login.defs(5)
_NOBODY = 65534
_MEMORY = ("/dev/mem", "/dev/kmem", "/dev/port")
# Where root's powers come from. A notebook may run as root.
_SYSTEM = (
    "/bin",
    "/boot",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib",
    "/var/spool",
)
# Beside its token, which is a file, this folder of credentials holds large files that many notebooks share.
_MODELS = re.compile(r"/\.cache/huggingface/(?!token|stored_tokens)[^/]+")
_SYSTEM_SECRETS = ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/etc/ssl/private")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedPath:
    """A path that a sandbox must not write, and what it is, in words.

    `beneath` tells whether a folder inside it is out of bounds as well. An import root is different: a folder inside
    is harmless unless it is a package, a folder that holds it could change what unconfined programs import. A `secret`
    place should not be read either. An `environment` may lie in a granted folder where it is kept as it is; so may a
    link on the way to one.
    """

    path: str
    what: str
    beneath: bool = True
    secret: bool = False
    environment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What the trusted side keeps from notebooks: the home directory of the server's user, and places."""

    home: str = ""
    places: tuple[ProtectedPath, ...] = ()


_MACHINES = tuple(ProtectedPath(path=path, what="a part of the operating system") for path in _SYSTEM)
_MACHINES_SECRETS = tuple(
    ProtectedPath(path=path, what="secrets of this machine", secret=True) for path in _SYSTEM_SECRETS
)


@functools.cache
def _accounts() -> tuple[pwd.struct_passwd, ...]:
    """Return the accounts of this machine, looked up once: a directory service may take its time to list them."""
    return tuple(pwd.getpwall())


def why_not_write(
    folder: str,
    places: Iterable[ProtectedPath],
    *,
    home: str,
    accounts: Callable[[], Iterable[pwd.struct_passwd]] = _accounts,
    kept: Iterable[str] = (),
) -> str:
    """Return why a folder must not be granted read-write without being asked; empty when it may be.

    `kept` are environments in it that stay as they are.
    """
    real = os.path.realpath(folder)
    if not os.path.isdir(real):
        return "it is not a folder"
    return (
        why_not_read(folder, home=home)
        or ("it is a folder that all users share" if os.stat(real).st_mode & _SHARED == _SHARED else "")
        or _protected_there(real, places, tuple(kept))
        or _home_there(real, accounts())
    )


def why_not_propose_reading(
    path: str, guarded: Guarded, *, accounts: Callable[[], Iterable[pwd.struct_passwd]] = _accounts
) -> str:
    """Return why nobody should be told to list a path read-only; empty when that is harmless.

    `path` is without symbolic links; there may be nothing yet. A kernel's private folder is told by its name: where
    those of other kernels are, notebooks need not know.
    """
    return (
        why_not_read(path, home=guarded.home or "/")
        or why_not_secret(path, (*guarded.places, *_MACHINES_SECRETS))
        or _kernels(path)
        or _devices(path)
        or (_home_there(path, accounts()) if os.path.isdir(path) else "")
        or _in_a_home(path, accounts())
    )


def why_not_propose_writing(
    path: str, guarded: Guarded, *, accounts: Callable[[], Iterable[pwd.struct_passwd]] = _accounts
) -> str:
    """Return why nobody should be told to list a path read-write; empty when that is harmless.

    What `why_not_write` says of folders holds, and of a file what would hold of its folder because of its name.
    """
    return (
        why_not_propose_reading(path, guarded, accounts=accounts)
        or _protected_there(path, (*guarded.places, *_MACHINES))
        or (
            why_not_write(path, guarded.places, home=guarded.home or "/", accounts=accounts)
            if os.path.isdir(path)
            else _run_from(os.path.dirname(path), guarded.places)
        )
    )


def _holds_anything(path: str) -> bool:
    """Return whether this process may read a file, or finds something in a folder."""
    try:
        return bool(os.listdir(path)) if os.path.isdir(path) else os.access(path, os.R_OK)
    except OSError:
        return False


def why_exposing(
    path: str,
    guarded: Guarded,
    *,
    accounts: Callable[[], Iterable[pwd.struct_passwd]] = _accounts,
    may_read: Callable[[str], bool] = _holds_anything,
) -> str:
    """Return what a policy gives away that opens a path, as a part of a sentence; empty where that is nothing special.

    `path` is without symbolic links. The machine's own secrets count where this process's user may read them.
    """
    if _MODELS.search(path):
        return ""
    secrets = tuple(place for place in _MACHINES_SECRETS if may_read(place.path))
    return (
        why_not_read(path, home=guarded.home or "/")
        or why_not_secret(path, (*guarded.places, *secrets))
        or (_home_there(path, accounts()) if os.path.isdir(path) else "")
        or _in_a_home(path, accounts())
    )


def _protected_there(real: str, places: Iterable[ProtectedPath], kept: tuple[str, ...] = ()) -> str:
    kept = tuple(path for path in kept if path != real and is_within(path, real))
    for place in places:
        if not place.secret and any(is_within(place.path, path) for path in kept):
            continue
        if is_within(place.path, real):
            return _held(real, place)
        if is_within(real, place.path) and (place.beneath or os.path.lexists(os.path.join(real, "__init__.py"))):
            return f"it lies in {place.path}, {place.what}"
    return ""


def _held(path: str, place: ProtectedPath) -> str:
    return f"it {'is' if path == place.path else 'holds'} {place.path}, {place.what}"


def _run_from(folder: str, places: Iterable[ProtectedPath]) -> str:
    """Return why a new or changed file in a folder may be run."""
    for place in places:
        package = os.path.lexists(os.path.join(folder, "__init__.py"))
        if folder == place.path or (package and is_within(folder, place.path)):
            return f"it lies in {place.path}, {place.what}"
    return ""


def _kernels(path: str) -> str:
    inside = any(PRIVATE_DIR.fullmatch(name) for name in path.split("/"))
    return "it lies in a kernel's private folder, where its keys and sockets are" if inside else ""


def _devices(path: str) -> str:
    """Return why a path in /dev opens more than a policy's author would think."""
    if path == "/dev" or (is_within(path, "/dev") and os.path.isdir(path)):
        return "it is a folder of devices, disks among them; list the one device"
    try:
        block = stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        block = False
    return "it is a disk, or the machine's memory, and opens every file" if block or path in _MEMORY else ""


def _in_a_home(path: str, accounts: Iterable[pwd.struct_passwd]) -> str:
    for account in accounts:
        if _is_a_persons(account):
            for name in CREDENTIALS:
                if is_within(path, os.path.join(os.path.realpath(account.pw_dir), name)):
                    return f"it lies in {os.path.join(account.pw_dir, name)}, credentials of {account.pw_name}"
    return ""


def _home_there(real: str, accounts: Iterable[pwd.struct_passwd]) -> str:
    """Return how it shows that a folder is or holds a home directory, whoever's; empty where it does not."""
    for name in _SIGNS:
        if os.path.lexists(os.path.join(real, name)):
            return f"it holds {os.path.join(real, name)}, credentials of an account"
    for account in accounts:
        if _is_a_persons(account) and is_within(os.path.realpath(account.pw_dir), real):
            return f"it is or holds {account.pw_dir}, the home directory of {account.pw_name}"
    return ""


def why_not_read(folder: str, *, home: str) -> str:
    """Return why a folder must not be granted read-only without being asked; empty when it may be."""
    real, real_home = os.path.realpath(folder), os.path.realpath(home)
    if real == "/":
        return "it is the root of the file system"
    if real == real_home:
        return "it is your home directory"
    if is_within(real_home, real):
        return f"it holds your home directory, {home}"
    return ""


def why_not_secret(path: str, places: Iterable[ProtectedPath]) -> str:
    """Return why a path must not be opened even for reading, because of secrets in it or around it; empty if it may."""
    for place in places:
        if place.secret and is_within(place.path, path):
            return _held(path, place)
        if place.secret and is_within(path, place.path):
            return f"it lies in {place.path}, {place.what}"
    return ""


def _is_a_persons(account: pwd.struct_passwd) -> bool:
    """Whether people, or root, log in to an account. The homes of others are folders of the system's, or none."""
    number = account.pw_uid
    return (number == 0 or (number >= _FIRST_USER and number != _NOBODY)) and os.path.isabs(account.pw_dir)
