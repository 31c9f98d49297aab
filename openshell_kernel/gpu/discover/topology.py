"""How the machine's devices are connected, as sysfs tells: CUDA and NCCL plan by it.

The folders of sysfs in which devices are listed hold links only, so what they lead to has to be readable as well.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from openshell_kernel.base.paths import is_beneath

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openshell_kernel.gpu.tree import Tree

_DEVICES = "/sys/devices"
_PCI = "/sys/bus/pci/devices"
# Hyper-V has bridges deeper down, one for each PCI device that a virtual machine is given.
_BRIDGE = re.compile(rf"({_DEVICES}/(?:[^/]+/)*?pci[0-9a-f:]+)/.*")


def folders(tree: Tree) -> tuple[str, ...]:
    """Return the folders of the PCI host bridges, beneath which are all PCI devices, and of network interfaces."""
    named = [f"{_DEVICES}/{name}" for name in tree.names(_DEVICES) if re.fullmatch(r"pci[0-9a-f:]+", name)]
    linked = [match[1] for match in map(_BRIDGE.fullmatch, _linked(tree, _PCI)) if match]
    bridges = dict.fromkeys((*named, *linked))
    interfaces = [path for path in _linked(tree, "/sys/class/net") if not _BRIDGE.fullmatch(path)]
    return (*bridges, *dict.fromkeys(map(os.path.dirname, interfaces)))


def pci_classes(tree: Tree) -> tuple[str, ...]:
    """Return the files that say what each PCI device is."""
    return tuple(path for name in tree.names(_PCI) if tree.exists(path := f"{_PCI}/{name}/class"))


def _linked(tree: Tree, folder: str) -> Iterable[str]:
    """Yield where the links of a folder lead, as far as that is a device's place."""
    for name in tree.names(folder):
        path = tree.link(f"{folder}/{name}")
        if path is not None and is_beneath(path, _DEVICES):
            yield path
