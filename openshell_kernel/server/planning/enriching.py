"""The effective policy of one start: enriched, and with what this machine and this start leave open."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.policy import unenforced
from openshell_kernel.policy.enrichment import enrich
from openshell_kernel.server.planning import capabilities, protected_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openshell_kernel.policy.effective import EffectivePolicy, Unenforced
    from openshell_kernel.policy.runtime import Runtime
    from openshell_kernel.server.planning.folders import Folders
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.protection import Protection
    from openshell_kernel.server.planning.request import KernelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Enriched:
    """What the kernel needs, the effective policy, and the capabilities that it must keep to work with these."""

    runtime: Runtime
    effective: EffectivePolicy
    capabilities: tuple[str, ...]


def enrich_request(
    request: KernelRequest, gathered: Gathered, folders: Folders, protection: Protection, runtime: Runtime
) -> Enriched:
    """Enrich the policy by what the kernel needs and the GPUs that it is given, and own up to what stays open.

    Raises:
        PolicyError: the policy contradicts itself or a baseline, and says that nothing starts then.
    """
    effective = enrich(
        request.loaded.policy,
        gathered.hardware,
        runtime,
        source=request.loaded.source.describe(),
        selection=gathered.selection,
        pinned=request.settings.baseline_conflicts,
    )
    own = (folders.home.path, *([folders.connection_file] if folders.connection_file else []))
    powers = capabilities.judge(effective.rules, gathered.identity, private=str(folders.private.path), own=own)
    kept = protection.kept
    exposed = protected_paths.exposures(
        effective.rules, [place for place in protection.paths if place.secret or not kept.holds(place.path)]
    )
    effective = dataclasses.replace(
        effective,
        notices=(*effective.notices, *exposed, *powers.notices),
        unenforced=(*effective.unenforced, *_left_open(request, protection)),
        kept=kept.paths,
    )
    return Enriched(runtime=runtime, effective=effective, capabilities=powers.capabilities)


def _left_open(request: KernelRequest, protection: Protection) -> Iterator[Unenforced]:
    if request.connection is not None and not request.connection.encrypted:
        yield unenforced.CONNECTION
    if protection.kept.paths:
        yield unenforced.KEPT
