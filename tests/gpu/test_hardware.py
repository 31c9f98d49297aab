"""On a machine with an NVIDIA GPU: what works outside works inside, and only with the GPUs that were given.

    python -m pytest tests/gpu

Each part is skipped, with its reason, where its hardware or package is missing; with OPENSHELL_EXPECT_GPU=1 it fails.
With OPENSHELL_GPU_RESULTS=docs/gpu-results.md, what was seen is added to that page; over stand-ins that is an error.
"""

import asyncio
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from support import gpu_results, kernels

from openshell_kernel.base.hardware import Status
from openshell_kernel.gpu import discovery
from openshell_kernel.sandbox import ruleset

pytestmark = pytest.mark.kernel

EXPECTED = "OPENSHELL_EXPECT_GPU"
PATIENCE = 200  # seconds: frameworks are large, compile at their first use, and may come from a slow disk
PROBE = (sys.executable, "-I", "-m", "openshell_kernel.kernel.gpu_probe", "-")

TORCH = """
import torch
a, b = torch.rand(512, 768), torch.rand(768, 256)
assert torch.cuda.is_available(), "torch.cuda.is_available() is False"
assert torch.allclose((a.cuda() @ b.cuda()).cpu(), a @ b, rtol=1e-2, atol=1e-2)
model = torch.nn.Linear(768, 1).cuda()
loss = model(a.cuda()).square().mean()
loss.backward()
assert model.weight.grad.isfinite().all()
print(torch.cuda.get_device_name(0))
"""
TRITON = """
import pathlib
pathlib.Path("adding.py").write_text('''
import triton, triton.language as tl
@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside), mask=inside)
''')
import torch, triton, sys
sys.path.insert(0, ".")
from adding import add
x, y = torch.rand(100_000, device="cuda"), torch.rand(100_000, device="cuda")
out = torch.empty_like(x)
add[(triton.cdiv(x.numel(), 1024),)](x, y, out, x.numel(), BLOCK=1024)
assert torch.equal(out, x + y)
print("compiled and equal")
"""
JAX = """
import jax, jax.numpy as jnp
device = jax.devices("gpu")[0]
x = jax.device_put(jnp.arange(1_000_000, dtype=jnp.float32), device)
total = jax.jit(lambda v: jnp.sin(v).sum())(x)
assert abs(float(total) - float(jnp.sin(jax.device_put(x, jax.devices("cpu")[0])).sum())) < 1.0
print(device)
"""
CUPY = """
import cupy
square = cupy.RawKernel('extern "C" __global__ void square(float* x) { int i = threadIdx.x; x[i] *= x[i]; }', "square")
x = cupy.arange(256, dtype=cupy.float32)
square((1,), (256,), (x,))
assert (x.get() == [i * i for i in range(256)]).all()
print(cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())
"""
FRAMEWORKS = {"torch": TORCH, "triton": TRITON, "jax": JAX, "cupy": CUPY}


def lacking(reason):
    """Skip, or fail where this machine is expected to have everything."""
    if os.environ.get(EXPECTED) == "1":
        pytest.fail(f"{EXPECTED} is 1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def gpus():
    """The GPUs of this machine that answer."""
    answer = asyncio.run(discovery.discover())
    if answer.status is not Status.OK or not answer.gpus:
        lacking(f"this machine has no usable NVIDIA GPU: {answer.detail}")
    return answer


@pytest.fixture(scope="session")
def results(gpus):
    """What was seen, by what was tried; written down at the end where that is asked for."""
    target = os.environ.get("OPENSHELL_GPU_RESULTS")
    if target:
        gpu_results.check_hardware()
    seen = {}
    yield seen
    if target:
        machine = f"{gpus.gpus[0].name}, driver {gpus.driver_version}, Linux {platform.release()}"
        gpu_results.add(Path(target), f"Tests on {machine}", ("What", "Seen"), seen.items())


@pytest.fixture(scope="session")
def _landlock():
    support = ruleset.probe()
    if support.abi is None:
        lacking(f"this machine has no Landlock: {support.cause}")


@pytest.fixture
def kernel(gpus, _landlock, landlock_abi, tmp_path):
    """Return a function that starts a confined kernel under a policy, as a context manager."""

    def start(text="version: 1\n"):
        # In a folder of its own: a sandbox may not write its own policy.
        policy = tmp_path / "policy" / "policy.yaml"
        policy.parent.mkdir(exist_ok=True)
        policy.write_text(text)
        notebooks = tmp_path / "notebooks"
        notebooks.mkdir(exist_ok=True)
        return kernels.started(cwd=notebooks, configuration={"policy": str(policy)})

    return start


def check(running):
    return running.json("%policy gpus --check --json", PATIENCE)


def test_cuda_starts_and_adds_vectors_inside_as_it_does_outside(kernel, results):
    outside = subprocess.run(PROBE, capture_output=True, text=True, timeout=PATIENCE)
    steps = [json.loads(line) for line in outside.stdout.splitlines()]
    assert [step for step in steps if not step["ok"]] == [], "CUDA does not even work outside of the sandbox"
    with kernel() as running:
        told = check(running)
    results["cuInit and vector add, outside and inside"] = "both work" if told["ok"] else "FAILED inside"
    assert [step for step in told["steps"] if not step["ok"]] == []


@pytest.mark.parametrize("package", FRAMEWORKS)
def test_a_framework_does_real_work_inside(kernel, results, package):
    if importlib.util.find_spec(package) is None:
        lacking(f"the package {package} is not installed")
    with kernel() as running:
        output = running.run(FRAMEWORKS[package], PATIENCE)
    results[f"{package} inside"] = output.error or output.text.strip().splitlines()[-1]
    assert output.error == ""


def test_what_happens_to_cuinit_where_proc_stays_read_only_is_recorded(kernel, results, gpus):
    text = (
        "version: 1\n"
        "filesystem_policy: {read_only: [/usr, /proc]}\n"
        "jupyter: {baseline_conflicts: {allow_promotion: []}}\n"
    )
    with kernel(text) as running:
        steps = {step["step"]: step for step in check(running)["steps"]}
    assert steps["a thread's name is written in /proc"]["ok"] is False
    verdict = "works" if steps["cuInit"]["ok"] else f"breaks: {steps['cuInit']['detail']}"
    results[f"cuInit with /proc read-only, driver {gpus.driver_version}"] = verdict


def test_a_gpu_that_was_not_selected_cannot_be_opened(kernel, results, gpus):
    opening = "import os\nos.open('/dev/nvidia{}', os.O_RDWR)"
    with kernel("version: 1\njupyter: {gpu: {request: none}}\n") as running:
        for gpu in gpus.gpus:
            assert "PermissionError" in running.run(opening.format(gpu.minor)).error
    if len(gpus.gpus) > 1:
        first, second = gpus.gpus[:2]
        with kernel(f"version: 1\njupyter: {{gpu: {{devices: [{first.uuid}]}}}}\n") as running:
            assert running.run(opening.format(first.minor)).error == ""
            assert "PermissionError" in running.run(opening.format(second.minor)).error
            running.run(f"import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '{first.uuid},{second.uuid}'")
            told = check(running)
            assert [step["step"] for step in told["steps"] if "adds two vectors" in step["step"]] == [
                "GPU 0 adds two vectors"
            ]
    results["a GPU that was not selected"] = f"cannot be opened ({len(gpus.gpus)} in this machine)"
