"""Landlock's rules: what no rule grants, the kernel's files, signals and abstract sockets, is out of reach.

The paths are opened while the mounts are settled and all privileges are there, and the process is restricted last but
for seccomp.

Sources: the kernel's Documentation/userspace-api/landlock.rst, path_resolution(7).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base import rights
from openshell_kernel.base.links import walk
from openshell_kernel.base.paths import is_beneath, is_within
from openshell_kernel.base.rules import AskedRule, Kind, Rule, Unenforced
from openshell_kernel.base.values import AbsolutePath
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox import ruleset
from openshell_kernel.sandbox.layers.contract import Layer, Need
from openshell_kernel.sandbox.probes import Probe, refused, starter, works
from openshell_kernel.sandbox.report import LANDLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openshell_kernel.base.links import Way
    from openshell_kernel.sandbox.report import LayerReport, Report

_CREATING = "make_reg"
_BEFORE_ABI = (
    (
        2,
        Unenforced(
            what="moving files between folders",
            why=(
                "Linux before 5.19 (Landlock ABI 1) refuses every rename and hard link from one folder into "
                "another, even if both are writable. Programs that do not copy instead fail, such as the caches of "
                "Triton and PyTorch"
            ),
        ),
    ),
    (
        3,
        Unenforced(
            what="truncating files",
            why=(
                "Linux before 6.2 (Landlock ABI 2) does not decide about truncation. The seccomp layer, where it "
                "is active, refuses truncate(2), also in the notebook's folder. Opening for writing and ftruncate "
                "still work there. Without seccomp the notebook can empty every file that its user may write"
            ),
        ),
    ),
    (
        5,
        Unenforced(
            what="commands to devices (ioctl)",
            why=(
                "Linux before 6.10 (Landlock ABI 4) does not decide about ioctl: every device that may be opened "
                "may also be controlled. The rules still decide which devices may be opened"
            ),
        ),
    ),
    (
        6,
        Unenforced(
            what="signals and abstract Unix sockets",
            why=(
                "Linux before 6.12 (Landlock ABI 5) does not decide about them. The notebook can end its user's "
                "other programs, including Jupyter's server, and connect to their abstract sockets"
            ),
        ),
    ),
)
"""What Landlock decides about since an ABI, and what that means before. ABI 4 brought ports, which no rule here uses;
7 and 8 brought nothing that is enforced here."""


class Parameters(NamedTuple):
    """What may be done with which files.

    `kernels_folders` is where kernels may write, whoever owns that: no link there leads a listed path anywhere.
    """

    rules: tuple[AskedRule, ...]
    kernels_folders: tuple[AbsolutePath, ...] = ()


class Landlock(Layer[Parameters]):
    """The rules of the policy, and the scopes for signals and abstract sockets."""

    name = LANDLOCK
    title = "Filesystem rules"
    covers = "Files that no rule grants are out of reach, and so are other programs' signals and abstract sockets."
    residual = (
        Unenforced(
            what="files",
            why="Without Landlock the notebook can read and write all that its user may, and signal all programs of "
            "that user",
            wide_open=True,
        ),
    )
    need = Need.UNLESS_WAIVED
    waiver = "to start without confinement if the policy says best_effort"
    takes = Parameters

    def prepare(self) -> LayerReport | None:
        """Open every path and build the ruleset from the descriptors.

        All filesystem rights of the ABI are handled, so what no rule grants is denied. A rule's rights are masked by
        the kind of inode behind its descriptor. A rule that cannot be applied does not void the others.

        Raises:
            ConfinementError: a required rule cannot be applied, no rule can, or Linux refuses the ruleset.
        """
        abi = self.context.support.abi
        if abi is None:
            missing = "Landlock is missing"
            self.context.rules = tuple(rule._replace(problem=missing) for rule in self.parameters.rules)
            return self.absent(self.context.support.cause)
        self._ruleset = ruleset.create(rights.handled(abi), abi, scoped=ruleset.scopes(abi))
        self.context.rules = _apply(self._ruleset, self.parameters, rights.handled(abi))
        _check_applied(self.context.rules)
        return None

    def enforce(self) -> LayerReport:
        """Restrict this process and all that it starts. Call it under no_new_privs."""
        ruleset.restrict_self(self._ruleset)
        abi = self.context.support.abi or 0
        missing = before_abi(abi)
        decides = ", ".join((*rights.handled(abi), *(("signals", "abstract sockets") if ruleset.scopes(abi) else ())))
        detail = f"Landlock ABI {abi} decides about: {decides}"
        return self.degraded(detail, missing, remedy="update Linux") if missing else self.enforced(detail)

    @classmethod
    def verify(cls, report: Report) -> tuple[Probe, ...]:
        """Open what a rule grants and what none does, and signal a process outside."""
        readable = next(filter(_is_listable, report.rules), None)
        probes = [works(f"list {readable.path}", os.listdir, readable.path)] if readable else []
        denied = [refused(f"list {path}", os.listdir, path, by=("EACCES",)) for path in _unlisted(report.rules)]
        denied += [
            refused(f"make a folder in {path}", _make_folder, path, by=("EACCES",))
            for path in _unwritable(report.rules)
        ]
        probes += denied or [Probe("find a folder that no rule grants", "the rules grant all of them", holds=False)]
        if report.abi is not None and report.abi >= rights.SCOPES_SINCE_ABI:
            probes.append(refused("signal the process that started the kernel", os.kill, starter(), 0, by=("EPERM",)))
        return tuple(probes)


def before_abi(abi: int) -> tuple[Unenforced, ...]:
    """Return what a Landlock of this ABI does not enforce, and newer ones do."""
    return tuple(item for since, item in _BEFORE_ABI if abi < since)


def _is_listable(rule: Rule) -> bool:
    """Whether a rule lets a folder be listed that permissions, which Landlock does not ask here, let be listed too."""
    listed = not rule.problem and rule.kind is Kind.DIRECTORY and "read_dir" in rule.rights
    return listed and os.access(rule.path, os.R_OK | os.X_OK)


def _unlisted(rules: tuple[Rule, ...]) -> list[str]:
    """Return folders that everybody may list, and that no rule lets be listed."""
    candidates = [f"/{name}" for name in ("", "home", "root", "mnt", "media", "srv", "opt", "var", "boot", "run")]
    return [path for path in _outside(rules, "read_dir", candidates) if _everybody_lists(path)][:2]


def _unwritable(rules: tuple[Rule, ...]) -> list[str]:
    """Return folders that permissions, which Landlock does not ask here, let be written, and that no rule does."""
    candidates = ("/var/tmp", "/tmp", os.path.expanduser("~"), "/")  # noqa: S108 - these are tried
    return [path for path in _outside(rules, "make_dir", candidates) if os.access(path, os.W_OK | os.X_OK)][:1]


def _make_folder(parent: str) -> None:
    path = os.path.join(parent, f".openshell-verify-{os.getpid()}")
    os.mkdir(path)
    os.rmdir(path)


def _outside(rules: tuple[Rule, ...], right: str, candidates: Sequence[str]) -> list[str]:
    granted = [rule.resolved or rule.path for rule in rules if not rule.problem and right in rule.rights]
    folders = filter(os.path.isdir, map(os.path.realpath, candidates))
    return [path for path in folders if not any(is_within(path, folder) for folder in granted)]


def _everybody_lists(path: str) -> bool:
    return os.stat(path).st_mode & 0o005 == 0o005  # noqa: PLR2004 - read and search, for others


class _Opened:
    """A rule's path, opened once; everything that is asked about it afterwards is asked of the descriptor."""

    def __init__(self, rule: Rule, way: Way | None, problem: str) -> None:
        self.rule = rule
        self.fd = None if way is None else way.fd
        self.problem = problem
        self.resolved = None if way is None else os.readlink(f"/proc/self/fd/{way.fd}")
        self.way = () if way is None else way.places
        self.planted = "" if way is None or not rule.listed else way.planted

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)


