"""PyTorch inside real kernels: what it needs of the machine and keeps between two starts, with no GPU."""

import importlib.util
import json
import os
import shutil

import pytest
from support import kernels

EXPECTED = "OPENSHELL_EXPECT_TORCH"
COMPILING = 200  # seconds: a compiler runs for a while


@pytest.fixture(autouse=True)
def _torch():
    if importlib.util.find_spec("torch") is None:
        assert os.environ.get(EXPECTED) != "1", "torch is not installed"
        pytest.skip("torch is not installed")


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler, which inductor needs")
def test_what_torch_compile_has_precompiled_is_there_at_the_next_start(user):
    """A header takes most of the time of a first compilation, and it would go away with the temporary files."""
    code = """
import glob, json, os, tempfile, torch
double = torch.compile(lambda x: torch.sin(x) * 2)
double(torch.ones(1000))
def headers():
    found = glob.glob(os.environ["TORCHINDUCTOR_CACHE_DIR"] + "/**/*.gch", recursive=True)
    return json.dumps({"headers": {path: os.stat(path).st_mtime_ns for path in found}, "folder": tempfile.gettempdir()})
"""

    def compiled():
        with kernels.started(cwd=user / "notebooks") as kernel:
            assert kernel.run(code, COMPILING).error == ""
            return json.loads(kernel.run("print(headers())").text)

    first, second = compiled(), compiled()
    assert first["folder"] != second["folder"]
    assert len(first["headers"]) > 0
    assert second["headers"] == first["headers"]


def test_gloo_connects_processes_without_a_gpu(user):
    code = """
import os, tempfile, torch, torch.distributed as distributed
rendezvous = "file://" + os.path.join(tempfile.mkdtemp(), "rendezvous")
distributed.init_process_group("gloo", init_method=rendezvous, rank=0, world_size=1)
total = torch.ones(2)
distributed.all_reduce(total)
print(total.tolist())
distributed.destroy_process_group()
"""
    with kernels.started(cwd=user / "notebooks") as kernel:
        output = kernel.run(code)
    assert (output.error, output.text) == ("", "[1.0, 1.0]\n")
