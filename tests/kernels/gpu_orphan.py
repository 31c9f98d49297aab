"""Kills the server of a kernel that holds GPUs and cannot notice, and prints as JSON what is held until it ends.

`gpu_orphan.py NOTEBOOKS POLICY`. With `serve` before these it is the server itself: it says the kernel's process id.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from support import kernels

from openshell_kernel.gpu.claims import Registry

# ipykernel looks in a thread whether its parent is there. One long call into a library keeps that from running.
BUSY = "import re; open('busy', 'w').close(); re.match('(a+)+b', 'a' * 60)"


def held():
    return sorted(uuid for holder in Registry().holders() for uuid in holder.uuids)


def serve(notebooks, policy):
    with kernels.started(cwd=notebooks, configuration={"policy": policy}) as kernel:
        kernel.client.execute(BUSY)
        print(kernel.pid, flush=True)
        signal.pause()


def main(notebooks, policy):
    command = [sys.executable, __file__, "serve", notebooks, policy]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        pid = int(server.stdout.readline())
        kernels.eventually(Path(notebooks, "busy").exists, "the long call")
        told = {"served": held()}
        server.kill()
    try:
        told["orphaned"] = held()
        told["runs on"] = bool(kernels.processes(pid))
    finally:
        os.kill(pid, signal.SIGKILL)
    kernels.eventually(lambda: held() == [], "the end of the claim")
    json.dump(told, sys.stdout)


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    main(*sys.argv[1:])
