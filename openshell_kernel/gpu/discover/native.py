"""The driver's own device nodes: one for each GPU, named by its minor, and those for all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree

# The GPUs' nodes have a number, and no other has; bare /dev/nvidia is none.
_NAMES = r"nvidia[0-9]+|nvidiactl|nvidia-uvm|nvidia-uvm-tools|nvidia-modeset"
_NUMBERED = re.compile(r"/dev/nvidia[0-9]+")


def nodes(tree: Tree) -> tuple[str, ...]:
    """Return the GPUs' nodes and the control nodes, in natural order.

    Control nodes alone, without a driver, are what a library of the driver left that was asked as root.
    """
    found = tree.devices("/dev", _NAMES)
    is_driven = any(map(_NUMBERED.fullmatch, found)) or tree.exists("/proc/driver/nvidia")
    return found if is_driven else ()


def signature(tree: Tree) -> tuple[object, ...]:
    """Return a value that changes when nodes, their permissions, the driver or its set of GPUs change.

    It asks Linux only, never a GPU: it cannot hang and does not wake one.
    """
    found = []
    for path in nodes(tree):
        status = tree.status(path)
        found.append((path, status and (status.st_dev, status.st_ino, status.st_ctime_ns)))
    # A module that was loaded again is a new folder of sysfs.
    module = tree.status("/sys/module/nvidia")
    return (*found, module and module.st_ino, *tree.names("/proc/driver/nvidia/gpus"))
