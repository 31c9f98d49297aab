"""Which of a machine's GPUs a kernel is given: what the policy requests, and not what happens to be there, decides.

Pure. A GPU that is not selected is out of reach because its device node is not granted; CUDA_VISIBLE_DEVICES only
names the others in a stable order.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.effective import Family, GpuSelection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from openshell_kernel.policy.effective import GpuDevice, Hardware, Holder, MigDevice
    from openshell_kernel.policy.model import GpuPolicy

_NUMBERED = re.compile(r"/dev/nvidia[0-9]+")
_SHARED = re.compile(r"/dev/(dxg|nvmap|nvhost-.*|nvgpu/.*|host1x-fence)")
_PCI = re.compile(r"(?:([0-9a-f]+):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])")
_NOTHING = ("", "-1", "NoDevFiles")  # what CUDA_VISIBLE_DEVICES holds where no GPU is meant
_OK = "ok"
_SHORTEST_UUID = 5  # "GPU-" and a digit: like CUDA, we take the beginning of a UUID that fits one GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """What can be selected: a GPU, or a MIG device of one that is divided."""

    label: str
    gpu: GpuDevice
    mig: MigDevice | None
    nodes: tuple[str, ...]
    problem: str

    @property
    def uuid(self) -> str | None:
        return self.gpu.uuid if self.mig is None else self.mig.uuid

    def __str__(self) -> str:
        about = (self.mig or self.gpu).name, self.uuid, self.gpu.pci_address
        kind = "GPU" if self.mig is None else "MIG device"
        return f"{kind} {self.label} ({', '.join(fact for fact in about if fact)})"


def select(
    request: GpuPolicy,
    hardware: Hardware,
    *,
    visible: str | None = None,
    held: Iterable[Holder] = (),
    loads: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    preferred: Collection[str] = (),
) -> GpuSelection:
    """Return the GPUs for one kernel.

    Args:
        request: what the policy asks for.
        hardware: what there is.
        visible: the server's CUDA_VISIBLE_DEVICES; a kernel is never given a GPU that it leaves out.
        held: what other kernels hold; `count` passes over that.
        loads: how busy each UUID is, in percent of time and bytes of memory; `count` takes the least loaded.
        preferred: UUIDs that the same kernel held before its restart; `count` takes them first.

    Raises:
        PolicyError: what is required is not there, or there is no such device; the message names what there is.
    """
    if request.request == "none":
        return GpuSelection(request="none", visible="")
    choice = _Choice(
        request=request, hardware=hardware, visible=visible, held=tuple(held), loads=loads, preferred=preferred
    )
    return choice.selection()


class _Choice:
    def __init__(
        self,
        *,
        request: GpuPolicy,
        hardware: Hardware,
        visible: str | None,
        held: tuple[Holder, ...],
        loads: Mapping[str, tuple[float, float]],
        preferred: Collection[str],
    ) -> None:
        self._request = request
        self._required = request.request == "required"
        self._hardware = hardware
        self._held = held
        self._loads = loads
        self._preferred = preferred
        # The GPUs of WSL2 and Jetson have no nodes of their own.
        self._is_shared = shares_one_node(hardware)
        self._units = _units(hardware)
        self._allowed = _allowed(self._units, visible)
        self._nothing_allowed = visible is not None and visible.strip() in _NOTHING
        self._bounded = bool(self._units) and visible is not None
        self._notices: list[str] = []

    def selection(self) -> GpuSelection:
        if not self._hardware.present:
            if self._required:
                self._refuse("there is none")
            self._notice_absence()
            return GpuSelection(request=self._request.request, notices=tuple(self._notices))
        if self._request.devices:
            chosen = self._named()
        elif self._request.count is not None:
            chosen = self._counted(self._request.count)
        else:
            chosen = self._all()
        nodes = tuple(dict.fromkeys(node for unit in chosen for node in unit.nodes))
        unmapped = self._everything(chosen)
        granted = bool(chosen) or unmapped
        if unmapped:
            nodes = tuple(node for node in self._hardware.nodes if _NUMBERED.fullmatch(node))
        extras = tuple(self._extras(chosen, everything=unmapped)) if granted else ()
        return GpuSelection(
            request=self._request.request,
            granted=granted,
            devices=tuple(unit.label for unit in chosen),
            visible=self._visible(chosen, granted=granted),
            nodes=nodes,
            capabilities=tuple(node for unit in chosen if unit.mig for node in unit.mig.capabilities),
            extras=extras,
            hold=tuple(unit.uuid for unit in chosen if unit.uuid) if self._is_specific else (),
            held=self._held,
            notices=tuple(self._notices),
        )

    @property
    def _is_specific(self) -> bool:
        return bool(self._request.devices) or self._request.count is not None

    def _named(self) -> list[_Unit]:
        chosen: dict[str, _Unit] = {}
        for name in self._request.devices:
            found = _resolve(name, self._units)
            if not found:
                # A machine whose driver tells of all its GPUs has no such device: that is a mistake in the policy.
                if self._required or (self._units and self._hardware.status == _OK):
                    self._refuse(f"there is no GPU {name!r}")
                self._notices.append(f"GPU {name!r}, which the policy names, is not there: {self._hardware.detail}")
            for unit in found:
                problem = self._problem(unit)
                if not problem:
                    chosen[unit.label] = unit
                elif self._required:
                    self._refuse(f"{unit}: {problem}")
                else:
                    self._notices.append(f"{unit} is left out: {problem}")
        for unit in chosen.values():
            self._notices += [
                f"{unit} is also held by {describe(holder)}" for holder in self._held if unit.uuid in holder.uuids
            ]
        return list(chosen.values())

    def _counted(self, count: int) -> list[_Unit]:
        usable = self._usable()
        taken = {uuid for holder in self._held for uuid in holder.uuids}
        free = [unit for unit in usable if unit.uuid not in taken]
        order = sorted(free, key=self._rank)
        chosen = order[:count]
        if len(chosen) < count:
            held = "".join(
                f"; {', '.join(names)} {'is' if len(names) == 1 else 'are'} held by {describe(holder)}"
                for holder in self._held
                if (names := [f"GPU {unit.label}" for unit in usable if unit.uuid in holder.uuids])
            )
            left_out = "".join(f"; {notice}" for notice in self._notices)
            asked = f"the policy asks for {count}, and {len(chosen)} of {len(usable)} usable are free{held}{left_out}"
            if self._required:
                self._refuse(asked)
            self._notices = [f"not all GPUs are given that were asked for: {asked}"]
        return [unit for unit in self._units if unit in chosen]

    def _rank(self, unit: _Unit) -> tuple[bool, tuple[float, float]]:
        return unit.uuid not in self._preferred, self._loads.get(unit.uuid or "", (math.inf, math.inf))

    def _all(self) -> list[_Unit]:
        usable = self._usable()
        if self._required:
            if self._hardware.status != _OK and not self._is_shared:
                self._refuse(f"not all answer ({self._hardware.detail})" if self._units else "there is none")
            for unit in self._units:
                if unit in self._allowed and unit.problem:
                    self._refuse(f"{unit}: {unit.problem}")
            if self._units and not usable:
                self._refuse("the server's CUDA_VISIBLE_DEVICES leaves none")
            if not self._units and not self._is_shared:
                self._refuse("there is none")
        return usable

    def _usable(self) -> list[_Unit]:
        """Return the units without a problem, and tell of the others."""
        judged = [(unit, self._problem(unit)) for unit in self._allowed]
        self._notices += [f"{unit} is left out: {problem}" for unit, problem in judged if problem]
        return [unit for unit, problem in judged if not problem]

    def _problem(self, unit: _Unit) -> str:
        if unit not in self._allowed:
            return "the server's CUDA_VISIBLE_DEVICES leaves it out"
        if self._is_specific and not unit.nodes and not self._is_shared:
            return unit.problem or "NVML does not tell its minor, and so nobody knows which device node is its own"
        return unit.problem

    def _everything(self, chosen: Sequence[_Unit]) -> bool:
        """Return whether all nodes are meant, because nobody knows which belongs to which GPU: OpenShell's rule."""
        if self._is_specific or self._nothing_allowed:
            return False
        lacking_minor = any(unit.gpu.minor is None for unit in chosen) and not self._is_shared
        return not self._units or (lacking_minor and not self._bounded)

    def _visible(self, chosen: Sequence[_Unit], *, granted: bool) -> str | None:
        if not granted:
            return ""
        uuids = [unit.uuid for unit in chosen if unit.uuid]
        return ",".join(uuids) if chosen and len(uuids) == len(chosen) else None

    def _extras(self, chosen: Sequence[_Unit], *, everything: bool) -> Iterable[Family]:
        there = {family.name: family.paths for family in self._hardware.extras}
        addresses = {unit.gpu.pci_address for unit in chosen}
        there["dri"] = tuple(
            render.node for render in self._hardware.render_nodes if everything or render.pci_address in addresses
        )
        for name in dict.fromkeys(self._request.extras):
            if there.get(name):
                yield Family(name=name, paths=there[name])
            else:
                self._notices.append(f"the policy asks for the GPU extra {name}, and this machine has nothing of it")

    def _notice_absence(self) -> None:
        if self._is_specific or self._request.extras:
            self._notices.append(f"the policy asks for GPUs, and there is none: {self._hardware.detail}")

    def _refuse(self, why: str) -> NoReturn:
        if not self._units:
            there = f"this machine has no usable GPU: {self._hardware.detail}"
        else:
            there = f"this machine has {', '.join(map(str, self._units))}"
        raise PolicyError(
            f"jupyter.gpu: the GPUs that the policy asks for cannot be given: {why}; {there}. Change the request, wait "
            "for a GPU that is held, or set request: auto to start without"
        )


