"""A process that starts kernels may fork, as multiprocessing's workers do: neither side disturbs the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support import kernels
from support.errors import refused

from openshell_kernel.errors import LaunchError

PROGRAM = Path(__file__).with_name("forking.py")


def outcome(user, *what):
    command = [sys.executable, str(PROGRAM), str(user / "notebooks"), *what]
    process = subprocess.run(command, capture_output=True, text=True, timeout=kernels.SECONDS)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_a_process_forked_from_one_that_started_a_kernel_starts_kernels_too(user):
    assert outcome(user, "start in the child") == 0


def test_a_forked_process_that_ends_leaves_the_kernels_folder_to_the_one_that_made_it(user):
    assert outcome(user, "end the child") == "there"


def test_a_kernel_ends_although_a_forked_process_lives_on(user):
    assert outcome(user, "end the kernel") == "ended"


def test_a_restart_that_not_even_the_refusal_kernel_survives_leaves_nothing(user, monkeypatch):
    with kernels.started(cwd=user / "notebooks") as kernel:
        folder = Path(kernel.manager.ip).parents[1]
        assert folder.exists()
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/bin/false")
            with refused(LaunchError, "/bin/false"):
                kernel.manager.restart_kernel(now=True)
        assert not folder.exists()
        kernel.manager.restart_kernel()
        assert os.path.isdir(os.path.dirname(kernel.manager.ip))
