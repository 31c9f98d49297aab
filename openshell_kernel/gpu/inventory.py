"""What discovery found: GPUs, the driver, device nodes, and how sure that is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any

_PRESENT = frozenset({"/dev/nvidiactl", "/dev/dxg"})


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
class Gpu:
    """One GPU; what NVML would not tell is None.

    `index` is NVML's and can change between starts of the machine; `minor` names the node, /dev/nvidia<minor>.
    `memory` is in bytes; `pci_address` is written as in sysfs ("0000:65:00.0").
    """

    index: int
    minor: int | None = None
    uuid: str | None = None
    name: str | None = None
    memory: int | None = None
    pci_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The NVIDIA hardware of this machine.

    `detail` says in one sentence what was found or, with the remedy, why not; `cuda_version` is the newest that the
    driver supports; `nodes` are the device nodes that exist, whatever NVML said.
    """

    status: Status
    detail: str
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: tuple[Gpu, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        """Whether there is a GPU by OpenShell's rule: the driver's control node or WSL2's device exists."""
        return not _PRESENT.isdisjoint(self.nodes)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` gives the inventory back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Inventory:  # noqa: ANN401 - JSON values have no narrower type
        """Build an inventory from JSON values.

        Raises:
            ValueError: they are not an inventory's.
        """
        try:
            values = {**data, "gpus": tuple(Gpu(**gpu) for gpu in data["gpus"]), "nodes": tuple(data["nodes"])}
            return cls(**{**values, "status": Status(data["status"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"no inventory: {error!r}") from None
