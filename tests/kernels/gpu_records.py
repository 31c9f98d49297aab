"""Starts a kernel while another user exchanges the folder of his records for a link; prints what the kernel may list.

`gpu_records.py NOTEBOOKS POLICY CLAIMS SECRETS`, once without and once with the exchange.
"""

import json
import logging
import os
import sys
from pathlib import Path

from support import kernels

OTHER = 54321


class Exchange(logging.Handler):
    """Does it when the provisioner tells of its plan, and before the plan is carried out."""

    def __init__(self, folder, target):
        super().__init__()
        self._folder = folder
        self._target = target

    def emit(self, record):
        if "holds GPU" in record.getMessage():
            self._folder.rename(self._folder.with_name("away"))
            self._folder.symlink_to(self._target)


def listed(notebooks, policy, claims, secrets):
    configuration = {"policy": policy, "gpu_claims": claims}
    code = f"[try_(p) for p in {[f'{claims}/openshell-gpu-{OTHER}', secrets]!r}]"
    with kernels.started(cwd=notebooks, configuration=configuration) as kernel:
        kernel.run(
            "import os\ndef try_(p):\n    try: return os.listdir(p)\n    except OSError as e: return type(e).__name__"
        )
        return kernel.value(code)


def main():
    notebooks, policy, claims, secrets = sys.argv[1:]
    folder = Path(claims, f"openshell-gpu-{OTHER}")
    folder.mkdir()
    os.chown(folder, OTHER, OTHER)
    log = logging.getLogger("traitlets")
    log.setLevel(logging.INFO)
    told = [listed(notebooks, policy, claims, secrets)]
    log.addHandler(Exchange(folder, secrets))
    told.append(listed(notebooks, policy, claims, secrets))
    json.dump(told, sys.stdout)


main()
