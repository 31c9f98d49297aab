"""Starts kernels with a GPU where /proc cannot be protected, without a provisioner; prints as JSON what they answer.

`gpu_unprotected.py USER POLICY...`: for each policy what a cell gave, and which GPUs are held meanwhile.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from support import kernels

from openshell_kernel.gpu.claims import Registry

sys.path.insert(0, str(Path(__file__).parent))
from test_standalone import Process

WITHOUT_MOUNTS = ["setpriv", "--bounding-set=-sys_admin"]


def start(user, policy):
    os.environ["OPENSHELL_SANDBOX_POLICY"] = policy
    process = Process(user, wrapper=WITHOUT_MOUNTS, stdout=subprocess.DEVNULL)
    client = process.client()
    output = kernels.Kernel(None, client).run("print('run')")
    held = [uuid for holder in Registry().holders() for uuid in holder.uuids]
    client.shutdown()
    process.process.communicate()
    client.stop_channels()
    return {"text": output.text, "error": output.error, "held": held}


def main():
    user, *policies = sys.argv[1:]
    json.dump([start(Path(user), policy) for policy in policies], sys.stdout)


main()
