"""Why a path may be read, written or executed: the rule that decides, or what to add to the policy.

Says what Landlock does with the rules of an effective policy. The rules add up: whatever any rule at or above
a path grants is granted. Ordinary file permissions apply on top, and are not looked at here.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from openshell_kernel.policy.effective import Access, EffectivePolicy, Origin, Rule
from openshell_kernel.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(str, Enum):
    """What is behind a path, as far as Landlock tells it apart."""

    DIRECTORY = "directory"
    FILE = "file"
    DEVICE = "device"
    OTHER = "other"


class Action(str, Enum):
    """What somebody wants to do with a path."""

    READ = "reading"
    WRITE = "writing"
    EXECUTE = "executing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What would allow it: the lines to stand in the policy, and what to do besides."""

    yaml: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one action on a path is allowed.

    `rule` is the most specific rule that grants it, or, where it is refused, the most specific that covers it; a rule
    that names the path, or a folder above it, counts before one that leads there through a symbolic link.
    `real` is the path with its symbolic links resolved and `kind` what is there, None for nothing.
    """

    action: Action
    meaning: str
    path: str
    real: str
    kind: Kind | None
    allowed: bool
    rule: Rule | None
    remedy: Remedy | None = None
    notes: tuple[str, ...] = ()


_ACTIONS: dict[Kind | None, tuple[tuple[Action, str, tuple[str, ...]], ...]] = {
    Kind.FILE: (
        (Action.READ, "read this file", ("read_file",)),
        (Action.WRITE, "write to this file", ("write_file",)),
        (Action.EXECUTE, "run this program", ("execute",)),
    ),
    Kind.DIRECTORY: (
        (Action.READ, "list this folder", ("read_dir",)),
        (Action.WRITE, "create files in this folder", ("make_reg", "write_file")),
        (Action.EXECUTE, "run programs beneath this folder", ("execute",)),
    ),
    Kind.DEVICE: (
        (Action.READ, "read from this device", ("read_file",)),
        (Action.WRITE, "write to this device", ("write_file",)),
        (Action.EXECUTE, "run this device", ()),
    ),
    Kind.OTHER: (
        (Action.READ, "open this for reading", ("read_file",)),
        (Action.WRITE, "open this for writing", ("write_file",)),
        (Action.EXECUTE, "run this", ()),
    ),
    None: (
        (Action.READ, "read a file made here", ("read_file",)),
        (Action.WRITE, "create this file", ("make_reg", "write_file")),
        (Action.EXECUTE, "run a program made here", ("execute",)),
    ),
}
"""What each action means for each kind of path, and the rights that it takes; with none, nothing allows it."""

_BENEATH = frozenset(
    {
        "read_dir",
        "make_reg",
        "make_dir",
        "make_sym",
        "make_fifo",
        "make_sock",
        "remove_file",
        "remove_dir",
        "refer",
    }
)
"""Rights that Landlock accepts on directories only: a rule without them binds to a single file or device."""


_KEPT = "{} runs your kernels, and stays read-only by a mount: change it from outside of the sandbox."


def kind_of(path: str) -> Kind | None:
    """Return what is behind a path, None for nothing, or nothing that this user can see."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    if stat.S_ISREG(mode):
        return Kind.FILE
    return Kind.DEVICE if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else Kind.OTHER


def why(
    effective: EffectivePolicy,
    path: str,
    *,
    home: str = "",
    resolve: Callable[[str], str] = os.path.realpath,
    kind: Callable[[str], Kind | None] = kind_of,
) -> tuple[Verdict, ...]:
    """Say for reading, writing and executing whether the policy allows it at an absolute path, and why.

    A path where nothing is yet is judged by the nearest folder above it that exists. `home` is the account's
    home directory: nobody is told to make a whole one writable for a single file in it.
    """
    real = resolve(path)
    found = kind(real)
    judged = real if found else _nearest(real, kind)
    possible = found is not None or kind(judged) is Kind.DIRECTORY
    covering = sorted(
        (rule for rule in effective.rules if possible and _covers(rule, judged)),
        key=lambda rule: (_names(rule, path, judged), len(_place(rule))),
        reverse=True,
    )
    verdicts = []
    for action, meaning, needed in _ACTIONS[found]:
        granting = [[rule for rule in covering if right in rule.rights] for right in needed]
        kept = next((path for path in effective.kept if judged == path or _beneath(judged, path)), "")
        allowed = bool(needed) and all(granting) and not (kept and action is Action.WRITE)
        rule = granting[0][0] if allowed else next(iter(covering), None)
        verdicts.append(
            Verdict(
                action=action,
                meaning=meaning,
                path=path,
                real=real,
                kind=found,
                allowed=allowed,
                rule=rule,
                remedy=None if allowed or kept else _remedy(effective, action, real, found, judged, home=home),
                notes=(
                    *_notes(effective, action, real, found, judged, allowed=allowed, rule=rule),
                    *([_KEPT.format(printable(kept))] if kept and action is Action.WRITE else []),
                ),
            )
        )
    return tuple(verdicts)


