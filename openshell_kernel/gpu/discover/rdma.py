"""RDMA: network cards that read and write the memory of GPUs, and GDRCopy, by which programs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def nodes(tree: Tree) -> tuple[str, ...]:
    """Return the nodes of InfiniBand verbs, of the connection manager and of GDRCopy."""
    return (*tree.devices("/dev/infiniband", r"uverbs[0-9]+|rdma_cm"), *tree.devices("/dev", "gdrdrv"))
