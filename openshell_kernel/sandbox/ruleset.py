"""Landlock's own calls: what this Linux offers, and rulesets. The only importer of the `landlock` binding.

The binding judges a call by `errno` instead of its result, so `errno` is cleared before every call, and it lacks
scopes, which are reached through its own structures.

Source: the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base.rights import SCOPES_SINCE_ABI, ask_abi
from openshell_kernel.errors import ConfinementError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCOPES = {"abstract_unix_socket": 1 << 0, "signal": 1 << 1}

_FIRST_LINUX = (5, 13)
_CAUSES = {
    errno.EOPNOTSUPP: (
        "Landlock is disabled at boot: name it on the command line of Linux, for example lsm=landlock,yama "
        "(/sys/kernel/security/lsm lists what is active)"
    ),
    errno.EPERM: (
        "a seccomp profile blocks Landlock: allow landlock_create_ruleset, landlock_add_rule and "
        "landlock_restrict_self in the container's profile, or update the container runtime"
    ),
    errno.ENOSYS: (
        "Linux {release} says that it has no Landlock: it was built without CONFIG_SECURITY_LANDLOCK, or a "
        "container's seccomp profile hides it; use a Linux that has it, or allow landlock_create_ruleset, "
        "landlock_add_rule and landlock_restrict_self in the profile"
    ),
}
_RULE_PATH_BENEATH = 1


class Support(NamedTuple):
    """What the running Linux offers: the ABI (None where there is no Landlock) and, without one, the cause."""

    abi: int | None
    release: str
    cause: str = ""


def probe(*, platform: str = sys.platform, release: str | None = None) -> Support:
    """Ask Linux for its Landlock ABI; without one, say which of the known causes it is and what to do.

    Source: landlock_create_ruleset(2), errors of LANDLOCK_CREATE_RULESET_VERSION.
    """
    if release is None:
        release = os.uname().release
    if platform != "linux":
        return Support(
            abi=None,
            release=release,
            cause=f"Landlock exists only on Linux, but this is {platform}: run Jupyter on Linux, or in WSL2 or a VM",
        )
    try:
        return Support(abi=ask_abi(), release=release)
    except OSError as error:
        return Support(abi=None, release=release, cause=why_missing(error.errno or 0, release))


def why_missing(code: int, release: str) -> str:
    """Return which of the known causes an error of landlock_create_ruleset stands for, and what to do."""
    if code == errno.ENOSYS and _version(release) < _FIRST_LINUX:
        return f"Linux {release} has no Landlock, which came with 5.13: update Linux"
    return _CAUSES.get(code, f"Landlock cannot be used: {os.strerror(code)}").format(release=release)


def scopes(abi: int) -> tuple[str, ...]:
    """Return the scopes that a Landlock of this ABI has."""
    return tuple(SCOPES) if abi >= SCOPES_SINCE_ABI else ()


def create(handled: Sequence[str], abi: int, *, scoped: Sequence[str]) -> int:
    """Return a new ruleset that decides about these rights and scopes.

    Raises:
        ConfinementError: Linux refuses it.
    """
    from landlock import plumbing  # noqa: PLC0415 - the binding cannot be imported everywhere that we are

    class Attribute(plumbing.RulesetAttr):  # type: ignore[misc]  # the binding has no types
        _fields_ = (("handled_access_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))

    attribute = Attribute(_bits(handled), 0, sum(SCOPES[name] for name in scoped))
    # Linux refuses a structure with fields that it does not know.
    size = ctypes.sizeof(Attribute) if abi >= SCOPES_SINCE_ABI else ctypes.sizeof(plumbing.RulesetAttr)
    try:
        return _call(plumbing.get_create_ruleset(), ctypes.byref(attribute), size, 0)
    except OSError as error:
        raise ConfinementError(f"Landlock refused the ruleset: {error.strerror}") from None


def add_rule(ruleset: int, fd: int, rights: Sequence[str]) -> None:
    """Grant rights at and beneath what is open.

    Raises:
        OSError: Linux refuses the rule.
    """
    from landlock import plumbing  # noqa: PLC0415 - see create

    attribute = plumbing.PathBeneathAttr(_bits(rights), fd)
    _call(plumbing.get_add_rule(), ruleset, _RULE_PATH_BENEATH, ctypes.byref(attribute), 0)


def restrict_self(ruleset: int) -> None:
    """Restrict this process and all that it starts, for ever. Call it while single-threaded, under no_new_privs.

    Raises:
        ConfinementError: Linux refused, or there are other threads. The process must end.
    """
    from landlock import plumbing  # noqa: PLC0415 - see create

    try:
        _check_single_threaded()
        _call(plumbing.get_restrict_self(), ruleset, 0)
    except OSError as error:
        hint = " (16 Landlock layers are in force already)" if error.errno == errno.E2BIG else ""
        raise ConfinementError(f"Landlock refused to restrict the kernel: {error.strerror}{hint}") from None
    finally:
        os.close(ruleset)


def enter_signal_domain(abi: int | None) -> bool:
    """Enter a domain in which this process, and all that it starts, can signal nobody outside; tell whether it could.

    It restricts nothing else. A process that stays in it reaches those in a domain within, and is out of their reach.

    Raises:
        ConfinementError: Linux refused.
    """
    if abi is None or abi < SCOPES_SINCE_ABI:
        return False
    # Every domain refuses to move a file to another folder, unless it says otherwise.
    ruleset = create(("refer",), abi, scoped=("signal",))
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        add_rule(ruleset, root, ("refer",))
    except OSError as error:
        raise ConfinementError(f"Landlock refused a domain of signals: {error.strerror}") from None
    finally:
        os.close(root)
    restrict_self(ruleset)
    return True


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    digits = rest.split(".")[0].split("-")[0]
    return (int(major), int(digits)) if major.isdigit() and digits.isdigit() else (0, 0)


def _bits(rights: Sequence[str]) -> int:
    from landlock import FSAccess  # noqa: PLC0415 - see create

    return sum(int(FSAccess[name.upper()]) for name in set(rights))


def _call(function: Callable[..., int], *arguments: object) -> int:
    """Call into the binding and judge by the result, because it judges by an `errno` that may be stale.

    Raises:
        OSError: the call failed. The binding's own error path can raise other errors on unusual releases of Linux.
    """
    ctypes.set_errno(0)
    try:
        result = function(*arguments)
    except (OSError, ValueError, TypeError):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code)) from None
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def _check_single_threaded() -> None:
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise ConfinementError(
            f"{threads} threads run in the launcher, and Landlock would confine only one; find what starts "
            "them, for example a .pth file or sitecustomize in the kernel's environment"
        )
