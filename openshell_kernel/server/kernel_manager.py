"""Where the kernels of a hub's user may start: in the user's own files."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from openshell_kernel.base.paths import is_within


class ConfinedKernelManager(AsyncMappingKernelManager):
    """Starts kernels inside the server's root folder only.

    A policy may grant the notebook's folder. The REST API takes any path for it, with `..` and through symbolic
    links that a kernel made, so that a user could widen a kernel's policy by choosing a folder.
    """

    def cwd_for_path(self, path: str, **kwargs: Any) -> str:  # noqa: ANN401 - jupyter_server's signature
        """Return the folder that a kernel starts in. Called by jupyter_server for every start that names a path.

        Outside the root folder it is the root folder, as jupyter_server does it where a path does not exist.
        """
        asked = str(super().cwd_for_path(path, **kwargs))  # type: ignore[no-untyped-call]
        folder, root = os.path.realpath(asked), os.path.realpath(str(self.root_dir))
        if is_within(folder, root):
            # Not where its links lead: the provisioner judges those.
            return asked
        self.log.warning("OpenShell: %s leads out of %s; the kernel starts in the latter instead", asked, root)
        return root

    async def shutdown_all(self, now: bool = False) -> None:  # type: ignore[override]  # typed as if it were synchronous
        """Shut down all kernels. Called by jupyter_server when it stops.

        A start that failed is still listed, and would keep the server from stopping: see
        `jupyter_compat.forget_failed_start`, which never hears of kernels whose kernelspec is refused.
        """
        for kernel_id, start in list(self._pending_kernels.items()):
            if isinstance(start, asyncio.Future) and start.done() and kernel_id not in self:
                del self._pending_kernels[kernel_id]
        await self._async_shutdown_all(now=now)
