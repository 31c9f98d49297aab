"""Starts a confined kernel, lets a GPU be lost, starts another one, and prints as JSON how that went."""

import json
import os
import sys
from pathlib import Path

from support import kernels


def start(notebooks):
    try:
        with kernels.started(cwd=notebooks):
            return "started"
    except Exception as error:  # noqa: BLE001 - what a client shows
        return str(error)


def main():
    notebooks, os.environ["OPENSHELL_SANDBOX_POLICY"] = sys.argv[1:3]
    told = {"before": start(notebooks)}
    with (Path(os.environ["LD_LIBRARY_PATH"]) / "gpus.conf").open("a") as stream:
        stream.write("fail nvmlDeviceGetHandleByIndex_v2 15 1\n")
    told["after"] = start(notebooks)
    json.dump(told, sys.stdout)


main()
