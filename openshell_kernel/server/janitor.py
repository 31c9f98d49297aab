"""The process that removes a kernel's private folder when the kernel has ended, where no provisioner does.

Started by `openshell_kernel.server.standalone` as a program of its own, so that it does not keep, for as long as the
kernel lives, the environment that the kernel must not see.
"""

from __future__ import annotations

import select
import sys

from openshell_kernel.server.private import remove_tree


def main(pidfd: int, folder: str) -> None:
    """Wait for the end of a process, then remove the folder."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    remove_tree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
