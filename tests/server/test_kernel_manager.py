"""The manager of a hub's kernels stops, whatever failed to start before."""

import asyncio

import pytest
from jupyter_client.kernelspec import NoSuchKernel

from openshell_kernel.server.kernel_manager import ConfinedKernelManager


def test_a_refused_kernelspec_does_not_keep_the_server_from_stopping(tmp_path):
    async def attempt():
        manager = ConfinedKernelManager(root_dir=str(tmp_path))
        with pytest.raises(NoSuchKernel):
            await manager.start_kernel(kernel_name="no-such-kernel")
        await manager.shutdown_all()

    asyncio.run(attempt())