def describe(holder: Holder) -> str:
    """Return a holder in words."""
    return f"{holder.user} (process {holder.pid}, since {holder.since})"


def shares_one_node(hardware: Hardware) -> bool:
    """Return whether all GPUs are reached through the same nodes, so that selecting some is no boundary."""
    return any(_SHARED.fullmatch(node) for node in hardware.nodes)


def _units(hardware: Hardware) -> list[_Unit]:
    shared = shares_one_node(hardware)
    units = []
    for gpu in hardware.gpus:
        node = f"/dev/nvidia{gpu.minor}"
        nodes = (node,) if gpu.minor is not None and node in hardware.nodes else ()
        problem = f"NVML says {gpu.fault!r}" if gpu.fault else ""
        if not problem and not nodes and not shared and gpu.minor is not None:
            problem = f"its node {node} is missing: start the container with this GPU, or run nvidia-modprobe"
        if not gpu.mig:
            units.append(_Unit(label=str(gpu.index), gpu=gpu, mig=None, nodes=nodes, problem=problem))
        elif not gpu.mig_devices:
            missing = problem or "it is in MIG mode and has no MIG device: make one with nvidia-smi mig -cgi"
            units.append(_Unit(label=str(gpu.index), gpu=gpu, mig=None, nodes=nodes, problem=missing))
        for device in gpu.mig_devices:
            missing = problem
            if not missing and not device.capabilities:
                missing = "its nodes in /dev/nvidia-caps are missing: run nvidia-modprobe"
            units.append(_Unit(label=f"{gpu.index}:{device.index}", gpu=gpu, mig=device, nodes=nodes, problem=missing))
    return units


def _allowed(units: list[_Unit], visible: str | None) -> list[_Unit]:
    """Return the units that CUDA_VISIBLE_DEVICES names. Like CUDA, stop at the first that is none."""
    if visible is None:
        return units
    named: list[_Unit] = []
    if visible.strip() in _NOTHING:
        return named
    for name in visible.split(","):
        found = _resolve(name.strip(), units)
        if not found:
            break
        named += found
    return [unit for unit in units if unit in named]


def _resolve(name: str, units: Sequence[_Unit]) -> list[_Unit]:
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
