"""From asking for a kernel to its first result: OpenShell GPU against plain python3, alternating in one run.

    python benchmarks/start.py [--rounds 20]

Prints the medians in milliseconds and the ratio. The first start of each kind is left out: it pays once for a server
process what every later start finds ready (GPU discovery, the interpreter's folders, imports, the file cache).
"""

import argparse
import statistics
import tempfile
import time

from jupyter_client.manager import KernelManager

KERNELS = ("python3", "openshell-gpu")


def first_result(name: str, folder: str) -> float:
    """Return the seconds from asking for a kernel to the reply to its first cell."""
    started = time.perf_counter()
    manager = KernelManager(kernel_name=name)
    manager.start_kernel(cwd=folder)
    client = manager.client()
    client.start_channels()
    try:
        # wait_for_ready() sleeps for a fixed time of its own; a request simply waits until the kernel listens.
        request = client.execute("1 + 1")
        while client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] != request:
            pass
        return time.perf_counter() - started
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="starts of each kernel that count (default: 20)")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in KERNELS}
    cold: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds + 1):
            for name in KERNELS:
                taken = first_result(name, folder)
                if number == 0:
                    cold[name] = taken
                else:
                    seconds[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name in KERNELS:
        low, high = min(seconds[name]), max(seconds[name])
        print(
            f"{name:14} median {medians[name] * 1000:6.1f} ms  (from {low * 1000:.1f} to {high * 1000:.1f}; "
            f"very first {cold[name] * 1000:.1f})"
        )
    print(f"ratio {medians['openshell-gpu'] / medians['python3']:.3f}")


if __name__ == "__main__":
    main()
