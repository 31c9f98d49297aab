"""MIG: the capability nodes that open GPU instances and compute instances.

Source: NVIDIA's MIG user guide, "Device Nodes and Capabilities": /proc/driver/nvidia-caps/mig-minors maps
`gpu<minor>/gi<N>[/ci<N>]/access` to the minor of a node in /dev/nvidia-caps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from openshell_kernel.gpu.inventory import Capability

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree

_LINE = re.compile(r"gpu([0-9]+)/gi([0-9]+)(?:/ci([0-9]+))?/access ([0-9]+)")


def capabilities(tree: Tree) -> tuple[Capability, ...]:
    """Return the capabilities whose nodes exist.

    The file lists a minor for every instance that could ever be made; the nodes are made with the instances.
    """
    found = []
    for line in tree.text("/proc/driver/nvidia-caps/mig-minors").splitlines():
        match = _LINE.fullmatch(line.strip())
        node = f"/dev/nvidia-caps/nvidia-cap{match[4]}" if match else ""
        if match and tree.is_device(node):
            compute = None if match[3] is None else int(match[3])
            found.append(Capability(gpu=int(match[1]), gpu_instance=int(match[2]), compute_instance=compute, node=node))
    return tuple(found)


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
