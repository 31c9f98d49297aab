"""Landlock: what this kernel offers, and a ruleset that is prepared first and enforced second.

The only importer of the `landlock` binding. The binding judges a call by `errno` instead of its result, so `errno` is
cleared before every call, and it lacks scopes, which are reached through its own structures.

Source: the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from openshell_kernel.base.links import walk
from openshell_kernel.base.paths import is_beneath
from openshell_kernel.base.rights import ask_abi
from openshell_kernel.errors import ConfinementError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openshell_kernel.base.links import Way
    from openshell_kernel.sandbox.layer import Layer
    from openshell_kernel.sandbox.plan import PlanRule

_SINCE_ABI = {
    "execute": 1,
    "write_file": 1,
    "read_file": 1,
    "read_dir": 1,
    "remove_dir": 1,
    "remove_file": 1,
    "make_char": 1,
    "make_dir": 1,
    "make_reg": 1,
    "make_sock": 1,
    "make_fifo": 1,
    "make_block": 1,
    "make_sym": 1,
    "refer": 2,
    "truncate": 3,
    "ioctl_dev": 5,
}
_SCOPES_SINCE_ABI = 6
_SCOPE_BITS = {"abstract_unix_socket": 1 << 0, "signal": 1 << 1}

_FILE_RIGHTS = frozenset({"execute", "read_file", "write_file", "truncate"})
_DEVICE_RIGHTS = frozenset({"read_file", "write_file", "truncate", "ioctl_dev"})
_NEVER = frozenset({"make_char", "make_block"})
_CREATING = "make_reg"

_FIRST_LINUX = (5, 13)
_CAUSES = {
    errno.EOPNOTSUPP: (
        "Landlock is disabled at boot: name it on the kernel's command line, for example lsm=landlock,yama "
        "(/sys/kernel/security/lsm lists what is active)"
    ),
    errno.EPERM: (
        "a seccomp profile blocks Landlock: allow landlock_create_ruleset, landlock_add_rule and "
        "landlock_restrict_self in the container's profile, or update the container runtime"
    ),
    errno.ENOSYS: (
        "Linux {release} answers that it has no Landlock: it was built without CONFIG_SECURITY_LANDLOCK, or a "
        "container's seccomp profile hides it; use a kernel that has it, or allow landlock_create_ruleset, "
        "landlock_add_rule and landlock_restrict_self in the profile"
    ),
}

_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39


class Support(NamedTuple):
    """What the running kernel offers: the ABI (None where there is no Landlock) and, without one, the cause."""

    abi: int | None
    release: str
    cause: str = ""


class AppliedRule(NamedTuple):
    """One rule of the plan and what became of it. `problem` is empty for a rule that is in force."""

    path: str
    resolved: str | None
    kind: str | None
    rights: tuple[str, ...]
    problem: str = ""


class Confinement(NamedTuple):
    """What was achieved; the only witness, because the kernel does not tell a process its own rules.

    `layers` are the protections beside Landlock's own.
    """

    enforced: bool
    reason: str
    abi: int | None
    kernel_release: str
    no_new_privs: bool
    scopes: tuple[str, ...]
    handled: tuple[str, ...]
    rules: tuple[AppliedRule, ...]
    layers: tuple[Layer, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return this value as JSON."""
        rules, layers = ([entry._asdict() for entry in entries] for entries in (self.rules, self.layers))
        return {**self._asdict(), "rules": rules, "layers": layers}


def probe(*, platform: str = sys.platform, release: str | None = None) -> Support:
    """Ask the kernel for its Landlock ABI; without one, say which of the known causes it is and what to do.

    Source: landlock_create_ruleset(2), errors of LANDLOCK_CREATE_RULESET_VERSION.
    """
    if release is None:
        release = os.uname().release
    if platform != "linux":
        return Support(
            abi=None,
            release=release,
            cause=f"Landlock exists only on Linux, and this is {platform}: run Jupyter on Linux, or in WSL2 or a VM",
        )
    try:
        return Support(abi=ask_abi(), release=release)
    except OSError as error:
        return Support(abi=None, release=release, cause=why_missing(error.errno or 0, release))


def why_missing(code: int, release: str) -> str:
    """Return which of the known causes an error of landlock_create_ruleset stands for, and what to do."""
    if code == errno.ENOSYS and _version(release) < _FIRST_LINUX:
        return f"Linux {release} has no Landlock: it came with 5.13; update the kernel"
    return _CAUSES.get(code, f"Landlock cannot be used: {os.strerror(code)}").format(release=release)


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    digits = rest.split(".")[0].split("-")[0]
    return (int(major), int(digits)) if major.isdigit() and digits.isdigit() else (0, 0)


