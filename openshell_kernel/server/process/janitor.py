"""The process that waits for the end of a kernel, which may go on without the server that started it.

It keeps the record of the GPUs that the kernel holds locked until nothing of the kernel is left, and removes what a
kernel leaves behind where no provisioner does: that record, and its private folder.

A program of its own, so that it does not keep, for as long as the kernel lives, the environment that the kernel must
not see.
"""

from __future__ import annotations

import contextlib
import os
import sys

from openshell_kernel.server.dirs.untrusted_tree import remove_tree
from openshell_kernel.server.process.ending import Ending


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
