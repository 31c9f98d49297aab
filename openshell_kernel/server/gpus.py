"""The GPUs of one kernel: from what discovery found to what the kernel is given, and holds while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
from typing import TYPE_CHECKING

from openshell_kernel.errors import OpenShellError
from openshell_kernel.gpu import discovery
from openshell_kernel.policy.effective import Family, GpuDevice, Hardware, MigDevice, RenderNode
from openshell_kernel.policy.selection import select
from openshell_kernel.server.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from openshell_kernel.gpu.inventory import Gpu, Inventory, Surroundings
    from openshell_kernel.policy.effective import GpuSelection, Holder
    from openshell_kernel.policy.model import GpuPolicy
    from openshell_kernel.server.claims import Claim, Registry

VISIBLE = "CUDA_VISIBLE_DEVICES"
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
        extras=tuple(Family(name=name, paths=paths) for name, paths in there.extras),
    )


async def choose(
    request: GpuPolicy,
    found: Hardware,
    registry: Registry,
    *,
    timeout: float,
    environ: Mapping[str, str],
    visible: str | None,
    preferred: Collection[str] = (),
) -> tuple[GpuSelection, Claim | None]:
    """Return the GPUs for one kernel, and the claim by which it holds them, where it asks for certain ones.

    `environ` and `timeout` are those of discovery, for the load of the GPUs; `visible` is the CUDA_VISIBLE_DEVICES
    that the kernel would have; `preferred` are UUIDs which it held before a restart.

    Raises:
        PolicyError: what the policy requires is not there, or held by others.
        LaunchError: the GPUs cannot be claimed.
        ConfigurationError: there is no place for claims.
    """
    specific = request.count is not None or bool(request.devices)
    if request.request == "none" or not found.present:
        return select(request, found), None
    if not specific:
        # Only to be shown.
        with contextlib.suppress(OpenShellError, OSError):
            registry.prepare()
        held: tuple[Holder, ...] = ()
        with contextlib.suppress(OpenShellError):
            held = registry.holders()
        selection = select(request, found, visible=visible, held=held)
        return dataclasses.replace(selection, records=_records(registry)), None
    loads = {}
    if request.count is not None:
        loads = {
            uuid: (float(load.busy), float(load.memory))
            for uuid, load in (await discovery.loads(timeout=timeout, environ=environ)).items()
        }

    def choose_under_lock() -> tuple[GpuSelection, Claim | None]:
        with registry.locked():
            selection = select(
                request, found, visible=visible, held=registry.holders(), loads=loads, preferred=preferred
            )
            claim = registry.claim(selection.hold, pid=os.getpid()) if selection.hold else None
        return dataclasses.replace(selection, records=_records(registry)), claim

    choosing = in_thread(choose_under_lock)
    try:
        return await asyncio.shield(choosing)
    except asyncio.CancelledError:
        choosing.add_done_callback(_give_back)
        raise


def _records(registry: Registry) -> tuple[str, ...]:
    with contextlib.suppress(OpenShellError):
        return registry.folders()
    return ()


def _give_back(choosing: asyncio.Future[tuple[GpuSelection, Claim | None]]) -> None:
    if not choosing.cancelled() and choosing.exception() is None:
        _, claim = choosing.result()
        if claim is not None:
            claim.release()


def _gpu(gpu: Gpu, there: Surroundings) -> GpuDevice:
    return GpuDevice(
        index=gpu.index,
        minor=gpu.minor,
        uuid=gpu.uuid,
        name=gpu.name,
        memory=gpu.memory,
        pci_address=gpu.pci_address,
        mig=gpu.mig,
        mig_devices=tuple(
            MigDevice(
                index=device.index,
                uuid=device.uuid,
                name=device.name,
                memory=device.memory,
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
