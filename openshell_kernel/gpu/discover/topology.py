"""How the machine's devices are connected, as sysfs tells: CUDA and NCCL plan by it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def folders(tree: Tree) -> tuple[str, ...]:
    """Return the folders of the PCI host bridges, beneath which are all PCI devices."""
    return tuple(f"/sys/devices/{name}" for name in tree.names("/sys/devices") if re.fullmatch(r"pci[0-9a-f:]+", name))
