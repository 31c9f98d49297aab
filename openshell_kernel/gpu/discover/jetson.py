"""Jetson (Tegra): a GPU on the chip, reached through the memory manager and the host1x engines.

Source: the CSV files by which NVIDIA's container toolkit finds a Jetson's devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def nodes(tree: Tree) -> tuple[str, ...]:
    """Return the nodes, also those in the folders of /dev/nvgpu, one a GPU."""
    folders = [f"/dev/nvgpu/{name}" for name in tree.names("/dev/nvgpu")]
    return (
        *tree.devices("/dev", r"nvmap|nvhost-[a-z0-9-]+|host1x-fence"),
        *(path for folder in folders for path in tree.devices(folder, r"[a-z0-9-]+")),
    )
