"""The processes that look after a kernel, and may go on without the server that started it; see `__main__`.

One waits for the kernel's end: it keeps the record of the GPUs that the kernel holds locked until nothing of the kernel
is left, and removes what a kernel leaves behind where no provisioner does: that record, and its private folder. The
other copies a kernel's output to where its client wants it, where no provisioner does: each line is marked and made
harmless, see `output`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from enum import Enum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.gpu.claims import Claim
    from openshell_kernel.server.process.ending import Ending

_PROGRAM = (sys.executable, "-I", "-m", __name__)


class Job(Enum):
    """What a janitor does."""

    WAIT = "wait"
    COPY = "copy"


def waiting(ending: Ending, path: str = "") -> list[str]:
    """Return the command of the process that waits for an ending and then removes a path; it inherits `ending`."""
    return [*_PROGRAM, Job.WAIT.value, str(ending.kernel), str(ending.keeper), path, *ending.nodes]


def copying(kernel_id: str) -> list[str]:
    """Return the command of the process that copies a kernel's output from its stdin to its stdout."""
    return [*_PROGRAM, Job.COPY.value, kernel_id]


def entrust(claim: Claim, ending: Ending, environment: Mapping[str, str]) -> None:
    """Have a janitor keep a claim as well while anything of the kernel is left, also when this process is killed.

    `Claim.release` ends it all the same. Where processes cannot be watched, or none can be started, nobody does.
    """
    if ending.kernel is None:
        return
    with contextlib.ExitStack() as closing, contextlib.suppress(OSError):
        lock = claim.descriptor()
        closing.callback(os.close, lock)
        janitor = start(ending, environment, keep=lock)
        threading.Thread(target=janitor.wait, name="openshell-janitor", daemon=True).start()


def start(ending: Ending, environment: Mapping[str, str], *, keep: int, path: str = "") -> subprocess.Popen[bytes]:
    """Start a janitor, which keeps a descriptor open, and with it a lock, as long as anything of the kernel is left.

    Processes can be watched here: `ending` has a `kernel`.
    """
    return subprocess.Popen(
        waiting(ending, path),
        cwd="/",
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(cast("int", ending.kernel), ending.keeper, keep),
        # Out of reach of what ends this process and its group, such as a terminal's Ctrl-C.
        start_new_session=True,
    )
