"""Programs that tests start: those that are installed beside this Python, and scripts of the tests that tell JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
SECONDS = 120
# Variables that lead Jupyter and this package elsewhere.
FOREIGN = ("JUPYTER", "JPY_", "IPYTHON", "XDG_", "OPENSHELL_SANDBOX")
# What the packages of this environment bring is away, and with it what this one brings.
WITHOUT_SHIPPED_CONFIGURATION = {"JUPYTER_NO_CONFIG": "1"}


def run(home, program, *arguments, cwd=None, **environment):
    """Run an installed program as a user with this home, in the folder of notebooks or another one."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), program), *arguments],
        cwd=cwd or home / "notebooks",
        env={**inherited, "HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def told(*words, **environment):
    """Run this Python with what imports the tests' modules; return the JSON that it prints, and its errors as text."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr
