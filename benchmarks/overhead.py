"""What confinement costs a running kernel: OpenShell GPU against plain python3, alternating in one run.

    python benchmarks/overhead.py [--rounds 25]

Both kernels are started once and measure the same pieces of work in turn, each for some milliseconds. Prints the
median of each in microseconds, and the ratio. numpy and torch, which get one thread, are left out where the kernels'
Python lacks them. Run it on a machine that does nothing else.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
from collections.abc import Iterator

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

KERNELS = ("python3", "openshell-gpu")
SECONDS = 300

# Runs inside the kernels. One way to time for both: repeat for about 20 ms, and take the time of one repetition.
SETUP = """
import os, subprocess, time
with open("measured", "w") as _stream:
    _stream.write("x")

def open_and_close():
    os.close(os.open("measured", os.O_RDONLY))

def stat():
    os.stat("measured")

def fork_and_exec():
    subprocess.run(["/bin/true"], check=True)

_to, _from = os.pipe(), os.pipe()
if os.fork() == 0:
    while os.read(_to[0], 1):
        os.write(_from[1], b"x")
    os._exit(0)

def pipe_round_trip():
    os.write(_to[1], b"x")
    os.read(_from[0], 1)

work = {
    "open + close": open_and_close,
    "stat": stat,
    "fork + exec": fork_and_exec,
    "pipe round trip": pipe_round_trip,
}
try:
    import numpy
except ImportError:
    pass
else:
    _matrix = numpy.random.default_rng(0).random((400, 400))
    work["numpy product, 400 x 400"] = lambda: _matrix @ _matrix
try:
    import torch
except ImportError:
    pass
else:
    torch.manual_seed(0)
    _model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    _optimizer = torch.optim.SGD(_model.parameters(), lr=0.01)
    _batch, _labels = torch.randn(128, 256), torch.randint(10, (128,))

    def training_step():
        _optimizer.zero_grad()
        torch.nn.functional.cross_entropy(_model(_batch), _labels).backward()
        _optimizer.step()

    work["torch training step, CPU"] = training_step

def measure(function, at_least=0.02):
    count = 1
    while True:
        started = time.perf_counter()
        for _ in range(count):
            function()
        taken = time.perf_counter() - started
        if taken >= at_least:
            return taken / count
        count = max(count * 2, int(count * at_least / max(taken, 1e-9)))
"""


class Kernel:
    """A running kernel that measures."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self._run(SETUP)
        self.work: list[str] = json.loads(self._run("import json; print(json.dumps(list(work)))"))

    def measure(self, name: str) -> float:
        """Return the seconds that a piece of work takes once."""
        return float(self._run(f"print(measure(work[{name!r}]))"))

    def _run(self, code: str) -> str:
        output: list[str] = []

        def hook(message: dict) -> None:  # type: ignore[type-arg]  # a message of Jupyter's protocol
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                output.append(message["content"]["text"])
            elif message["msg_type"] == "error":
                raise SystemExit("\n".join(message["content"]["traceback"]))

        self._client.execute_interactive(code, output_hook=hook, timeout=SECONDS)
        return "".join(output)


@contextlib.contextmanager
def started(name: str, folder: str) -> Iterator[Kernel]:
    """Start a kernel and make it ready to measure."""
    manager = KernelManager(kernel_name=name)
    # One thread each: with more, what else runs on the machine decides how long a product takes.
    manager.start_kernel(cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="measurements of each that count (default: 25)")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        running = {
            # A folder for each, which the policy grants as the notebook's.
            name: stack.enter_context(
                started(name, stack.enter_context(tempfile.TemporaryDirectory(prefix="overhead-", dir="/var/tmp")))
            )
            for name in KERNELS
        }
        names = [name for name in running["python3"].work if name in running["openshell-gpu"].work]
        seconds: dict[tuple[str, str], list[float]] = {(kernel, name): [] for kernel in KERNELS for name in names}
        for number in range(arguments.rounds + 1):
            for name in names:
                # Who comes first finds other caches than who comes second.
                for kernel in KERNELS if number % 2 else KERNELS[::-1]:
                    taken = running[kernel].measure(name)
                    if number > 0:  # the first warms up
                        seconds[kernel, name].append(taken)
    print(f"{'':28}{'python3':>12}{'openshell-gpu':>16}{'ratio':>9}")
    for name in names:
        plain, ours = (statistics.median(seconds[kernel, name]) for kernel in KERNELS)
        print(f"{name:28}{plain * 1e6:9.1f} us{ours * 1e6:13.1f} us{ours / plain:9.2f}")


if __name__ == "__main__":
    main()