def _apply(target: int, parameters: Parameters, handled: tuple[str, ...]) -> tuple[Rule, ...]:
    opened = [_open(rule, parameters.kernels_folders) for rule in parameters.rules]
    try:
        return tuple(_applied(target, entry, handled, opened) for entry in opened)
    finally:
        for entry in opened:
            entry.close()


def _open(rule: Rule, folders: Sequence[str]) -> _Opened:
    try:
        return _Opened(rule, walk(rule.path, folders), "")
    except OSError as error:
        return _Opened(rule, None, error.strerror or str(error))


def _applied(target: int, entry: _Opened, handled: tuple[str, ...], opened: list[_Opened]) -> Rule:
    """Add a rule to the ruleset, and return it with what became of it."""
    not_applied = entry.rule._replace(resolved=entry.resolved)
    refusal = _why_not(entry, opened)
    if refusal or entry.fd is None:
        return not_applied._replace(problem=refusal)
    kind, possible = _kind(os.fstat(entry.fd).st_mode)
    granted = tuple(name for name in handled if name in entry.rule.rights and name in possible)
    if not granted:
        return not_applied._replace(problem=f"none of the rights asked for fits a {kind.value}")
    try:
        ruleset.add_rule(target, entry.fd, granted)
    except OSError as error:
        return not_applied._replace(problem=f"Landlock refused the rule: {error.strerror}")
    return entry.rule._replace(resolved=entry.resolved, kind=kind, rights=granted)


def _check_applied(rules: tuple[Rule, ...]) -> None:
    not_granted = [f"  {rule.path}: {rule.problem}" for rule in rules if rule.problem and rule.required]
    if not_granted:
        lines = "\n".join(not_granted)
        raise ConfinementError(
            f"these paths of the policy cannot be granted, and the policy says hard_requirement:\n{lines}\n"
            "Correct or remove them, or set landlock.compatibility to best_effort, which skips them."
        )
    if all(rule.problem for rule in rules):
        raise ConfinementError("no path of the policy can be granted, and nothing could run; correct the paths")


def _why_not(entry: _Opened, opened: list[_Opened]) -> str:
    """Return why a path carries no rule, however its inode would do; empty where it may."""
    if entry.fd is None:
        return entry.problem
    escaped = _escapes(entry, opened)
    if escaped is not None:
        return (
            f"a symlink leads from here to {entry.resolved}, out of {escaped}, which the sandbox may write; if "
            "you mean the target, name that itself"
        )
    if entry.planted:
        return (
            f"{entry.planted} is a symlink that a sandbox may have made. It leads to {entry.resolved}: name "
            "that instead if you mean it, or remove the link"
        )
    if entry.rule.exact and entry.resolved != entry.rule.path:
        return f"it now leads to {entry.resolved}, through a symlink that was put there in the meantime"
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


def _kind(mode: int) -> tuple[Kind, frozenset[str]]:
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY, rights.GRANTABLE
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return Kind.DEVICE, frozenset(rights.DEVICE)
    return (Kind.FILE if stat.S_ISREG(mode) else Kind.OTHER), rights.FILE
