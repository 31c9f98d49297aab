"""A program that starts a kernel, has its restart refused, says the stub kernel's process id, and waits.

Usage: killed_server.py WORKDIR POLICY, where POLICY is the user's policy file.
"""

import signal
import sys
from pathlib import Path

from jupyter_client.manager import KernelManager

workdir, policy = sys.argv[1:]
manager = KernelManager(kernel_name="openshell-gpu")
manager.start_kernel(cwd=workdir)
Path(policy).write_text("version: 2\n")
manager.restart_kernel()
print(manager.provisioner.pid, flush=True)
signal.pause()
