"""Looks for GPUs on a machine of `support.gpu_machine`; prints as JSON what is in /dev before and after, and the answer.

With the argument "unrestrained", the library is asked without giving anything up first.
"""

import asyncio
import json
import os
import subprocess
import sys

from openshell_kernel.gpu import discovery

ASK = "from openshell_kernel.gpu import nvml; print(nvml.ask().status.value)"


def devices():
    return {name: os.stat(f"/dev/{name}").st_mode for name in sorted(os.listdir("/dev")) if name != "fd"}


def look():
    if sys.argv[1:] == ["unrestrained"]:
        return subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout.strip()
    return asyncio.run(discovery.discover()).status.value


before = devices()
status = look()
json.dump({"before": before, "after": devices(), "status": status}, sys.stdout)
