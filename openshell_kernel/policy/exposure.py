"""What a policy opens that hardly anybody means to open: the whole file system, a home directory, credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.policy.effective import Access, Origin
from openshell_kernel.policy.protected_paths import Guarded, why_exposing

if TYPE_CHECKING:
    from collections.abc import Callable

    from openshell_kernel.policy.effective import EffectivePolicy

_ASKED_FOR = (Origin.POLICY, Origin.WORKDIR, Origin.PROMOTION)
_READING = {"read_file", "write_file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A path that the policy opens, how far, and what it gives away thereby, as a part of a sentence."""

    path: str
    access: Access
    why: str


def exposures(
    effective: EffectivePolicy,
    guarded: Guarded,
    *,
    why: Callable[[str, Guarded], str] = why_exposing,
    may_read: Callable[[str], bool] = lambda path: os.access(path, os.R_OK),
) -> tuple[Exposure, ...]:
    """Return what the policy's own rules expose. What ordinary file permissions keep closed is not exposed."""
    return tuple(
        Exposure(path=place, access=rule.access, why=reason)
        for rule in effective.rules
        if rule.origin in _ASKED_FOR and not _READING.isdisjoint(rule.rights)
        for place in [rule.resolved or rule.path]
        if may_read(place) and (reason := why(place, guarded))
    )
