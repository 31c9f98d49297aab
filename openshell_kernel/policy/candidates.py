"""What can be selected: the GPUs and MIG devices of a machine, by the names that policies and CUDA give them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import Gpu, MigDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openshell_kernel.base.hardware import Device, Hardware

_PCI = re.compile(r"(?:([0-9a-f]+):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])")
_NOTHING = ("", "-1", "NoDevFiles")  # what CUDA_VISIBLE_DEVICES holds where no GPU is meant
_SHORTEST_UUID = 5  # "GPU-" and a digit: like CUDA, we take the beginning of a UUID that fits one GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A GPU, or a MIG device of one that is divided, with its nodes; `problem` says why it cannot be given."""

    label: str
    gpu: Gpu
    device: Device
    nodes: tuple[str, ...]
    problem: str

    @property
    def uuid(self) -> str | None:
        """Its UUID, where NVML tells it."""
        return self.device.uuid

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The nodes that open a MIG device."""
        return self.device.capabilities if isinstance(self.device, MigDevice) else ()

    @property
    def key(self) -> str:
        """What tells it from the others of the machine, for every kernel alike."""
        whole = self.gpu.pci_address or next(iter(self.nodes), self.label)
        return self.uuid or (whole if self.device is self.gpu else f"{whole}/{self.device.index}")

    @property
    def load(self) -> tuple[int, int]:
        """How busy it is, and then how much of its memory is in use."""
        return self.device.busy, self.device.used

    def __str__(self) -> str:
        about = self.device.name, self.uuid, self.gpu.pci_address
        kind = "GPU" if self.device is self.gpu else "MIG device"
        return f"{kind} {self.label} ({', '.join(fact for fact in about if fact)})"


def candidates(hardware: Hardware) -> list[Candidate]:
    """Return all units of a machine, those that cannot be given among them."""
    units: list[Candidate] = []
    for label, gpu, device in hardware.units:
        nodes = (gpu.node,) if gpu.node and gpu.node in hardware.nodes else ()
        twice = any(unit.gpu is not gpu and nodes and unit.nodes == nodes for unit in units)
        problem = f"NVML names {gpu.node} as the node of two GPUs" if twice else _trouble(gpu, hardware)
        problem = problem or _trouble_of_mig(device)
        units.append(Candidate(label=label, gpu=gpu, device=device, nodes=nodes, problem=problem))
    return units


def _trouble(gpu: Gpu, hardware: Hardware) -> str:
    """Return why a GPU cannot be used, with all of its MIG devices."""
    if gpu.fault:
        return f"NVML says {gpu.fault!r}"
    if gpu.node and gpu.node not in hardware.nodes and not hardware.shares_nodes:
        return f"its node {gpu.node} is missing: start the container with this GPU, or run nvidia-modprobe"
    return ""


def _trouble_of_mig(device: Device) -> str:
    if isinstance(device, Gpu) and device.mig:
        return "it is in MIG mode and has no MIG device: make one with nvidia-smi mig -cgi"
    if isinstance(device, MigDevice) and not device.capabilities:
        return "its nodes in /dev/nvidia-caps are missing: run nvidia-modprobe"
    return ""


def allowed(units: list[Candidate], visible: str | None) -> list[Candidate]:
    """Return the units that CUDA_VISIBLE_DEVICES names. Like CUDA, stop at the first that is none."""
    if visible is None:
        return units
    named: list[Candidate] = []
    if leaves_none(visible):
        return named
    for name in visible.split(","):
        found = resolve(name.strip(), units)
        if not found:
            break
        named += found
    return [unit for unit in units if unit in named]


def leaves_none(visible: str) -> bool:
    """Return whether a value of CUDA_VISIBLE_DEVICES means no GPU."""
    return visible.strip() in _NOTHING


def names_by_number(visible: str) -> bool:
    """Return whether a value of CUDA_VISIBLE_DEVICES names GPUs by their numbers."""
    return any(name.strip().isdecimal() for name in visible.split(","))


def resolve(name: str, units: Sequence[Candidate]) -> list[Candidate]:
    """Return the units that a name means: those of a divided GPU are all meant by its own name."""
    wanted = name.lower()
    address = _PCI.fullmatch(wanted)
    if address:
        domain = int(address[1] or "0", 16)
        canonical = f"{domain:04x}:{address[2]}"
        return [unit for unit in units if unit.gpu.pci_address == canonical]
    if not wanted.startswith(("gpu-", "mig-")):
        return [unit for unit in units if wanted in (unit.label, str(unit.gpu.index))]
    if len(wanted) < _SHORTEST_UUID:
        return []
    known = {uuid for unit in units for uuid in (unit.uuid, unit.gpu.uuid) if uuid}
    begun = [uuid for uuid in known if uuid.lower().startswith(wanted)]
    meant = next((uuid for uuid in known if uuid.lower() == wanted), begun[0] if len(begun) == 1 else None)
    return [unit for unit in units if meant and meant in (unit.uuid, unit.gpu.uuid)]
