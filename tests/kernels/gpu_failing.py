"""Lets starts of kernels that hold a GPU fail in several ways, and prints as JSON what is held afterwards."""

import asyncio
import contextlib
import gc
import json
import sys
import time
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager
from support import kernels

from openshell_kernel.gpu.claims import Registry

CANCELLED_AFTER = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)  # seconds


def held():
    return [uuid for holder in Registry().holders() for uuid in holder.uuids]


def manager():
    made = AsyncKernelManager(kernel_name="openshell-gpu")
    made.kernel_spec.metadata["kernel_provisioner"]["config"] = {"policy": sys.argv[2]}
    return made


async def restart_without_connection_file(notebooks):
    """Restart where Jupyter cannot write what it needs, as on a full disk."""
    failing = manager()
    await failing.start_kernel(cwd=str(notebooks))
    before = held()
    failing.connection_file = "/proc/kernel.json"
    failing._connection_file_written = False  # noqa: SLF001 - as after a cleanup
    with contextlib.suppress(OSError):
        await failing.restart_kernel(now=True)
    return [before, held()]


async def give_up(notebooks, seconds, times):
    """Start a kernel, and cancel that so many times after a while."""
    starting = manager()
    start = asyncio.ensure_future(starting.start_kernel(cwd=str(notebooks)))
    await asyncio.sleep(seconds)
    for _ in range(times):
        start.cancel()
        await asyncio.sleep(0.01)
    with contextlib.suppress(asyncio.CancelledError):
        await start
    if starting.has_kernel:
        # It was faster. Jupyter's manager pauses for a moment when the kernel runs already.
        await starting.shutdown_kernel(now=True)


async def cancelled(notebooks, times):
    """Give up starts, each `times` times; return what is left of claims and descriptors."""
    before = kernels.descriptors()
    for seconds in CANCELLED_AFTER:
        await give_up(notebooks, seconds, times)

    def left():
        return len(kernels.descriptors()) - len(before)

    # What was chosen meanwhile is given back by a thread.
    deadline = time.monotonic() + kernels.SECONDS
    while (held() or left() > 0) and time.monotonic() < deadline:
        gc.collect()
        await asyncio.sleep(0.02)
    return [held(), max(0, left())]


def main():
    notebooks = Path(sys.argv[1])
    told = {"given up": {name: asyncio.run(cancelled(notebooks, times)) for name, times in (("once", 1), ("twice", 2))}}
    told["restart"] = asyncio.run(restart_without_connection_file(notebooks))
    json.dump(told, sys.stdout)


main()
