"""The process that waits for the end of a kernel, which may go on without the server that started it.

It keeps the record of the GPUs that the kernel holds locked until nothing of the kernel is left, and removes what a
kernel leaves behind where no provisioner does: that record, and its private folder.

A program of its own, so that it does not keep, for as long as the kernel lives, the environment that the kernel must
not see.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, cast

from openshell_kernel.server.dirs.untrusted_tree import remove_tree
from openshell_kernel.server.process.ending import Ending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openshell_kernel.gpu.claims import Claim


def command(ending: Ending, path: str = "") -> list[str]:
    """Return the command of the process that waits for an ending and then removes a path; it inherits `ending`."""
    program = [sys.executable, "-I", "-m", "openshell_kernel.server.process.janitor"]
    return [*program, str(ending.kernel), str(ending.keeper), path, *ending.nodes]


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
        command(ending, path),
        cwd="/",
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(cast("int", ending.kernel), ending.keeper, keep),
        # Out of reach of what ends this process and its group, such as a terminal's Ctrl-C.
        start_new_session=True,
    )


def main(ending: Ending, path: str) -> None:
    """Wait for the end of a kernel and all that it has started, then remove a folder or file, if one is given."""
    ending.wait()
    if os.path.isdir(path):
        remove_tree(path)
    elif path:
        with contextlib.suppress(OSError):
            os.unlink(path)


if __name__ == "__main__":
    main(Ending(int(sys.argv[1]), int(sys.argv[2]), sys.argv[4:]), sys.argv[3])
