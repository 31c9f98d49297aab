"""What lies above a provisioner: the manager of one kernel, and above it the manager of a server's kernels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_client.manager import KernelManager


def root_folder(manager: KernelManager | None) -> str | None:
    """Return the root folder of the server that this kernel belongs to; None where there is no server."""
    root = getattr(getattr(manager, "parent", None), "root_dir", None)
    return root if isinstance(root, str) and os.path.isabs(root) else None


def forget_failed_start(manager: object, kernel_id: object) -> None:
    """Make the server forget a kernel whose first start failed, so that it can still stop.

    jupyter_client (7.1 to 8.10 at least) keeps the task of every start in `MultiKernelManager._pending_kernels` until
    the start succeeds. One that failed stays, `shutdown_all` wants to shut it down, jupyter_server finds no such
    kernel, and the error ends its cleanup before the loop is stopped: a server that was sent SIGTERM goes on. Nothing
    public removes the entry; where the attribute is gone one day, this does nothing.
    """
    pending = getattr(getattr(manager, "parent", None), "_pending_kernels", None)
    if isinstance(pending, dict):
        pending.pop(kernel_id, None)
