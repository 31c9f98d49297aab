"""The process that waits for the end of a kernel, which may go on without the server that started it.

It keeps the record of the GPUs that the kernel holds locked until then, and removes what a kernel leaves behind where
no provisioner does: that record, and its private folder.

A program of its own, so that it does not keep, for as long as the kernel lives, the environment that the kernel must
not see.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys

from openshell_kernel.server.trees import remove_tree


def main(pidfd: int, path: str | None = None) -> None:
    """Wait for the end of a process, then remove the folder or file, if one is given."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    if path is None:
        return
    if os.path.isdir(path):
        remove_tree(path)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