class Prepared:
    """A ruleset that holds its rules but restricts nobody yet."""

    def __init__(
        self, *, ruleset: int, abi: int, release: str, handled: tuple[str, ...], rules: tuple[AppliedRule, ...]
    ) -> None:
        self._ruleset = ruleset
        self._abi = abi
        self._release = release
        self._handled = handled
        self.rules = rules

    def enforce(self) -> Confinement:
        """Restrict this process and all that it starts, for ever. Call it while single-threaded.

        Raises:
            ConfinementError: the kernel refused. The process must end: it may hold no_new_privs and nothing else.
        """
        no_new_privs = set_no_new_privs()
        _restrict_self(self._ruleset)
        return Confinement(
            enforced=True,
            reason="",
            abi=self._abi,
            kernel_release=self._release,
            no_new_privs=no_new_privs,
            scopes=_scopes(self._abi),
            handled=self._handled,
            rules=self.rules,
        )


def prepare(rules: Sequence[PlanRule], support: Support, folders: Sequence[str] = ()) -> Prepared:
    """Open every path of the plan and build the ruleset from the descriptors.

    All filesystem rights of the ABI are handled, so what no rule grants is denied. A rule's rights are masked by the
    kind of inode behind its descriptor. A rule that cannot be applied does not void the others; when it is required,
    the start is refused. `folders` are those that kernels may write: links there carry no rule of a policy's.

    Raises:
        ConfinementError: a required rule cannot be applied, no rule can, or the kernel refuses the ruleset.
    """
    if support.abi is None:
        raise ConfinementError(support.cause)
    handled = tuple(name for name, since in _SINCE_ABI.items() if since <= support.abi)
    ruleset = _create_ruleset(handled, support.abi, scopes=_scopes(support.abi))
    opened = [_open(rule, folders) for rule in rules]
    try:
        applied = tuple(
            _apply(ruleset, rule, entry, handled, opened) for rule, entry in zip(rules, opened, strict=True)
        )
    finally:
        for entry in opened:
            entry.close()
    refused = [f"{a.path}: {a.problem}" for a, rule in zip(applied, rules, strict=True) if a.problem and rule.required]
    if refused:
        lines = "\n".join(f"  {line}" for line in refused)
        raise ConfinementError(
            f"these paths of the policy cannot be granted, and the policy says hard_requirement:\n{lines}\n"
            "Correct or remove them, or set landlock.compatibility to best_effort, which skips them."
        )
    if all(rule.problem for rule in applied):
        raise ConfinementError("no path of the policy can be granted; an empty ruleset would let nothing run")
    return Prepared(ruleset=ruleset, abi=support.abi, release=support.release, handled=handled, rules=applied)


def enter_signal_domain(support: Support) -> bool:
    """Enter a domain in which this process, and all that it starts, can signal nobody outside; tell whether it could.

    It restricts nothing else. A process that stays in it reaches those in a domain within, and is out of their reach.

    Raises:
        ConfinementError: the kernel refused.
    """
    if support.abi is None or support.abi < _SCOPES_SINCE_ABI:
        return False
    set_no_new_privs()
    # Every domain refuses to move a file to another folder, unless it says otherwise.
    ruleset = _create_ruleset(("refer",), support.abi, scopes=("signal",))
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        _add_rule(ruleset, root, ("refer",))
    except OSError as error:
        raise ConfinementError(f"Landlock refused a domain of signals: {error.strerror}") from None
    finally:
        os.close(root)
    _restrict_self(ruleset)
    return True


def set_no_new_privs() -> bool:
    """Give up, for this process and all that it starts, gaining privileges by exec. Return whether it holds.

    Source: prctl(2), PR_SET_NO_NEW_PRIVS.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)


class _Opened:
    """A rule's path, opened once; everything that is asked about it afterwards is asked of the descriptor."""

    def __init__(self, rule: PlanRule, way: Way | None, problem: str) -> None:
        self.rule = rule
        self.fd = None if way is None else way.fd
        self.problem = problem
        self.resolved = None if way is None else os.readlink(f"/proc/self/fd/{way.fd}")
        self.way = () if way is None else way.places
        self.planted = "" if way is None or not rule.listed else way.planted

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)


def _open(rule: PlanRule, folders: Sequence[str]) -> _Opened:
    try:
        return _Opened(rule, walk(rule.path, folders), "")
    except OSError as error:
        return _Opened(rule, None, error.strerror or str(error))


def _apply(
    ruleset: int, rule: PlanRule, entry: _Opened, handled: tuple[str, ...], opened: list[_Opened]
) -> AppliedRule:
    def problem(text: str) -> AppliedRule:
        return AppliedRule(path=rule.path, resolved=entry.resolved, kind=None, rights=(), problem=text)

    refusal = _why_not(entry, opened)
    if refusal or entry.fd is None:
        return problem(refusal)
    kind, possible = _kind(os.fstat(entry.fd).st_mode)
    rights = tuple(name for name in handled if name in rule.rights and name not in _NEVER and name in possible)
    if not rights:
        return problem(f"none of the rights asked for fits a {kind}")
    try:
        _add_rule(ruleset, entry.fd, rights)
    except OSError as error:
        return problem(f"Landlock refused the rule: {error.strerror}")
    return AppliedRule(path=rule.path, resolved=entry.resolved, kind=kind, rights=rights)


