"""A GPU is given to the next kernel only when no process of the last one has it open any more."""

import os
from pathlib import Path

import pytest
from fakes import nvml as fake
from support import gpu_machine, programs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mount namespaces need root")
TESTS = Path(__file__).parents[1]
TWO = ("driver 570.86.15", "cuda 12080", *(fake.gpu(index, uuid=f"GPU-{index:04d}") for index in range(2)))
NODES = "nvidiactl,nvidia-uvm,nvidia-uvm-tools,nvidia-modeset,nvidia0,nvidia1"


@pytest.fixture
def told(user, write_policy, tmp_path, landlock_abi):
    policy = write_policy("version: 1\njupyter: {gpu: {count: 1, request: required}}\n")
    library = fake.build(tmp_path / "driver")
    fake.configure(library, *TWO)
    script = (TESTS / "around" / "gpu_survivors.py", user / "notebooks", policy)
    return programs.told("-m", "support.gpu_machine", library, *script, **{gpu_machine.GPU_NODES: NODES})[0]


def test_what_a_kernel_has_started_ends_before_its_gpu_is_free(told):
    assert told["shut down"] == {"held": ["GPU-0000"], "holders": 3, "after": {"held": [], "holders": []}}
    for how in ("stopped", "killed"):
        assert told[how] == {"before": ["GPU-0000"], "holders": [], "lives": False}, how
    left = told["without keeper"]
    assert left["held"] == ["GPU-0000"], left["log"]
    assert left["named"], left["log"]
    assert left["other"] == ["1"]
