"""The process that copies a kernel's output from a pipe into a file of the client, where no provisioner does.

Started by `openshell_kernel.server.standalone`. It ends when nobody has the pipe's other end any more.
"""

from __future__ import annotations

import os

_PIECE = 1 << 16


def main() -> None:
    """Copy from standard input to standard output, each piece as it comes."""
    while piece := os.read(0, _PIECE):
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
