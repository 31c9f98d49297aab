"""Runs a confined kernel on a machine with MIG and prints as JSON which of its nodes could be opened."""

import json
import os
import sys

from support import kernels

OPEN = """
import errno, json, os

def attempt(name, flags):
    try:
        os.close(os.open("/dev/" + name, flags | os.O_NOCTTY))
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]

caps = [f"nvidia-caps/nvidia-cap{number}" for number in (1, 2, 12, 13, 21, 22)]
print(json.dumps({
    "nodes": {name: attempt(name, os.O_RDWR if name == "nvidia0" else os.O_RDONLY) for name in ["nvidia0", *caps]},
    "writing": attempt(caps[-1], os.O_WRONLY),
    "env": os.environ["CUDA_VISIBLE_DEVICES"],
}))
"""


def main():
    os.environ["OPENSHELL_SANDBOX_POLICY"] = sys.argv[2]
    with kernels.started(cwd=sys.argv[1]) as kernel:
        told = json.loads(kernel.run(OPEN).text)
        told["text"] = kernel.run("%policy gpus").text
    json.dump(told, sys.stdout)


main()
