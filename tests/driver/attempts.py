"""Tries NVIDIA's libraries where it is run: outside of a sandbox, and in a confined kernel under each of some policies.

`attempts.py NOTEBOOKS NVIDIA-SMI POLICY...` prints as JSON what came of it, for each policy by its name.
"""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from support import gpu_results, kernels

from openshell_kernel.gpu import discovery

ATTEMPT = """
import ctypes, json, subprocess

cuda, nvml, number = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1"), ctypes.c_int()
told = {{"cuInit": cuda.cuInit(0), "nvmlInit": nvml.nvmlInitWithFlags(0)}}
cuda.cuDeviceGetCount(ctypes.byref(number))
smi = subprocess.run([{smi!r}, "-L"], capture_output=True, text=True)
print(json.dumps({{**told, "devices": number.value, "nvidia-smi": smi.stdout}}))
"""


def outside(code):
    return json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)


def inside(code, notebooks, policy):
    os.environ["OPENSHELL_SANDBOX_POLICY"] = policy
    with kernels.started(cwd=notebooks) as kernel:
        told = kernel.json(code)
        check = kernel.json("%policy gpus --check --json")
        told["failed"] = {step["step"]: step["detail"] for step in check["steps"] if not step["ok"]}
        told["gpus"] = kernel.run("%policy gpus").text
    return told


def recorder():
    try:
        gpu_results.check_hardware()
    except gpu_results.NoHardwareError as error:
        return str(error)


def main():
    notebooks, smi, *policies = sys.argv[1:]
    code = ATTEMPT.format(smi=smi)
    told = {
        "discovered": dataclasses.asdict(asyncio.run(discovery.discover())),
        "outside": outside(code),
        "recorder": recorder(),
        **{Path(policy).stem: inside(code, notebooks, policy) for policy in policies},
    }
    json.dump(told, sys.stdout)


main()
