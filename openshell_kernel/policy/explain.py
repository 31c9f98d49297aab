"""Why a path may be read, written or executed: the rule that decides, or what to add to the policy.

Says what Landlock does with the rules of an effective policy. The rules add up: whatever any rule at or above
a path grants is granted. Ordinary file permissions apply on top, and are not looked at here.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from openshell_kernel.base import rights
from openshell_kernel.base.paths import is_beneath
from openshell_kernel.base.rules import Kind
from openshell_kernel.base.text import printable
from openshell_kernel.policy import advice
from openshell_kernel.policy.advice import Remedy, yaml_block, yaml_scalar
from openshell_kernel.policy.effective import Access, EffectivePolicy, Rule
from openshell_kernel.policy.exposure import Exposure, exposures
from openshell_kernel.policy.protected_paths import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOTHING = Guarded()

__all__ = [
    "Action",
    "Exposure",
    "Guarded",
    "Kind",
    "Remedy",
    "Verdict",
    "exposures",
    "kind_of",
    "why",
    "yaml_block",
    "yaml_scalar",
]


class Action(str, Enum):
    """What somebody wants to do with a path."""

    READ = "reading"
    WRITE = "writing"
    EXECUTE = "executing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one action on a path is allowed.

    `rule` is the most specific rule that grants it, or, where it is refused, the most specific that covers it; a rule
    that names the path, or a folder above it, counts before one that leads there through a symbolic link.
    `real` is the path with its symbolic links resolved and `kind` what is there, None for nothing; `nearest` is the
    folder at it or above it that exists. Where no remedy is proposed, `withheld` says why, as a part of a sentence.
    """

    action: Action
    meaning: str
    path: str
    real: str
    nearest: str
    kind: Kind | None
    allowed: bool
    rule: Rule | None
    remedy: Remedy | None = None
    withheld: str = ""
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
    ),
    Kind.OTHER: (
        (Action.READ, "open this for reading", ("read_file",)),
        (Action.WRITE, "open this for writing", ("write_file",)),
    ),
    None: (
        (Action.READ, "read a file made here", ("read_file",)),
        (Action.WRITE, "create this file", ("make_reg", "write_file")),
    ),
}
"""What each action means for each kind of path, and the rights that it takes. Of files, only programs are run."""

_BENEATH = rights.FOLDER
"""Rights that Landlock accepts on directories only: a rule without them binds to a single file or device."""


_KEPT = "{} runs your kernels. A mount keeps it read-only: change it outside of the sandbox."


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


def is_program(path: str) -> bool:
    """Return whether a file is meant to be run: it is executable for anybody. A table or a picture is not."""
    try:
        return bool(os.stat(path).st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))
    except OSError:
        return False


def why(
    effective: EffectivePolicy,
    path: str,
    *,
    guarded: Guarded = _NOTHING,
    resolve: Callable[[str], str] = os.path.realpath,
    kind: Callable[[str], Kind | None] = kind_of,
    runnable: Callable[[str], bool] = is_program,
) -> tuple[Verdict, ...]:
    """Say for reading, writing and executing whether the policy allows it at an absolute path, and why.

    A path where nothing is yet is judged by the nearest folder above it that exists. No line is proposed for what is
    `guarded`, nor one with which a kernel would not start.
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
    for action, meaning, needed in _actions(real, found, judged, runnable):
        granting = [[rule for rule in covering if right in rule.rights] for right in needed]
        kept = next((path for path in effective.kept if judged == path or is_beneath(judged, path)), "")
        allowed = all(granting) and not (kept and action is Action.WRITE)
        rule = granting[0][0] if allowed else next(iter(covering), None)
        remedy, withheld = None, ""
        if not allowed and not kept:
            remedy, withheld = _remedy(effective, action, real, kind=found, judged=judged, guarded=guarded)
        verdicts.append(
            Verdict(
                action=action,
                meaning=meaning,
                path=path,
                real=real,
                nearest=judged,
                kind=found,
                allowed=allowed,
                rule=rule,
                remedy=remedy,
                withheld=withheld,
                notes=(
                    *_notes(effective, action, real, found, judged, allowed=allowed, rule=rule),
                    *([_KEPT.format(printable(kept))] if kept and action is Action.WRITE else []),
                ),
            )
        )
    return tuple(verdicts)


def _actions(
    real: str, kind: Kind | None, judged: str, runnable: Callable[[str], bool]
) -> Iterator[tuple[Action, str, tuple[str, ...]]]:
    for action, meaning, needed in _ACTIONS[kind]:
        if kind is None and action is Action.WRITE and os.path.dirname(real) != judged:
            yield action, "create this file, and the folders above it", (*needed, "make_dir")
        elif not (kind is Kind.FILE and action is Action.EXECUTE and not runnable(real)):
            yield action, meaning, needed


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
    return any(path == rule.path or is_beneath(path, rule.path) for path in paths)


def _covers(rule: Rule, path: str) -> bool:
    place = _place(rule)
    return path == place or (not _BENEATH.isdisjoint(rule.rights) and is_beneath(path, place))


def _remedy(
    effective: EffectivePolicy, action: Action, real: str, *, kind: Kind | None, judged: str, guarded: Guarded
) -> tuple[Remedy | None, str]:
    """Return what to add to the policy, or why nothing is proposed, where that is not plain."""
    in_proc = real == "/proc" or is_beneath(real, "/proc")
    if action is Action.EXECUTE and in_proc:
        return None, ""
    access = Access.READ_WRITE if action is Action.WRITE else Access.READ_ONLY
    target, hint = real, ""
    if in_proc:
        target, hint = "/proc", "Only all of /proc covers new processes and threads."
    elif kind is None and action is Action.WRITE and os.path.dirname(real) != guarded.home:
        target = os.path.dirname(real)
        hint = (
            ""
            if target == judged
            else f"Create the folder {printable(target)} first: a rule needs something that exists."
        )
    elif kind is None:
        hint = "Create it before the kernel starts: a rule needs something that exists."
    reason = advice.why_not(target, access, effective, guarded)
    if reason:
        return None, reason if target == real else reason.replace("it ", "its folder ", 1)
    folder = kind is Kind.DIRECTORY or target != real
    return advice.remedy(target, access, folder=folder, advice=hint, effective=effective), ""


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
    if action is Action.WRITE and kind is Kind.OTHER:
        notes.append("The rules do not restrict connecting to a Unix socket by its path.")
    if allowed and rule and kind is Kind.FILE and _BENEATH.isdisjoint(rule.rights):
        notes.append("The rule covers this very file. If another file replaces it, the rule does not cover that one.")
    notes += [
        f"A rule for {printable(skipped.path)} was not applied: {printable(skipped.why)}"
        for skipped in effective.skipped
        if not allowed and (real == skipped.path or is_beneath(real, skipped.path))
    ]
    notes += [
        f"The {conflict.origin.value} needs {printable(conflict.path)} read-write, but the policy lists it read-only."
        for conflict in effective.conflicts
        if not allowed and action is Action.WRITE and (judged == conflict.path or is_beneath(judged, conflict.path))
    ]
    return notes