def _add_rule(ruleset: int, fd: int, rights: Sequence[str]) -> None:
    from landlock import plumbing  # noqa: PLC0415 - see _restrict_self

    attribute = plumbing.PathBeneathAttr(_bits(rights), fd)
    _call(plumbing.get_add_rule(), ruleset, _RULE_PATH_BENEATH, ctypes.byref(attribute), 0)


def _why_not(entry: _Opened, opened: list[_Opened]) -> str:
    """Return why a path carries no rule, however its inode would do; empty where it may."""
    if entry.fd is None:
        return entry.problem
    escaped = _escapes(entry, opened)
    if escaped is not None:
        return (
            f"a symbolic link leads from here to {entry.resolved}, out of {escaped}, which the sandbox may write: "
            "name the target itself if it is meant"
        )
    if entry.planted:
        return (
            f"{entry.planted} is a symbolic link that a sandbox may have made, and it leads to {entry.resolved}: name "
            "that instead if it is meant, or remove the link"
        )
    if entry.rule.exact and entry.resolved != entry.rule.path:
        return f"it leads to {entry.resolved} by now, through a symbolic link that was put there since"
    return ""


def _escapes(entry: _Opened, opened: list[_Opened]) -> str | None:
    """Return the writable folder which this path lies in, or leads through, by name but not in fact, or None.

    A sandbox can put a symbolic link into a folder that it may write; followed at the next start, the link would
    carry a rule for a path inside that folder to any place on the machine.
    """
    for other in opened:
        if other is entry or other.resolved is None or _CREATING not in other.rule.rights:
            continue
        # A folder may be named in several ways, as a home is where /home is a link.
        named_inside = is_beneath(entry.rule.path, other.rule.path) or any(
            is_beneath(place, other.resolved) for place in entry.way
        )
        inside = entry.resolved == other.resolved or is_beneath(entry.resolved or "", other.resolved)
        if named_inside and not inside:
            return other.rule.path
    return None


def _kind(mode: int) -> tuple[str, frozenset[str]]:
    if stat.S_ISDIR(mode):
        return "directory", frozenset(_SINCE_ABI)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "device", _DEVICE_RIGHTS
    if stat.S_ISREG(mode):
        return "file", _FILE_RIGHTS
    return "other", _FILE_RIGHTS


def _restrict_self(ruleset: int) -> None:
    from landlock import plumbing  # noqa: PLC0415 - the binding cannot be imported everywhere that we are

    try:
        _check_single_threaded()
        _call(plumbing.get_restrict_self(), ruleset, 0)
    except OSError as error:
        hint = " (16 Landlock layers are in force already)" if error.errno == errno.E2BIG else ""
        raise ConfinementError(f"Landlock refused to restrict the kernel: {error.strerror}{hint}") from None
    finally:
        os.close(ruleset)


def _create_ruleset(handled: tuple[str, ...], abi: int, *, scopes: tuple[str, ...]) -> int:
    from landlock import plumbing  # noqa: PLC0415 - see _restrict_self

    class Attribute(plumbing.RulesetAttr):  # type: ignore[misc]  # the binding has no types
        _fields_ = (("handled_access_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))

    scoped = sum(_SCOPE_BITS[name] for name in scopes)
    attribute = Attribute(_bits(handled), 0, scoped)
    # A kernel refuses a structure with fields that it does not know.
    size = ctypes.sizeof(Attribute) if abi >= _SCOPES_SINCE_ABI else ctypes.sizeof(plumbing.RulesetAttr)
    try:
        return _call(plumbing.get_create_ruleset(), ctypes.byref(attribute), size, 0)
    except OSError as error:
        raise ConfinementError(f"Landlock refused the ruleset: {error.strerror}") from None


def _scopes(abi: int) -> tuple[str, ...]:
    return tuple(_SCOPE_BITS) if abi >= _SCOPES_SINCE_ABI else ()


def _bits(rights: Sequence[str]) -> int:
    from landlock import FSAccess  # noqa: PLC0415 - see _restrict_self

    return sum(int(FSAccess[name.upper()]) for name in set(rights))


def _call(function: Callable[..., int], *arguments: object) -> int:
    """Call into the binding and judge by the result, because it judges by an `errno` that may be stale.

    Raises:
        OSError: the call failed. The binding's own error path can raise other errors on unusual kernel releases.
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
            f"{threads} threads run in the launcher, and Landlock would confine only one: find what starts them, "
            "for example a .pth file or sitecustomize in the kernel's environment"
        )
