"""Looking for GPUs changes nothing on the machine, although NVIDIA's library does, which asks as root what is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import nvml as fake
from support import gpu_machine

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root could change /dev, and make a machine to try it on"
)
TESTS = Path(__file__).parents[1]
# What the libraries of drivers 535 and 550 were seen to do.
MAKING = (
    "run nvmlInitWithFlags mknod /dev/nvidia9 c 195 9",
    "run nvmlInitWithFlags chmod 600 /dev/nvidiactl",
    "run nvmlInitWithFlags rm /dev/ptmx",
    "run nvmlInitWithFlags ln -s nvidiactl /dev/link",
)


@pytest.fixture
def look(library):
    def run(*words):
        fake.configure(library, *MAKING, fake.gpu(0))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "support.gpu_machine",
                str(library),
                str(Path(__file__).with_name("look.py")),
                *words,
            ],
            env={**os.environ, "PYTHONPATH": str(TESTS), gpu_machine.GPU_NODES: "nvidiactl,nvidia0"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_nodes_are_neither_made_nor_changed_nor_removed(look):
    found = look()
    assert found["status"] == "ok"
    assert found["after"] == found["before"]


def test_without_restraint_they_are(look):
    found = look("unrestrained")
    assert found["status"] == "ok"
    assert found["after"].keys() ^ found["before"].keys() == {"nvidia9", "ptmx", "link"}
    assert found["after"]["nvidiactl"] != found["before"]["nvidiactl"]
