"""Where a kernel that runs as root could not work with what its policy grants, and what to keep or to do then.

Without capabilities root is a user like others: what belongs to somebody else is often closed. To look past that, Linux
has CAP_DAC_READ_SEARCH and, for writing too, CAP_DAC_OVERRIDE. Landlock bounds what is read, written and run with them,
and not what else they open, so they are kept only where nothing else works.

Sources: path_resolution(7), capabilities(7).
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openshell_kernel.policy.effective import Rule
    from openshell_kernel.sandbox.layers.identity import Parameters as Identity

READ_SEARCH = "dac_read_search"
OVERRIDE = "dac_override"
_READ, _WRITE, _SEARCH = 0o4, 0o2, 0o1
_READ_SEARCH_BIT = 1 << 2  # linux/capability.h
# What is in these belongs to Linux, which decides by more than owners.
_SPECIAL = ("/dev", "/proc", "/sys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A path that a rule grants and whose permissions do not; whose it is, and whether it is for writing."""

    path: str
    uid: int
    gid: int
    writing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Powers:
    """The capabilities that a kernel keeps, and what to tell of them."""

    capabilities: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def judge(rules: Iterable[Rule], identity: Identity | None, *, private: str, own: Iterable[str]) -> Powers:
    """Return what a kernel must keep to work with these rules; see `notice` for `private` and `own`."""
    found = _of_root(rules, identity)
    capability = needed(found)
    if capability is None:
        return Powers()
    said = notice(found, rules, capability=capability, private=private, own=own)
    return Powers(capabilities=(capability,), notices=(said,))


def keep(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return what a program that runs as this user must keep to work with these rules."""
    capability = needed(_of_root(rules, None))
    return () if capability is None else (capability,)


def _of_root(rules: Iterable[Rule], identity: Identity | None) -> tuple[Obstacle, ...]:
    """Return what stands in the way of a process that stays root; others have no capability to keep."""
    if os.geteuid() != 0 or (identity is not None and identity.uid != 0):
        return ()
    groups = (os.getegid(), *os.getgroups()) if identity is None else (identity.gid, *identity.groups)
    return obstacles(rules, uid=0, groups=groups)


def obstacles(rules: Iterable[Rule], *, uid: int, groups: Iterable[int]) -> tuple[Obstacle, ...]:
    """Return what a user without capabilities could not read, or write, as the rules allow.

    So it is for root with a notebook's folder that another user owns, as volumes of containers are, or with a Python in
    another user's closed home.
    """
    user = _User(uid, groups)
    found = []
    for rule in rules:
        if any(is_within(rule.path, folder) for folder in _SPECIAL):
            continue
        real = os.path.realpath(rule.path)
        try:
            status = os.stat(real)
        except OSError:
            continue
        looking = _READ | _SEARCH if stat.S_ISDIR(status.st_mode) else _READ
        reads = user.is_permitted(status, looking) and user.reaches(os.path.dirname(real))
        writes = not any(map(_is_change, rule.rights)) or user.is_permitted(status, looking | _WRITE)
        if not reads or not writes:
            found.append(Obstacle(path=rule.path, uid=status.st_uid, gid=status.st_gid, writing=not writes))
    return tuple(found)


def _is_change(right: str) -> bool:
    return right == "write_file" or right.startswith(("make_", "remove_"))


def needed(found: Iterable[Obstacle], *, held: int | None = None) -> str | None:
    """Return the least capability that clears these obstacles away, or None where there are none.

    `held` are the capabilities of this process, by default as Linux says. Containers often lack the lesser one.
    """
    found = tuple(found)
    if not found:
        return None
    held = _held() if held is None else held
    return OVERRIDE if any(one.writing for one in found) or not held & _READ_SEARCH_BIT else READ_SEARCH


def notice(
    found: Iterable[Obstacle],
    rules: Iterable[Rule],
    *,
    capability: str,
    private: str,
    own: Iterable[str],
    account: Callable[[int], pwd.struct_passwd] = pwd.getpwuid,
) -> str:
    """Say which paths make a kernel keep the capability, and what would be better.

    `private` is the kernel's private folder, and `own` is what is made for it alone besides: whoever it runs as is
    given these.
    """
    found = tuple(found)
    owners = {one.uid for one in found}
    owner = f"user {min(owners)}" if len(owners) == 1 else "other users"
    made = (private, *own)
    judged = [rule for rule in rules if not any(is_within(rule.path, path) for path in made)]
    return (
        f"{', '.join(one.path for one in found)}: belong to {owner}. To use them as root, the kernel keeps "
        f"CAP_{capability.upper()}, which opens more than these, see what is not enforced; better "
        f"{_remedy(found, judged, os.path.dirname(private), account)}"
    )


def _remedy(
    found: tuple[Obstacle, ...], rules: list[Rule], base: str, account: Callable[[int], pwd.struct_passwd]
) -> str:
    """Return advice that was tried on the permissions before it is given."""
    for uid, gid in dict.fromkeys((one.uid, one.gid) for one in found):
        groups = _groups(uid, gid, account)
        is_root = uid == 0 or 0 in groups
        if not is_root and _User(uid, groups).reaches(base) and not obstacles(rules, uid=uid, groups=groups):
            return f"write process: {{run_as_user: '{uid}', run_as_group: '{groups[0]}'}} in the policy"
    return "start Jupyter as their owner, or give them to root (chown)"


def _groups(uid: int, gid: int, account: Callable[[int], pwd.struct_passwd]) -> tuple[int, ...]:
    try:
        entry = account(uid)
    except KeyError:
        return (gid,)
    return (entry.pw_gid, *os.getgrouplist(entry.pw_name, entry.pw_gid))


def _held() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        return next(int(line.split()[1], 16) for line in stream if line.startswith("CapPrm:"))


class _User:
    """What permissions let somebody do who has no capabilities. path_resolution(7).

    An owner may do everything: a mode of one's own can be changed, and a notebook could close its folder to itself in
    order to be given a capability at the next start.
    """

    def __init__(self, uid: int, groups: Iterable[int]) -> None:
        self._uid = uid
        self._groups = frozenset(groups)
        self._reached: dict[str, bool] = {"/": True}

    def is_permitted(self, status: os.stat_result, bits: int) -> bool:
        shift = 3 if status.st_gid in self._groups else 0
        return status.st_uid == self._uid or status.st_mode >> shift & bits == bits

    def reaches(self, folder: str) -> bool:
        if folder not in self._reached:
            here = self.is_permitted(os.stat(folder), _SEARCH)
            self._reached[folder] = here and self.reaches(os.path.dirname(folder))
        return self._reached[folder]
