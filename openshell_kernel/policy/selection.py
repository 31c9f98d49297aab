"""Which of a machine's GPUs a kernel is given: what the policy requests, and not what happens to be there, decides.

Pure. The device node of a GPU that is not selected is not granted; CUDA_VISIBLE_DEVICES only names the others in a
stable order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import Extra, Family, Status
from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.candidates import allowed, candidates, leaves_none, names_by_number, resolve
from openshell_kernel.policy.effective import GpuRequest, GpuSelection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from openshell_kernel.base.claims import Holder
    from openshell_kernel.base.hardware import Hardware
    from openshell_kernel.policy.candidates import Candidate
    from openshell_kernel.policy.model import GpuPolicy

_NUMBERED = re.compile(r"/dev/nvidia[0-9]+")
_UVM = "/dev/nvidia-uvm"


def select(
    request: GpuPolicy,
    hardware: Hardware,
    *,
    visible: str | None = None,
    held: Iterable[Holder] = (),
    preferred: Collection[str] = (),
) -> GpuSelection:
    """Return the GPUs for one kernel.

    Args:
        request: what the policy asks for.
        hardware: what there is.
        visible: the server's CUDA_VISIBLE_DEVICES; a kernel is never given a GPU that it leaves out.
        held: what other kernels hold; `count` passes over that, and takes the least loaded of the others.
        preferred: what the same kernel held before its restart; `count` takes that first.

    Raises:
        PolicyError: what is required is not there, or there is no such device; the message names what there is.
    """
    if request.request is GpuRequest.NONE:
        return GpuSelection(request=GpuRequest.NONE, visible="")
    choice = _Choice(request=request, hardware=hardware, visible=visible, held=tuple(held), preferred=preferred)
    return choice.selection()


class _Choice:
    def __init__(
        self,
        *,
        request: GpuPolicy,
        hardware: Hardware,
        visible: str | None,
        held: tuple[Holder, ...],
        preferred: Collection[str],
    ) -> None:
        self._request = request
        self._required = request.request is GpuRequest.REQUIRED
        self._hardware = hardware
        self._held = held
        self._preferred = preferred
        # The GPUs of WSL2 and Jetson have no nodes of their own.
        self._is_shared = hardware.shares_nodes
        self._units = candidates(hardware)
        self._allowed = allowed(self._units, visible)
        self._visible_to_server = visible
        self._notices: list[str] = []
        if visible is not None and names_by_number(visible) and len({gpu.name for gpu in hardware.gpus}) > 1:
            self._notices.append(
                f"the server's CUDA_VISIBLE_DEVICES, {visible!r}, was read with NVML's numbers, which follow "
                "the PCI addresses. CUDA counts the fastest GPU first, unless CUDA_DEVICE_ORDER is PCI_BUS_ID: "
                "write UUIDs there"
            )

    def selection(self) -> GpuSelection:
        if not self._hardware.present:
            if self._required:
                raise self._error("there is none")
            self._notice_absence()
            return GpuSelection(request=self._request.request, notices=tuple(self._notices))
        chosen = self._chosen()
        unmapped = self._everything(chosen)
        granted = bool(chosen) or unmapped
        nodes = self._nodes(chosen, everything=unmapped)
        extras = tuple(self._extras(chosen, everything=unmapped)) if granted else ()
        self._notice_timeout()
        return GpuSelection(
            request=self._request.request,
            granted=granted,
            devices=tuple(unit.label for unit in chosen),
            visible=self._visible(chosen, granted=granted),
            nodes=nodes,
            capabilities=tuple(node for unit in chosen for node in unit.capabilities),
            extras=extras,
            hold=tuple(unit.key for unit in chosen) if self._is_specific else (),
            held=self._held,
            notices=tuple(self._notices),
        )

    def _chosen(self) -> list[Candidate]:
        if self._request.devices:
            return self._named()
        return self._all() if self._request.count is None else self._counted(self._request.count)

    def _nodes(self, chosen: Sequence[Candidate], *, everything: bool) -> tuple[str, ...]:
        """Return the device nodes of the GPUs' own."""
        nodes = tuple(dict.fromkeys(node for unit in chosen for node in unit.nodes))
        if everything:
            nodes = tuple(filter(_NUMBERED.fullmatch, self._hardware.nodes))
        if nodes and not self._is_shared and _UVM not in self._hardware.nodes:
            self._notices.append(
                f"{_UVM} is missing, and CUDA does not start without it. Nothing in the sandbox can create it: "
                "run nvidia-modprobe -u -c 0, or start the container with it, and restart the kernel"
            )
        return nodes

    @property
    def _is_specific(self) -> bool:
        return bool(self._request.devices) or self._request.count is not None

    def _named(self) -> list[Candidate]:
        chosen: dict[str, Candidate] = {}
        for name in self._request.devices:
            found = resolve(name, self._units)
            if not found:
                # A machine whose driver tells of all its GPUs has no such device: that is a mistake in the policy.
                if self._required or (self._units and self._hardware.status is Status.OK):
                    raise self._error(f"there is no GPU {name!r}")
                self._notices.append(f"GPU {name!r}, which the policy names, is not there: {self._hardware.detail}")
            for unit in found:
                problem = self._problem(unit)
                if not problem:
                    chosen[unit.label] = unit
                elif self._required:
                    raise self._error(f"{unit}: {problem}")
                else:
                    self._notices.append(f"{unit} is left out: {problem}")
        for unit in chosen.values():
            self._notices += [
                f"{unit} is also held by {holder.describe()}" for holder in self._held if unit.key in holder.uuids
            ]
        return list(chosen.values())

    def _counted(self, count: int) -> list[Candidate]:
        usable = self._usable()
        taken = {uuid for holder in self._held for uuid in holder.uuids}
        free = [unit for unit in usable if unit.key not in taken]
        order = sorted(free, key=self._rank)
        chosen = order[:count]
        if len(chosen) < count:
            held = "".join(
                f"; {', '.join(names)} {'is' if len(names) == 1 else 'are'} held by {holder.describe()}"
                for holder in self._held
                if (names := [f"GPU {unit.label}" for unit in usable if unit.key in holder.uuids])
            )
            left_out = "".join(f"; {notice}" for notice in self._notices)
            asked = f"the policy asks for {count}, and {len(chosen)} of {len(usable)} usable are free{held}{left_out}"
            if self._required:
                raise self._error(asked)
            self._notices = [f"not all GPUs that were asked for are given: {asked}"]
        return [unit for unit in self._units if unit in chosen]

    def _rank(self, unit: Candidate) -> tuple[bool, tuple[int, int]]:
        return unit.key not in self._preferred, unit.load

    def _all(self) -> list[Candidate]:
        usable = self._usable()
        if self._required:
            if self._hardware.status is not Status.OK and not self._is_shared:
                raise self._error(f"not all answer ({self._hardware.detail})" if self._units else "there is none")
            for unit in self._units:
                if unit in self._allowed and unit.problem:
                    raise self._error(f"{unit}: {unit.problem}")
            if self._units and not usable:
                raise self._error("the server's CUDA_VISIBLE_DEVICES leaves none")
            if not self._units and not self._is_shared:
                raise self._error("there is none")
        return usable

    def _usable(self) -> list[Candidate]:
        """Return the units without a problem, and tell of the others."""
        judged = [(unit, self._problem(unit)) for unit in self._allowed]
        self._notices += [f"{unit} is left out: {problem}" for unit, problem in judged if problem]
        return [unit for unit, problem in judged if not problem]

    def _problem(self, unit: Candidate) -> str:
        if unit not in self._allowed:
            return "the server's CUDA_VISIBLE_DEVICES leaves it out"
        if not unit.nodes and not self._is_shared and (self._is_specific or self._visible_to_server is not None):
            return unit.problem or "NVML does not say its minor number, so nobody knows its device node"
        return unit.problem

    def _everything(self, chosen: Sequence[Candidate]) -> bool:
        """Return whether all nodes are meant, because nobody knows which belongs to which GPU: OpenShell's rule.

        Not where the server's variable leaves some out, and nobody can tell which.
        """
        if self._is_specific:
            return False
        if self._units:
            return not self._is_shared and any(unit.gpu.minor is None for unit in chosen)
        if self._visible_to_server is None:
            return True
        if not leaves_none(self._visible_to_server):
            self._notices.append(
                f"no GPU is given: the server's CUDA_VISIBLE_DEVICES, {self._visible_to_server!r}, allows only "
                f"some, but which device nodes are theirs is unknown ({self._hardware.detail})"
            )
        return False

    def _visible(self, chosen: Sequence[Candidate], *, granted: bool) -> str | None:
        if not granted:
            return ""
        uuids = [unit.uuid for unit in chosen if unit.uuid]
        return ",".join(uuids) if chosen and len(uuids) == len(chosen) else None

    def _extras(self, chosen: Sequence[Candidate], *, everything: bool) -> Iterable[Family]:
        for name in dict.fromkeys(self._request.extras):
            paths = self._render_nodes(chosen, everything) if name is Extra.DRI else self._hardware.paths_of(name)
            if paths:
                yield Family(name=name, paths=paths)
            else:
                self._notices.append(f"the policy asks for the GPU extra {name}, but this machine has none of it")

    def _render_nodes(self, chosen: Sequence[Candidate], everything: bool) -> tuple[str, ...]:
        addresses = {unit.gpu.pci_address for unit in chosen}
        found = self._hardware.render_nodes
        return tuple(render.node for render in found if everything or render.pci_address in addresses)

    def _notice_absence(self) -> None:
        if self._is_specific or self._request.extras:
            self._notices.append(f"the policy asks for GPUs, but there is none: {self._hardware.detail}")

    def _notice_timeout(self) -> None:
        detail = self._hardware.detail
        if self._hardware.status is Status.TIMEOUT and not any(detail in said for said in self._notices):
            self._notices.append(detail)

    def _error(self, why: str) -> PolicyError:
        if not self._units:
            there = f"this machine has no usable GPU: {self._hardware.detail}"
        else:
            there = f"this machine has {', '.join(map(str, self._units))}"
        return PolicyError(
            f"jupyter.gpu: the GPUs that the policy asks for are not available: {why}; {there}. Change the "
            "request, wait until a held GPU is free, or set request: auto to start without"
        )
