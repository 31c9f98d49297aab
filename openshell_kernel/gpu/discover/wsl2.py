"""WSL2: one device for all GPUs, which Windows drives. Its libraries lie in /usr/lib/wsl."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def nodes(tree: Tree) -> tuple[str, ...]:
    """Return the device."""
    return tree.devices("/dev", "dxg")
