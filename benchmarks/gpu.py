"""What confinement costs on a GPU: the same work inside OpenShell GPU and in plain python3, alternating in one run.

    python benchmarks/gpu.py [--rounds 5] [--record docs/gpu-results.md]

Prints for a matrix product, copies between host and device and many small kernel launches the median of each and the
ratio of the throughputs, inside to outside; it is to be at least 0.99. Needs PyTorch. `--device cpu` tries the program
itself where there is no GPU; its figures say nothing about GPUs.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import gpu_results

KERNELS = ("python3", "openshell-gpu")
SECONDS = 600
WARMING = 1.0
WORK = """
import json, time, torch

device = {device!r}
assert device == "cpu" or torch.cuda.is_available(), "torch.cuda.is_available() is False"
size, copied, launches, times = (8192, 1 << 28, 20_000, 20) if device == "cuda" else (512, 1 << 22, 500, 4)

def wait():
    if device == "cuda":
        torch.cuda.synchronize()

def seconds(work, times):
    # A GPU that was idle needs a while to reach its clock.
    warm = time.perf_counter() + ({warming} if device == "cuda" else 0)
    while True:
        work()
        wait()
        if time.perf_counter() >= warm:
            break
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - started) / times

a, b = (torch.rand(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
host = torch.empty(copied, dtype=torch.uint8, pin_memory=device == "cuda")
there = torch.empty(copied, dtype=torch.uint8, device=device)
small = torch.zeros(1, device=device)

def launch():
    for _ in range(launches):
        small.add_(1)

print(json.dumps({{
    "matrix product": seconds(lambda: a @ b, 10 * times),
    "copy to the device": seconds(lambda: there.copy_(host, non_blocking=True), 2 * times),
    "copy to the host": seconds(lambda: host.copy_(there, non_blocking=True), 2 * times),
    "small kernel launches": seconds(launch, times // 2),
    "_device": torch.cuda.get_device_name(0) if device == "cuda" else "the processor",
}}))
"""


def measure(kernel: str, device: str, folder: str) -> dict[str, Any]:
    """Return the seconds for each kind of work in a fresh kernel."""
    manager = KernelManager(kernel_name=kernel)
    manager.start_kernel(cwd=folder)
    client = manager.client()
    client.start_channels()
    printed: list[str] = []
    errors: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            errors.append(f"{content['ename']}: {content['evalue']}")

    try:
        client.wait_for_ready(timeout=60)
        client.execute_interactive(WORK.format(device=device, warming=WARMING), output_hook=collect, timeout=SECONDS)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    if errors:
        raise SystemExit(f"{kernel}: {errors[0]}")
    return dict(json.loads("".join(printed)))


def main() -> None:
    """Measure, print, and write down where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="fresh kernels of each kind (default: 5)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the figures to this page")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        sys.exit("benchmarks/gpu.py needs PyTorch: pip install torch")
    if arguments.record:
        _check_hardware()
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in KERNELS}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for number in range(arguments.rounds):
            # Each kind goes first as often as the other: a GPU warms up.
            for name in KERNELS if number % 2 == 0 else reversed(KERNELS):
                seen[name].append(measure(name, arguments.device, folder))
    header, rows = ("Work", "outside", "inside", "ratio of throughputs"), []
    for work in (key for key in seen["python3"][0] if not key.startswith("_")):
        outside, inside = (statistics.median(round_[work] for round_ in seen[name]) for name in KERNELS)
        rows.append((work, f"{outside * 1000:.3f} ms", f"{inside * 1000:.3f} ms", f"{outside / inside:.3f}"))
    where = f"{seen['python3'][0]['_device']}, Linux {platform.release()}, {arguments.rounds} rounds"
    print("\n".join((where, *(" | ".join(row) for row in (header, *rows)))))
    if arguments.record:
        gpu_results.add(arguments.record, f"Throughput on {where}", header, rows)


def _check_hardware() -> None:
    """Measure nothing that could not be recorded."""
    try:
        gpu_results.check_hardware()
    except gpu_results.NoHardwareError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
