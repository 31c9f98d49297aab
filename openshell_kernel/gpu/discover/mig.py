"""MIG: the capability nodes that open GPU instances and compute instances.

Source: NVIDIA's MIG user guide, "Device Nodes and Capabilities": /proc/driver/nvidia-caps/mig-minors maps
`gpu<minor>/gi<N>[/ci<N>]/access` to the minor of a node in /dev/nvidia-caps.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openshell_kernel.base.hardware import Gpu, MigDevice
    from openshell_kernel.gpu.tree import Tree

_LINE = re.compile(r"gpu([0-9]+)/gi([0-9]+)(?:/ci([0-9]+))?/access ([0-9]+)")

Instance = tuple[int | None, int | None, int | None]
"""A GPU's minor, a GPU instance and a compute instance, which is None for the GPU instance itself."""


def capabilities(tree: Tree) -> dict[Instance, str]:
    """Return the nodes that exist, each by the instance that it opens.

    The file lists a minor for every instance that could ever be made; the nodes are made with the instances.
    """
    found: dict[Instance, str] = {}
    for line in tree.text("/proc/driver/nvidia-caps/mig-minors").splitlines():
        match = _LINE.fullmatch(line.strip())
        node = f"/dev/nvidia-caps/nvidia-cap{match[4]}" if match else ""
        if match and tree.is_device(node):
            found[int(match[1]), int(match[2]), None if match[3] is None else int(match[3])] = node
    return found


def with_capabilities(gpus: Iterable[Gpu], tree: Tree) -> tuple[Gpu, ...]:
    """Return the GPUs, and with each MIG device the nodes that open it."""
    nodes = capabilities(tree)

    def opened(gpu: Gpu, device: MigDevice) -> MigDevice:
        return dataclasses.replace(device, capabilities=_of(gpu.minor, device, nodes))

    return tuple(
        dataclasses.replace(gpu, mig_devices=tuple(opened(gpu, device) for device in gpu.mig_devices)) for gpu in gpus
    )


def _of(minor: int | None, device: MigDevice, nodes: Mapping[Instance, str]) -> tuple[str, ...]:
    """Return two nodes, the GPU instance's and the compute instance's: one alone opens nothing."""
    if device.compute_instance is None:
        return ()
    wanted = [(minor, device.gpu_instance, instance) for instance in (None, device.compute_instance)]
    return tuple(nodes[key] for key in wanted) if all(key in nodes for key in wanted) else ()


def signature(tree: Tree) -> tuple[object, ...]:
    """Return a value that changes when instances are made, removed or made anew."""
    folder = "/proc/driver/nvidia/capabilities"
    instances = [
        (gpu, instance, *tree.names(f"{folder}/{gpu}/mig/{instance}"))
        for gpu in tree.names(folder)
        for instance in tree.names(f"{folder}/{gpu}/mig")
    ]
    nodes = [(name, tree.status(f"/dev/nvidia-caps/{name}")) for name in tree.names("/dev/nvidia-caps")]
    return (*instances, *((name, status and (status.st_ino, status.st_ctime_ns)) for name, status in nodes))
