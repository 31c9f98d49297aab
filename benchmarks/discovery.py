"""What looking for GPUs adds to the start of a kernel: the first time, and when nothing has changed since.

    python benchmarks/discovery.py [--rounds 200] [--root FOLDER]

A start in a server that has looked before is to pay less than 5 ms, and is compared with a whole start of python3.
`--root` looks at a copy of a machine's tree, such as tests/gpu/trees/dgx.
"""

import argparse
import asyncio
import statistics
import tempfile
import time

from jupyter_client.manager import KernelManager

from openshell_kernel.gpu import discovery
from openshell_kernel.gpu.asking import Cache


async def look(root: str, rounds: int) -> tuple[float, list[float]]:
    """Return the seconds of the first look and of those that follow."""
    cache = Cache()
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        await discovery.discover(root=root, cache=cache)
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1:]


def start() -> float:
    """Return the seconds that plain python3 takes to its answer."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=folder)
        client = manager.client()
        client.start_channels()
        try:
            client.kernel_info(reply=True, timeout=60)
            return time.perf_counter() - started
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="looks that count (default: 200)")
    parser.add_argument("--root", default="/", metavar="FOLDER")
    arguments = parser.parse_args()
    first, later = asyncio.run(look(arguments.root, arguments.rounds))
    whole = statistics.median(start() for _ in range(5))
    warm = statistics.median(later)
    print(f"first look {first * 1000:.1f} ms, later ones {warm * 1000:.2f} ms (at most {max(later) * 1000:.2f})")
    print(f"a start of python3 {whole * 1000:.1f} ms; a later look is {warm / whole:.4f} of that")


if __name__ == "__main__":
    main()
