"""The process that copies a kernel's output to where its client wants it, where no provisioner does.

Started by `openshell_kernel.server.standalone`, with what names the kernel as its only argument. It ends when nobody
has the pipe's other end any more. Each line is marked and made harmless, as the provisioner's are; see `output`.
"""

from __future__ import annotations

import os
import select
import sys

from openshell_kernel.server.process.output import Relay


def main(kernel: str) -> None:
    """Copy from standard input to standard output, each line as it comes."""
    os.set_blocking(0, False)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    relay = Relay(1, kernel_id=kernel)
    while poll.poll() and relay.copy(0):
        pass
    relay.finish()


if __name__ == "__main__":
    main(sys.argv[1])
