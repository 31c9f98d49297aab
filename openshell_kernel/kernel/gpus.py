"""The machine's GPUs as a person reads of them: which this kernel was given, and who holds the others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import MigDevice, Status
from openshell_kernel.kernel.text import counted, size
from openshell_kernel.policy.effective import GpuRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from openshell_kernel.base.claims import Holder
    from openshell_kernel.base.hardware import Gpu, Unit
    from openshell_kernel.policy.effective import EffectivePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU, or one MIG device, in words. `given` tells whether this kernel has it."""

    label: str
    name: str
    facts: tuple[str, ...]
    uuid: str
    given: bool
    state: str


def devices(effective: EffectivePolicy, holders: Iterable[Holder] = ()) -> tuple[Device, ...]:
    """Return the GPUs and MIG devices in the order of their indices."""
    held = tuple(holders)
    return tuple(_device(effective, unit, held) for unit in effective.hardware.units)


def summary(effective: EffectivePolicy) -> str:
    """Return in one line how many GPUs there are and how many this kernel was given, or why there are none."""
    hardware, selection = effective.hardware, effective.selection
    versions = ", ".join(
        f"{name} {version}"
        for name, version in (("driver", hardware.driver_version), ("CUDA", hardware.cuda_version))
        if version
    )
    trouble = "" if hardware.status is Status.OK else f": {hardware.detail}"
    if not hardware.gpus:
        nodes = f"; {counted(len(hardware.nodes), 'device node')}" if hardware.nodes else ""
        if selection.request is GpuRequest.NONE:
            return "None: the policy says request: none"
        return f"None: {hardware.detail}{nodes}"
    shown = devices(effective)
    given = sum(device.given for device in shown)
    what = counted(len(shown), "GPU")
    if given < len(shown):
        what = f"{given} of {what} given"
        if selection.request is GpuRequest.NONE:
            what += ", as the policy says request: none"
    return what + (f", {versions}" if versions else "") + trouble


def _device(effective: EffectivePolicy, unit: Unit, holders: tuple[Holder, ...]) -> Device:
    selection, uuid = effective.selection, unit.device.uuid or ""
    # Where nobody knows which node belongs to which GPU, all were given.
    given = unit.label in selection.devices or (selection.granted and not selection.devices)
    return Device(
        label=unit.label,
        name=unit.device.name or "unnamed GPU",
        facts=tuple(filter(None, _facts(unit, effective.hardware.nodes))),
        uuid=uuid,
        given=given,
        state=_state(effective, unit.gpu, uuid, holders, given=given),
    )


def _facts(unit: Unit, nodes: tuple[str, ...]) -> Iterator[str]:
    _, gpu, device = unit
    yield size(device.memory) if device.memory is not None else ""
    yield gpu.node if gpu.node and gpu.node in nodes else f"minor {gpu.minor}" if gpu.minor is not None else ""
    yield f"PCI {gpu.pci_address}" if gpu.pci_address else ""
    if isinstance(device, MigDevice):
        yield from device.capabilities


def _state(effective: EffectivePolicy, gpu: Gpu, uuid: str, holders: tuple[Holder, ...], *, given: bool) -> str:
    if given:
        return "this kernel holds it" if uuid and uuid in effective.selection.hold else "this kernel"
    if gpu.fault:
        return f"out of order: {gpu.fault}"
    names = [f"{holder.name}, {holder.place}, since {holder.since}" for holder in holders if uuid in holder.uuids]
    return f"held by {' and '.join(names)}" if names else "not given to this kernel"
