"""What discovery found: GPUs, the driver, device nodes, and how sure that is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(str, Enum):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice:
    """One MIG device: a compute instance of a GPU instance; see `Gpu`. What NVML would not tell is None."""

    index: int
    uuid: str | None = None
    name: str | None = None
    memory: int | None = None
    used: int = 0
    busy: int = 0
    gpu_instance: int | None = None
    compute_instance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; what NVML would not tell is None.

    `index` is NVML's and can change between starts of the machine; `minor` names the node, /dev/nvidia<minor>.
    `memory` is in bytes, and so is what is `used` of it; `busy` is the share of time with work, in percent; both are of
    when NVML was asked. `pci_address` is written as in sysfs ("0000:65:00.0"). `mig` tells whether the GPU is
    divided: then programs use `mig_devices`, of which there may be none yet. `fault` is what NVML said of a GPU that
    does not answer as it should, such as one that is lost.
    """

    index: int
    minor: int | None = None
    uuid: str | None = None
    name: str | None = None
    memory: int | None = None
    used: int = 0
    busy: int = 0
    pci_address: str | None = None
    mig: bool = False
    mig_devices: tuple[MigDevice, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """The node that opens one MIG instance of the GPU with this minor; a GPU instance's own has no compute instance."""

    gpu: int
    gpu_instance: int
    compute_instance: int | None
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderNode:
    """A GPU's node in /dev/dri."""

    pci_address: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the file system shows, whatever NVML says.

    `nodes` are the device nodes of GPUs; `topology` are folders of sysfs, `pci_classes` the files there that say
    what each PCI device is; `extras` maps the families that a policy
    may ask for to the paths that are there.
    """

    nodes: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    render_nodes: tuple[RenderNode, ...] = ()
    topology: tuple[str, ...] = ()
    pci_classes: tuple[str, ...] = ()
    extras: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What NVML said.

    `detail` says in one sentence what was found or, with the remedy, why not; `cuda_version` is the newest that the
    driver supports.
    """

    status: Status
    detail: str
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: tuple[Gpu, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` gives the answer back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Answer:  # noqa: ANN401 - JSON values have no narrower type
        """Build an answer from JSON values.

        Raises:
            ValueError: they are not an answer's.
        """
        try:
            gpus = tuple(
                Gpu(**{**gpu, "mig_devices": tuple(MigDevice(**device) for device in gpu["mig_devices"])})
                for gpu in data["gpus"]
            )
            return cls(**{**data, "status": Status(data["status"]), "gpus": gpus})
        except (KeyError, TypeError) as error:
            raise ValueError(f"no answer of NVML's: {error!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The NVIDIA hardware of this machine: what NVML said, and what is there whatever it said."""

    answer: Answer
    surroundings: Surroundings = field(default_factory=Surroundings)
