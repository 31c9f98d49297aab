"""GPUDirect Storage: disks that read into and write from the memory of GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def nodes(tree: Tree) -> tuple[str, ...]:
    """Return the nodes of the nvidia-fs driver."""
    return tree.devices("/dev", r"nvidia-fs[0-9]+")
