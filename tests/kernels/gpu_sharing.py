"""Runs several confined kernels on one machine and prints as JSON which GPUs each could use."""

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

from support import kernels
from support.gpu_use import USE

from openshell_kernel.gpu import discovery
from openshell_kernel.gpu.claims import Registry
from openshell_kernel.policy.model import GpuPolicy
from openshell_kernel.server.planning import gpus


def look(kernel):
    gpus = json.loads(kernel.run("%policy gpus --json").text)
    kernel.run(USE)
    return {
        "nodes": kernel.value("{str(i): use(f'/dev/nvidia{i}') for i in range(4)}"),
        "env": kernel.value("os.environ.get('CUDA_VISIBLE_DEVICES')"),
        "devices": gpus["selection"]["devices"],
        "holders": [sorted(holder["uuids"]) for holder in gpus["holders"]],
        "text": kernel.run("%policy gpus").text,
    }


def held():
    return sorted(uuid for holder in Registry().holders() for uuid in holder.uuids)


HIDE = """
import contextlib, glob, os
for folder in glob.glob('/run/lock/openshell-gpu-*'):
    for path in (*glob.glob(folder + '/*'), folder, '/run/lock'):
        with contextlib.suppress(OSError):
            os.chmod(path, 0)
"""


def grab(told):
    """Try again and again to get what another kernel may give up while it restarts."""
    told["grabbed"] = []
    while "done" not in told:
        registry = Registry()
        request = GpuPolicy(count=1)
        found = asyncio.run(discovery.discover())
        selection, claim = asyncio.run(gpus.choose(request, found, registry, visible=None))
        if claim is not None:
            told["grabbed"] += selection.devices
            claim.release()


def main():
    notebooks, policies = Path(sys.argv[1]), Path(sys.argv[2])

    def policy(request):
        path = policies / f"{request}.yaml"
        path.write_text(f"version: 1\njupyter: {{gpu: {{count: 2, request: {request}}}}}\n")
        return {"policy": str(path)}

    told = {}
    with (
        kernels.started(cwd=notebooks, configuration=policy("auto")) as first,
        kernels.started(cwd=notebooks, configuration=policy("required")) as second,
    ):
        told["first"], told["second"] = look(first), look(second)
        try:
            with kernels.started(cwd=notebooks, configuration=policy("required")):
                told["third"] = "started"
        except Exception as error:  # noqa: BLE001 - what a client shows
            told["third"] = str(error)
        with kernels.started(cwd=notebooks, configuration=policy("auto")) as poor:
            told["poor"] = look(poor)
        waiting = threading.Thread(target=grab, args=(told,))
        waiting.start()
        for now in (True, False):
            second.restart(now=now)
        told["restarted"] = look(second)
        told["done"] = True
        waiting.join()
        first.run(HIDE)
        with kernels.started(cwd=notebooks, configuration=policy("auto")) as curious:
            told["after hiding"] = look(curious)
        os.kill(first.pid, signal.SIGKILL)
        kernels.eventually(lambda: len(held()) == 2, "the end of the first one's claim")
        with kernels.started(cwd=notebooks, configuration=policy("required")) as heir:
            told["heir"] = look(heir)
    told["left"] = held()
    json.dump(told, sys.stdout)


main()
