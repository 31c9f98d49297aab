"""The GPUs of one kernel: from what discovery found to what the kernel is given, and holds while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import re
from typing import TYPE_CHECKING

from openshell_kernel.base.threads import run_in_thread
from openshell_kernel.errors import OpenShellError
from openshell_kernel.policy.effective import Family, GpuDevice, Hardware, MigDevice, RenderNode
from openshell_kernel.policy.selection import select

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.gpu.inventory import Gpu, Inventory, Surroundings
    from openshell_kernel.policy.effective import GpuSelection, Holder
    from openshell_kernel.policy.model import GpuPolicy
    from openshell_kernel.server.claims import Claim, Registry

VISIBLE = "CUDA_VISIBLE_DEVICES"
_MPS = "CUDA_MPS_PIPE_DIRECTORY"
# OpenShell's rule, and Jetson's devices: without one of these no GPU can be used.
_PRESENT = re.compile(r"/dev/(nvidiactl|dxg|nvmap|nvhost-.*|nvgpu/.*)")


def hardware(inventory: Inventory) -> Hardware:
    """Return what discovery found as the policy zone, which knows no hardware, takes it."""
    answer, there = inventory.answer, inventory.surroundings
    return Hardware(
        status=answer.status.value,
        detail=answer.detail,
        present=any(_PRESENT.fullmatch(node) for node in there.nodes),
        driver_version=answer.driver_version,
        cuda_version=answer.cuda_version,
        gpus=tuple(_gpu(gpu, there) for gpu in answer.gpus),
        nodes=there.nodes,
        render_nodes=tuple(RenderNode(**dataclasses.asdict(render)) for render in there.render_nodes),
        topology=there.topology,
        pci_classes=there.pci_classes,
        extras=tuple(Family(name=name, paths=paths) for name, paths in there.extras),
    )


def variables(selection: GpuSelection, *, nowhere: str) -> dict[str, str]:
    """Return the variables that tell CUDA what it was given; `nowhere` is a path at which nothing is.

    By default CUDA looks for the MPS server where that usually is.
    """
    devices = {} if selection.visible is None else {VISIBLE: selection.visible}
    has_mps = any(family.name == "mps" for family in selection.extras)
    return devices if has_mps or not selection.granted else {**devices, _MPS: nowhere}


def is_specific(request: GpuPolicy) -> bool:
    """Return whether a request is for certain GPUs or a number of them, which a kernel then holds."""
    return request.request != "none" and (request.count is not None or bool(request.devices))


def nodes(selection: GpuSelection) -> tuple[str, ...]:
    """Return the device nodes that belong to the selected GPUs and MIG devices alone."""
    return (*selection.nodes, *selection.capabilities)


def needs_a_fresh_look(request: GpuPolicy) -> bool:
    """Return whether it matters to a request that a GPU was lost, or is busy, since NVML was last asked."""
    return request.request == "required" or is_specific(request)


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
    if request.request == "none" or not found.present:
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


def _gpu(gpu: Gpu, there: Surroundings) -> GpuDevice:
    return GpuDevice(
        index=gpu.index,
        minor=gpu.minor,
        uuid=gpu.uuid,
        name=gpu.name,
        memory=gpu.memory,
        used=gpu.used,
        busy=gpu.busy,
        pci_address=gpu.pci_address,
        mig=gpu.mig,
        mig_devices=tuple(
            MigDevice(
                index=device.index,
                uuid=device.uuid,
                name=device.name,
                memory=device.memory,
                used=device.used,
                busy=device.busy,
                capabilities=_capabilities(gpu.minor, device.gpu_instance, device.compute_instance, there),
            )
            for device in gpu.mig_devices
        ),
        fault=gpu.fault,
    )


def _capabilities(
    minor: int | None, gpu_instance: int | None, compute_instance: int | None, there: Surroundings
) -> tuple[str, ...]:
    """Return the two nodes that open a MIG device: its GPU instance's and its compute instance's; or none."""
    found = [
        capability.node
        for wanted in (None, compute_instance)
        for capability in there.capabilities
        if (capability.gpu, capability.gpu_instance) == (minor, gpu_instance) and capability.compute_instance == wanted
    ]
    return tuple(found) if compute_instance is not None and len(found) == len(("GPU", "compute")) else ()
