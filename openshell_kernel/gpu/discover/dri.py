"""Render nodes: a GPU's own node for OpenGL, Vulkan and video, without the right to change what screens show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import RenderNode

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree

_NVIDIA = "0x10de"


def render_nodes(tree: Tree) -> tuple[RenderNode, ...]:
    """Return the render nodes of NVIDIA's GPUs with the PCI addresses that they belong to, as sysfs tells.

    Never /dev/dri itself, never card*, which sets display modes, and no render node of another vendor's GPU.
    """
    devices = "/sys/bus/pci/devices"
    return tuple(
        RenderNode(pci_address=address, node=f"/dev/dri/{name}")
        for address in tree.names(devices)
        if tree.text(f"{devices}/{address}/vendor").strip() == _NVIDIA
        for name in tree.names(f"{devices}/{address}/drm")
        if re.fullmatch(r"renderD[0-9]+", name) and tree.is_device(f"/dev/dri/{name}")
    )
