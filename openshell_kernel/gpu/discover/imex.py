"""IMEX: channels through which GPUs of several machines share memory over NVLink."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree


def nodes(tree: Tree) -> tuple[str, ...]:
    """Return the channels' nodes."""
    return tree.devices("/dev/nvidia-caps-imex-channels", r"channel[0-9]+")
