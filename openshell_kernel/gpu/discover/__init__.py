"""What a machine has for GPUs besides NVML's answer: one small discoverer for each family of nodes.

Each looks at a `Tree` and returns paths; what may be done with them is the policy's to say. The families are those of
NVIDIA's container toolkit and driver documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openshell_kernel.gpu.discover import (
    display,
    dri,
    gds,
    imex,
    jetson,
    mig,
    mps,
    native,
    nvswitch,
    rdma,
    topology,
    wsl2,
)
from openshell_kernel.gpu.inventory import Surroundings

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def survey(tree: Tree, *, mps_pipes: str | None = None) -> Surroundings:
    """Return everything that the discoverers find. `mps_pipes` is the server's CUDA_MPS_PIPE_DIRECTORY."""
    return Surroundings(
        nodes=(*wsl2.nodes(tree), *native.nodes(tree), *jetson.nodes(tree)),
        capabilities=mig.capabilities(tree),
        render_nodes=dri.render_nodes(tree),
        topology=topology.folders(tree),
        pci_classes=topology.pci_classes(tree),
        extras=(
            ("display", display.paths(tree)),
            ("imex", imex.nodes(tree)),
            ("nvswitch", nvswitch.nodes(tree)),
            ("rdma", rdma.nodes(tree)),
            ("gds", gds.nodes(tree)),
            ("mps", mps.folder(tree, mps_pipes)),
        ),
    )
