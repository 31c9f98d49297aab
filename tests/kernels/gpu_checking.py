"""Runs a confined kernel that checks its GPUs, and prints what the check said and how the command line's ended."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support import kernels

PLANT = """
import os, pathlib
startup = pathlib.Path(os.environ["IPYTHONDIR"], "profile_default", "startup")
startup.mkdir(parents=True, exist_ok=True)
(startup / "00.py").write_text("get_ipython().register_magic_function(lambda line: print('FAKED'), 'line', 'policy')")
"""


def main():
    notebooks, policy = sys.argv[1:3]
    os.environ["OPENSHELL_SANDBOX_POLICY"] = policy
    with kernels.started(cwd=notebooks) as kernel:
        told = {
            "text": kernel.run("%policy gpus --check").text,
            "json": kernel.json("%policy gpus --check --json"),
            "show": kernel.run("%policy show").text,
        }
        kernel.run(PLANT)
    command = [str(Path(sys.executable).with_name("jupyter")), "openshell", "gpu-check", "--policy", policy]
    done = subprocess.run(command, cwd=notebooks, capture_output=True, text=True)
    told["command"] = {"status": done.returncode, "text": done.stdout, "errors": done.stderr}
    json.dump(told, sys.stdout)


main()
