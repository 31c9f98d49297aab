"""The GPUs of one kernel: from what discovery found to what the kernel is given, and holds while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import Extra
from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.errors import OpenShellError
from openshell_kernel.policy.effective import GpuRequest
from openshell_kernel.policy.selection import select

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.base.claims import Holder
    from openshell_kernel.base.hardware import Hardware
    from openshell_kernel.gpu.claims import Claim, Registry
    from openshell_kernel.policy.effective import GpuSelection
    from openshell_kernel.policy.model import GpuPolicy

VISIBLE = "CUDA_VISIBLE_DEVICES"
_MPS = "CUDA_MPS_PIPE_DIRECTORY"


def variables(selection: GpuSelection, *, nowhere: str) -> dict[str, str]:
    """Return the variables that tell CUDA what it was given; `nowhere` is a path at which nothing is.

    By default CUDA looks for the MPS server where that usually is.
    """
    devices = {} if selection.visible is None else {VISIBLE: selection.visible}
    return devices if selection.includes(Extra.MPS) or not selection.granted else {**devices, _MPS: nowhere}


def is_specific(request: GpuPolicy) -> bool:
    """Return whether a request is for certain GPUs or a number of them, which a kernel then holds."""
    return request.request is not GpuRequest.NONE and (request.count is not None or bool(request.devices))


def needs_a_fresh_look(request: GpuPolicy) -> bool:
    """Return whether it matters to a request that a GPU was lost, or is busy, since NVML was last asked."""
    return request.request is GpuRequest.REQUIRED or is_specific(request)


async def choose(
    request: GpuPolicy,
    found: Hardware,
    registry: Registry,
    *,
    visible: str | None,
    current: Claim | None = None,
) -> tuple[GpuSelection, Claim | None]:
    """Return the GPUs for one kernel, and the claim by which it holds them, where it asks for certain ones.

    `visible` is the CUDA_VISIBLE_DEVICES that the kernel would have. `current` is what the same kernel held before its
    restart: it is returned again where nothing changes, and otherwise left for the caller to release.

    Raises:
        PolicyError: what the policy requires is not there, or held by others.
        LaunchError: the GPUs cannot be claimed.
        ConfigurationError: there is no place for claims.
    """
    if request.request is GpuRequest.NONE or not found.present:
        return select(request, found), None
    if not is_specific(request):
        return await run_in_thread(_share, request, found, registry, visible), None
    choosing = run_in_thread(_hold, request, found, registry, visible, current)
    try:
        return await asyncio.shield(choosing)
    except asyncio.CancelledError:
        choosing.add_done_callback(functools.partial(_give_back, current))
        raise


def _share(request: GpuPolicy, found: Hardware, registry: Registry, visible: str | None) -> GpuSelection:
    """Select without a claim. Who holds what is only to be shown: nothing about it stops the start."""
    held: tuple[Holder, ...] = ()
    records: tuple[str, ...] = ()
    with contextlib.suppress(OpenShellError, OSError):
        registry.prepare()
    with contextlib.suppress(OpenShellError):
        held, records = registry.holders(), registry.folders()
    return dataclasses.replace(select(request, found, visible=visible, held=held), records=records)


def _hold(
    request: GpuPolicy, found: Hardware, registry: Registry, visible: str | None, current: Claim | None
) -> tuple[GpuSelection, Claim | None]:
    with registry.locked():
        with contextlib.suppress(OSError):
            registry.prepare()
        preferred = current.uuids if current is not None else ()
        held = registry.holders(but=current)
        selection = select(request, found, visible=visible, held=held, preferred=preferred)
        if current is not None and current.is_held and current.uuids == selection.hold:
            claim: Claim | None = current
        else:
            claim = registry.claim(selection.hold, pid=os.getpid(), **_hub(os.environ)) if selection.hold else None
        return dataclasses.replace(selection, records=registry.folders()), claim


def _hub(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the names under which JupyterHub started this server; none where there is no hub."""
    return {
        "hub_user": environ.get("JUPYTERHUB_USER", ""),
        "hub_server": environ.get("JUPYTERHUB_SERVER_NAME", ""),
    }


def _give_back(current: Claim | None, choosing: asyncio.Future[tuple[GpuSelection, Claim | None]]) -> None:
    if not choosing.cancelled() and choosing.exception() is None:
        _, claim = choosing.result()
        if claim is not None and claim is not current:
            claim.release()
