"""File permissions beside Landlock's verdicts: both have to allow an action."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from openshell_kernel.policy.explain import Action, Kind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

_MODES = {Action.READ: os.R_OK, Action.WRITE: os.W_OK, Action.EXECUTE: os.X_OK}
_NOTE = "File permissions refuse it all the same (owner, mode, or a read-only mount)."


def annotate(verdicts: tuple[Verdict, ...], *, access: Callable[[str, int], bool] = os.access) -> tuple[Verdict, ...]:
    """Add a note to each action that the rules allow and ordinary permissions refuse.

    Landlock does not restrict access(2), so this is the answer of the permission bits alone.
    """
    return tuple(
        dataclasses.replace(verdict, notes=(*verdict.notes, _NOTE)) if _refused(verdict, access) else verdict
        for verdict in verdicts
    )


def _refused(verdict: Verdict, access: Callable[[str, int], bool]) -> bool:
    if not verdict.allowed:
        return False
    path, mode = verdict.real, _MODES[verdict.action]
    if verdict.kind is None:
        if verdict.action is not Action.WRITE:
            return False
        path = verdict.nearest
    if verdict.kind in (None, Kind.DIRECTORY):
        mode |= os.X_OK
    return not access(path, mode)
