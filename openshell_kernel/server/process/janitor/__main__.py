"""The janitor's program: it waits for the end of a kernel, or it copies what a kernel writes.

A program of its own, so that it does not keep, for as long as the kernel lives, the environment that the kernel must
not see.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys

from openshell_kernel.server.dirs.untrusted_tree import remove_tree
from openshell_kernel.server.process.ending import Ending
from openshell_kernel.server.process.janitor import Job
from openshell_kernel.server.process.output import Relay


def wait(ending: Ending, path: str) -> None:
    """Wait for the end of a kernel and all that it has started, then remove a folder or file, if one is given."""
    ending.wait()
    if os.path.isdir(path):
        remove_tree(path)
    elif path:
        with contextlib.suppress(OSError):
            os.unlink(path)


def copy(kernel_id: str) -> None:
    """Copy from standard input to standard output, each line as it comes, until nobody has the pipe's other end."""
    os.set_blocking(0, False)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    relay = Relay(1, kernel_id=kernel_id)
    while poll.poll() and relay.copy(0):
        pass
    relay.finish()


def main(job: str, *words: str) -> None:
    """Do a job; the words are those of `waiting` and `copying`."""
    if Job(job) is Job.COPY:
        copy(*words)
    else:
        kernel, keeper, path, *nodes = words
        wait(Ending(int(kernel), int(keeper), nodes), path)


if __name__ == "__main__":
    main(*sys.argv[1:])
