"""The families of device nodes that are told by their names alone: a folder, and a pattern of whole names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from openshell_kernel.base.hardware import Extra

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


class Names(NamedTuple):
    """A folder, and a regular expression for the names of nodes in it."""

    folder: str
    pattern: str


WSL2 = (Names("/dev", r"dxg"),)
"""One device for all GPUs, which Windows drives. Its libraries lie in /usr/lib/wsl."""

EXTRAS = {
    # Channels through which GPUs of several machines share memory over NVLink.
    Extra.IMEX: (Names("/dev/nvidia-caps-imex-channels", r"channel[0-9]+"),),
    # The fabric between the GPUs of one machine, as its management sees it, its control node, and NVLink's.
    Extra.NVSWITCH: (Names("/dev", r"nvidia-nvswitch[0-9]+|nvidia-nvswitchctl|nvidia-nvlink"),),
    # Network cards that read and write the memory of GPUs, their connection manager, and GDRCopy.
    Extra.RDMA: (Names("/dev/infiniband", r"uverbs[0-9]+|rdma_cm"), Names("/dev", r"gdrdrv")),
    # GPUDirect Storage: disks that read into and write from the memory of GPUs, by the nvidia-fs driver.
    Extra.GDS: (Names("/dev", r"nvidia-fs[0-9]+"),),
}


def nodes(tree: Tree, family: tuple[Names, ...]) -> tuple[str, ...]:
    """Return the nodes of a family, in natural order for each folder."""
    return tuple(path for names in family for path in tree.devices(names.folder, names.pattern))
