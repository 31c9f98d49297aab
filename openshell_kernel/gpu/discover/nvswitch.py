"""NVSwitch and NVLink: the fabric between the GPUs of one machine, as its management sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def nodes(tree: Tree) -> tuple[str, ...]:
    """Return the switches' nodes, their control node, and NVLink's."""
    return tree.devices("/dev", r"nvidia-nvswitch[0-9]+|nvidia-nvswitchctl|nvidia-nvlink")
