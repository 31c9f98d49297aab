"""The GPUs of a machine as values: discovery finds them, a policy selects among them, `%policy gpus` shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base.enums import StrEnum

if TYPE_CHECKING:
    from collections.abc import Iterator

# A Jetson's GPU, its memory and its engines: all of its GPUs are reached through the same nodes.
_JETSON = re.compile(r"/dev/(nvmap|nvhost-.*|nvgpu/.*|host1x-fence)")
_WSL2 = "/dev/dxg"


class Status(StrEnum):
    """How asking NVML, the driver's management library, ended."""

    OK = "ok"
    INCOMPLETE = "incomplete"  # it answered, but not for every GPU
    NO_LIBRARY = "no_library"
    NO_DRIVER = "no_driver"
    VERSION_MISMATCH = "version_mismatch"
    NO_PERMISSION = "no_permission"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    ERROR = "error"


class Extra(StrEnum):
    """The families of devices beside the GPUs, by the names that policies give them."""

    DISPLAY = "display"
    DRI = "dri"
    IMEX = "imex"
    NVSWITCH = "nvswitch"
    RDMA = "rdma"
    GDS = "gds"
    MPS = "mps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What programs use: a GPU, or a MIG device of one that is divided. What NVML would not tell is None.

    `index` is NVML's; it can change between starts of the machine. `memory` and what is `used` of it are in bytes, and
    `busy` is the share of time with work in percent; all three are of when NVML was asked.
    """

    index: int
    uuid: str | None = None
    name: str | None = None
    memory: int | None = None
    used: int = 0
    busy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice(Device):
    """One MIG device: a compute instance of a GPU instance, each by its number. `index` is its place on the GPU.

    `capabilities` are the two nodes that open it, or none where one of them is missing.
    """

    gpu_instance: int | None = None
    compute_instance: int | None = None
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu(Device):
    """One GPU.

    `minor` names its node. `pci_address` is written as in sysfs ("0000:65:00.0"). `mig` tells whether it is divided:
    then programs use `mig_devices`, of which there may be none yet. `fault` is what NVML said of a GPU that does not
    answer as it should, such as one that is lost.
    """

    minor: int | None = None
    pci_address: str | None = None
    mig: bool = False
    mig_devices: tuple[MigDevice, ...] = ()
    fault: str | None = None

    @property
    def node(self) -> str | None:
        """Its own device node, whether it is there or not; None where NVML does not tell the minor."""
        return None if self.minor is None else f"/dev/nvidia{self.minor}"


class Unit(NamedTuple):
    """What can be selected and held, by its label: "0" for a GPU, "1:2" for a MIG device; `gpu` is or holds it."""

    label: str
    gpu: Gpu
    device: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderNode:
    """A GPU's node in /dev/dri, by the GPU's PCI address."""

    pci_address: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The paths of one family of devices that are there."""

    name: Extra
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The NVIDIA hardware of a machine: what NVML said, and what the file system shows whatever NVML said.

    `detail` says in one sentence what NVML found or, with the remedy, why it did not. `cuda_version` is the newest that
    the driver supports.

    `present` tells whether there is a GPU at all by OpenShell's rule: a device node is enough, even if NVML fails.
    `nodes` are the device nodes of GPUs, `topology` folders of sysfs that tell how devices are connected,
    `pci_classes` files there that say what each PCI device is.
    """

    status: Status
    detail: str
    present: bool = False
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: tuple[Gpu, ...] = ()
    nodes: tuple[str, ...] = ()
    render_nodes: tuple[RenderNode, ...] = ()
    topology: tuple[str, ...] = ()
    pci_classes: tuple[str, ...] = ()
    extras: tuple[Family, ...] = ()

    @property
    def units(self) -> Iterator[Unit]:
        """The MIG devices of GPUs that are divided, and the other GPUs; a divided one itself while it has none."""
        for gpu in self.gpus:
            if not gpu.mig_devices:
                yield Unit(str(gpu.index), gpu, gpu)
            for device in gpu.mig_devices:
                yield Unit(f"{gpu.index}:{device.index}", gpu, device)

    @property
    def own_nodes(self) -> tuple[str, ...]:
        """The nodes that open one GPU or MIG device and no other."""
        nodes = (gpu.node for gpu in self.gpus if gpu.node)
        return (*nodes, *(node for gpu in self.gpus for device in gpu.mig_devices for node in device.capabilities))

    @property
    def jetson_nodes(self) -> tuple[str, ...]:
        """The nodes of a Jetson."""
        return tuple(filter(_JETSON.fullmatch, self.nodes))

    @property
    def shares_nodes(self) -> bool:
        """Whether all GPUs are reached through the same nodes, so that selecting some is no boundary."""
        return bool(self.jetson_nodes) or _WSL2 in self.nodes

    def paths_of(self, extra: Extra) -> tuple[str, ...]:
        """Return what is there of a family of devices."""
        return next((family.paths for family in self.extras if family.name is extra), ())
