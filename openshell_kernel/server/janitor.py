"""The process that removes what a kernel leaves behind when it has ended, where no provisioner does.

That is its private folder, and the record of the GPUs that it held, which this process keeps locked until then.

Started by `openshell_kernel.server.standalone` as a program of its own, so that it does not keep, for as long as the
kernel lives, the environment that the kernel must not see.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys

from openshell_kernel.server.trees import remove_tree


def main(pidfd: int, path: str) -> None:
    """Wait for the end of a process, then remove the folder or file."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    if os.path.isdir(path):
        remove_tree(path)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
