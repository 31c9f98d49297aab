"""Starts kernels as two users' servers of a hub do, on one machine with GPUs; prints as JSON what each is told.

`gpu_hub.py NOTEBOOKS POLICY`: the policy says nothing of GPUs that the hub would let pass.
"""

import json
import os
import subprocess
import sys

from jupyter_client.manager import KernelManager
from support import kernels

from openshell_kernel.server.settings import GPUS_VARIABLE


def as_user(name, server, **gpus):
    os.environ.update(JUPYTERHUB_USER=name, JUPYTERHUB_SERVER_NAME=server)
    os.environ[GPUS_VARIABLE] = json.dumps(gpus)


def refusal(notebooks):
    try:
        KernelManager(kernel_name="openshell-gpu").start_kernel(cwd=notebooks)
    except Exception as error:  # noqa: BLE001 - the test looks at any
        return str(error)
    return ""


def main():
    notebooks, os.environ["OPENSHELL_SANDBOX_POLICY"] = sys.argv[1:]
    as_user("alice", "training", count=3, request="required")
    with kernels.started(cwd=notebooks) as first:
        effective = first.record()["effective"]
        as_user("bob", "", count=2, request="required")
        refused = refusal(notebooks)
        as_user("bob", "", request="none")
        with kernels.started(cwd=notebooks) as second:
            told = {
                "devices": effective["selection"]["devices"],
                "notices": effective["notices"],
                "refused": refused,
                "without": second.record()["effective"]["selection"]["devices"],
                "shown": first.run("%policy gpus").text,
                "table": subprocess.run(
                    [sys.executable, "-m", "openshell_kernel.cli", "gpus"], capture_output=True, text=True, check=True
                ).stdout,
            }
    json.dump(told, sys.stdout)


main()
