"""Runs the kernelspec's argv as it stands and prints as JSON which GPU it held, and what was held after its death."""

import json
import subprocess
import sys
from pathlib import Path

from support import kernels

from openshell_kernel.gpu.claims import Registry

sys.path.insert(0, str(Path(__file__).parent))
from test_standalone import Process


def held():
    return [uuid for holder in Registry().holders() for uuid in holder.uuids]


def main():
    process = Process(Path(sys.argv[1]), stdout=subprocess.DEVNULL)
    client = process.client()
    kernel = kernels.Kernel(None, client)
    told = {"variable": kernel.value("__import__('os').environ['CUDA_VISIBLE_DEVICES']"), "running": held()}
    client.stop_channels()
    process.process.kill()
    process.process.communicate()
    kernels.eventually(lambda: held() == [], "the claim's end")
    told["ended"] = held()
    json.dump(told, sys.stdout)


main()
