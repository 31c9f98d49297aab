"""The machine's GPUs as a person reads of them: which this kernel was given, and who holds the others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.kernel.text import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from openshell_kernel.policy.effective import EffectivePolicy, GpuDevice, Holder, MigDevice


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
    return tuple(_devices(effective, tuple(holders)))


def summary(effective: EffectivePolicy) -> str:
    """Return in one line how many GPUs there are and how many this kernel was given, or why there are none."""
    hardware, selection = effective.hardware, effective.selection
    versions = ", ".join(
        f"{name} {version}"
        for name, version in (("driver", hardware.driver_version), ("CUDA", hardware.cuda_version))
        if version
    )
    trouble = "" if hardware.status == "ok" else f": {hardware.detail}"
    if not hardware.gpus:
        nodes = f"; {counted(len(hardware.nodes), 'device node')}" if hardware.nodes else ""
        if selection.request == "none":
            return "None: the policy says request: none"
        return f"None: {hardware.detail}{nodes}"
    shown = devices(effective)
    given = sum(device.given for device in shown)
    what = counted(len(shown), "GPU")
    if given < len(shown):
        what = f"{given} of {what} given"
        if selection.request == "none":
            what += ", as the policy says request: none"
    return what + (f", {versions}" if versions else "") + trouble


def _devices(effective: EffectivePolicy, holders: tuple[Holder, ...]) -> Iterator[Device]:
    for gpu in effective.hardware.gpus:
        node = f"/dev/nvidia{gpu.minor}"
        facts = (
            size(gpu.memory) if gpu.memory is not None else "",
            node if node in effective.hardware.nodes else f"minor {gpu.minor}" if gpu.minor is not None else "",
            f"PCI {gpu.pci_address}" if gpu.pci_address else "",
        )
        if not gpu.mig_devices:
            yield _device(effective, gpu, None, facts, holders)
        for device in gpu.mig_devices:
            own = (size(device.memory) if device.memory is not None else "", *facts[1:], *device.capabilities)
            yield _device(effective, gpu, device, own, holders)


def _device(
    effective: EffectivePolicy,
    gpu: GpuDevice,
    mig: MigDevice | None,
    facts: tuple[str, ...],
    holders: tuple[Holder, ...],
) -> Device:
    label = str(gpu.index) if mig is None else f"{gpu.index}:{mig.index}"
    uuid = (gpu.uuid if mig is None else mig.uuid) or ""
    name = (gpu.name if mig is None else mig.name) or "unnamed GPU"
    selection = effective.selection
    # Where nobody knows which node belongs to which GPU, all were given.
    given = label in selection.devices or (selection.granted and not selection.devices)
    return Device(
        label=label,
        name=name,
        facts=tuple(fact for fact in facts if fact),
        uuid=uuid,
        given=given,
        state=_state(effective, gpu, uuid, holders, given=given),
    )


def _state(effective: EffectivePolicy, gpu: GpuDevice, uuid: str, holders: tuple[Holder, ...], *, given: bool) -> str:
    if given:
        return "this kernel holds it" if uuid and uuid in effective.selection.hold else "this kernel"
    if gpu.fault:
        return f"out of order: {gpu.fault}"
    names = [f"{holder.name}, {holder.place}, since {holder.since}" for holder in holders if uuid in holder.uuids]
    return f"held by {' and '.join(names)}" if names else "not given to this kernel"
