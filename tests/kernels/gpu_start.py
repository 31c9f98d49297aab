"""Starts a confined kernel under each of several policies and prints as JSON how that went.

`gpu_start.py NOTEBOOKS NODES POLICY...`: for each policy the error of the start, or which of the NODES, separated by
commas, can be used, and what is shown. TRAITS in the environment are those of the provisioner, as JSON.
"""

import json
import logging
import os
import sys

from support import kernels
from support.gpu_use import USE


def start(notebooks, nodes, policy):
    os.environ["OPENSHELL_SANDBOX_POLICY"] = policy
    try:
        with kernels.started(cwd=notebooks, configuration=json.loads(os.environ.get("TRAITS", "{}"))) as kernel:
            kernel.run(USE)
            effective = kernel.record()["effective"]
            return {
                "nodes": kernel.value(f"{{name: use('/dev/' + name) for name in {nodes!r}}}"),
                "proc": kernel.value("os.access('/proc/self/comm', os.W_OK) and use('/proc/self/comm')"),
                "env": kernel.value("os.environ.get('CUDA_VISIBLE_DEVICES')"),
                "mps": kernel.value("os.environ.get('CUDA_MPS_PIPE_DIRECTORY')"),
                "effective": effective,
                "show": kernel.shown(),
            }
    except Exception as error:  # noqa: BLE001 - what a client shows
        return {"error": str(error)}


def main():
    logging.basicConfig(level=logging.INFO)
    notebooks, nodes, *policies = sys.argv[1:]
    json.dump([start(notebooks, nodes.split(","), policy) for policy in policies], sys.stdout)


main()
