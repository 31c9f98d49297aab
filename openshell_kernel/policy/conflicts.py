"""Conflicts: the policy lists a path read-only, and a baseline wants it read-write.

Source: OpenShell's issue #1629, conflict controls for the runtime baseline.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING

from openshell_kernel.policy.blocks.conflicts import ConflictMode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.policy.blocks.conflicts import ConflictsPolicy


class Decision(IntEnum):
    """What becomes of one conflict; the greater, the stricter."""

    PROMOTE = 0
    KEEP = 1
    REJECT = 2


def decide(path: str, settings: Iterable[ConflictsPolicy]) -> Decision:
    """Return the strictest of what several settings say of a path: a policy cannot loosen what an operator has set."""
    return max(_decide(path, setting) for setting in settings)


def matches(pattern: str, path: str) -> bool:
    """Return whether an absolute path matches a pattern: `*` and `?` stay within a name, `**` does not."""
    pieces = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = "".join(
        pieces.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", re.sub(r"\*{2,}", "**", pattern))
    )
    return re.fullmatch(expression, path, re.DOTALL) is not None


def _decide(path: str, setting: ConflictsPolicy) -> Decision:
    if setting.mode is ConflictMode.PROMOTE_ALL:
        return Decision.PROMOTE
    if setting.mode is ConflictMode.REJECT_ALL:
        return Decision.REJECT
    if any(matches(pattern, path) for pattern in setting.allow_promotion):
        return Decision.PROMOTE
    return Decision.KEEP if setting.mode is ConflictMode.KEEP_UNLISTED else Decision.REJECT
