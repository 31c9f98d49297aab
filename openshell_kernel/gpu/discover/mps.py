"""MPS, the server through which processes share one GPU at a time: the folder of its pipes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openshell_kernel.gpu.tree import Tree

_DEFAULT = "/tmp/nvidia-mps"  # noqa: S108 - as the MPS control daemon names it


def folder(tree: Tree, pipes: str | None = None) -> tuple[str, ...]:
    """Return the folder, if a control daemon has made it. `pipes` is CUDA_MPS_PIPE_DIRECTORY, where that is set."""
    path = os.path.normpath(pipes) if pipes and os.path.isabs(pipes) else _DEFAULT
    status = tree.status(path)
    # The daemon's own mark: no other folder is granted for a variable's sake, and none that just anybody has made.
    if status is None or status.st_uid not in (0, os.geteuid()) or not tree.exists(f"{path}/control"):
        return ()
    return (path,)
