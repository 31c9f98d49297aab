"""What a machine has for GPUs besides NVML's answer: one small discoverer for each family of nodes.

Each looks at a `Tree` and returns paths; what may be done with them is the policy's to say. The families are those of
NVIDIA's container toolkit and driver documentation.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from openshell_kernel.base.hardware import Extra, Family
from openshell_kernel.gpu.discover import by_name, display, dri, jetson, mig, mps, native, topology

if TYPE_CHECKING:
    from openshell_kernel.base.hardware import Hardware
    from openshell_kernel.gpu.tree import Tree

# OpenShell's rule, and Jetson's devices: without one of these no GPU can be used.
_PRESENT = re.compile(r"/dev/(nvidiactl|dxg|nvmap|nvhost-.*|nvgpu/.*)")


def survey(answer: Hardware, tree: Tree, *, mps_pipes: str | None = None) -> Hardware:
    """Return NVML's answer with everything that the discoverers find added to it.

    `mps_pipes` is the server's CUDA_MPS_PIPE_DIRECTORY.
    """
    nodes = (*by_name.nodes(tree, by_name.WSL2), *native.nodes(tree), *jetson.nodes(tree))
    return dataclasses.replace(
        answer,
        present=any(map(_PRESENT.fullmatch, nodes)),
        gpus=mig.with_capabilities(answer.gpus, tree),
        nodes=nodes,
        render_nodes=dri.render_nodes(tree),
        topology=topology.folders(tree),
        pci_classes=topology.pci_classes(tree),
        extras=(
            Family(name=Extra.DISPLAY, paths=display.paths(tree)),
            *(Family(name=name, paths=by_name.nodes(tree, family)) for name, family in by_name.EXTRAS.items()),
            Family(name=Extra.MPS, paths=mps.folder(tree, mps_pipes)),
        ),
    )
