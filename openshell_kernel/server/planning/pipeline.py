"""From a request to a launch plan, in stages that each are a module here. Shared by all that start confined programs.

    load -> gather -> prepare folders -> environment -> needs -> enrich -> checks -> plan

The first, `loading`, is the caller's, which refuses a bad policy before anything is made.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.server.planning.checks import Granted, check_granted
from openshell_kernel.server.planning.decided import Decided
from openshell_kernel.server.planning.enriching import enrich_request
from openshell_kernel.server.planning.folders import give, prepare
from openshell_kernel.server.planning.gathering import gather
from openshell_kernel.server.planning.launch_plan import launch_plan
from openshell_kernel.server.planning.needs import runtime
from openshell_kernel.server.planning.program import compose_program
from openshell_kernel.server.planning.protection import protect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openshell_kernel.gpu.claims import Claim
    from openshell_kernel.policy.effective import EffectivePolicy
    from openshell_kernel.sandbox.plan import LaunchPlan
    from openshell_kernel.server.planning.gathering import Gathered
    from openshell_kernel.server.planning.request import KernelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A launch plan, the effective policy that it carries out, and the environment of the launcher itself.

    `claim` is what the kernel holds of the machine's GPUs: whoever starts it sees to the release.
    """

    plan: LaunchPlan
    effective: EffectivePolicy
    launcher_environment: dict[str, str]
    claim: Claim | None = None


async def make_plan(request: KernelRequest) -> Planned:
    """Find out what is there, enrich the policy and say what the launcher must do.

    Raises:
        PolicyError: the sandbox could write the policy that it is started from, or what the policy requires of GPUs
            is not to be had.
        ConfigurationError: the kernel's program is not found, or what every kernel reads holds Jupyter's keys.
        LaunchError: the kernel's Python does not run, or its home is not what it should be.
    """
    gathered = await gather(request)
    with _released_on_error(gathered.claim):
        return await _plan(request, gathered)


async def _plan(request: KernelRequest, gathered: Gathered) -> Planned:
    folders = await prepare(request, gathered)
    program = compose_program(request, gathered, folders)
    protection = await protect(request, gathered)
    needed = runtime(request, gathered, folders, program, protection)
    enriched = enrich_request(request, gathered, folders, protection, needed)
    check_granted(
        Granted(
            source=request.loaded.source,
            rules=enriched.effective.rules,
            kept=protection.kept,
            pythons=gathered.pythons,
        )
    )
    await give(folders, gathered)
    return Planned(
        plan=launch_plan(
            Decided(request=request, gathered=gathered, program=program, protection=protection, enriched=enriched)
        ),
        effective=enriched.effective,
        launcher_environment=request.trusted,
        claim=gathered.claim,
    )


@contextlib.contextmanager
def _released_on_error(claim: Claim | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if claim is not None:
            claim.release()
        raise