def _nearest(real: str, kind: Callable[[str], Kind | None]) -> str:
    parent = os.path.dirname(real)
    while kind(real) is None and parent != real:
        real, parent = parent, os.path.dirname(parent)
    return real


def _place(rule: Rule) -> str:
    """Return the path that the rule bound to: a rule follows the inode, not the name it was asked for by."""
    return rule.resolved or rule.path


def _names(rule: Rule, *paths: str) -> bool:
    """Return whether a rule covers one of the paths as it is written, and not only through a symbolic link."""
    return any(path == rule.path or _beneath(path, rule.path) for path in paths)


def _covers(rule: Rule, path: str) -> bool:
    place = _place(rule)
    return path == place or (not _BENEATH.isdisjoint(rule.rights) and _beneath(path, place))


def _beneath(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _remedy(
    effective: EffectivePolicy, action: Action, real: str, kind: Kind | None, judged: str, *, home: str
) -> Remedy | None:
    if action is Action.EXECUTE and (kind in (Kind.DEVICE, Kind.OTHER) or real == "/proc" or _beneath(real, "/proc")):
        return None
    advice = ""
    target = real
    if real == "/proc" or _beneath(real, "/proc"):
        target = "/proc"
        advice = "Only the whole of /proc covers new processes and threads."
    elif kind is None and action is Action.WRITE and os.path.dirname(real) != home:
        target = os.path.dirname(real)
        if target != judged:
            advice = f"Make the folder {printable(target)} first: a rule needs something to bind to."
    elif kind is None:
        advice = "Make it before the kernel starts: a rule needs something to bind to."
    if target == "/" and action is Action.WRITE:
        return None
    access = Access.READ_WRITE if action is Action.WRITE else Access.READ_ONLY
    listed = [rule for rule in effective.rules if target in (_place(rule), rule.path) and rule.origin is Origin.POLICY]
    if access is Access.READ_WRITE and any(rule.access is Access.READ_ONLY for rule in listed):
        advice = f"{advice} Take it out of read_only: a path stands in one list only.".strip()
    return Remedy(yaml=f"filesystem_policy:\n  {access.value}:\n    - {yaml_scalar(target)}", advice=advice)


def _notes(
    effective: EffectivePolicy,
    action: Action,
    real: str,
    kind: Kind | None,
    judged: str,
    *,
    allowed: bool,
    rule: Rule | None,
) -> list[str]:
    notes = []
    if action is Action.EXECUTE and kind in (Kind.DEVICE, Kind.OTHER):
        notes.append("Only regular files can be run.")
    if action is Action.WRITE and not allowed and judged == "/":
        notes.append("The root folder cannot be made read-write; use a folder beneath it.")
    if action is Action.WRITE and kind is Kind.OTHER:
        notes.append("Connecting to a unix socket by its path is not something that these rules restrict.")
    if allowed and rule and kind is Kind.FILE and _BENEATH.isdisjoint(rule.rights):
        notes.append("The rule holds for this very file: once replaced by another, it is no longer covered.")
    notes += [
        f"A rule for {printable(skipped.path)} was not applied: {printable(skipped.why)}"
        for skipped in effective.skipped
        if not allowed and (real == skipped.path or _beneath(real, skipped.path))
    ]
    notes += [
        f"The {conflict.origin.value} wanted {printable(conflict.path)} read-write; the policy says no."
        for conflict in effective.conflicts
        if not allowed and action is Action.WRITE and (judged == conflict.path or _beneath(judged, conflict.path))
    ]
    return notes


def yaml_scalar(path: str) -> str:
    """Return an absolute path as YAML: as it stands if it is plain, otherwise in double quotes."""
    if re.fullmatch(r"/[A-Za-z0-9_./+@=-]*", path):
        return path
    return '"' + printable(path.replace("\\", "\\\\").replace('"', '\\"')) + '"'
