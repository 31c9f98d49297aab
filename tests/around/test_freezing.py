"""No notebook makes the server stand still: by a lease on a file that it saves, or by the pipe for its own output."""

import os
import subprocess
import sys
from pathlib import Path

from support import kernels

# A lease is to be given up when it is broken by an open: whoever ignores the signal, keeps it for 45 seconds.
LEASE = """
import fcntl, signal
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open("notebook.ipynb")
def lease(command):
    try:
        fcntl.fcntl(file, command, fcntl.F_WRLCK)
    except OSError as error:
        return type(error).__name__
"""
SAVE = "import os, sys; os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)"


def saved(path):
    """Whether the file can be opened at once. Who may not wait is told that there is a lease."""
    return subprocess.run([sys.executable, "-c", SAVE, path], capture_output=True, check=False).returncode == 0


def leased(name, user):
    path = user / "notebooks" / "notebook.ipynb"
    path.write_text("{}")
    with kernels.started(name, cwd=path.parent) as kernel:
        kernel.run(LEASE)
        told = kernel.value("lease(fcntl.F_SETLEASE)")
        kernel.value("lease(1040)")
        return told, saved(path)


def test_without_the_sandbox_a_lease_on_a_notebook_hinders_its_saving(user):
    assert leased("python3", user) == (None, False)


def test_no_lease_can_be_taken(user):
    assert leased("openshell-gpu", user) == ("PermissionError", True)


EMPTY = """
import os, threading
def empty():
    # What is written is read again by the writer: through another description of the same pipe.
    reading = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    while True:
        os.write(1, b"x")
        try:
            os.read(reading, 1 << 16)
        except BlockingIOError:
            pass
import sys
for _ in range(4):
    threading.Thread(target=empty, daemon=True).start()
"""


def test_a_kernel_that_reads_its_own_output_can_be_shut_down(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        pid = kernel.pid
        kernel.run("import os\nos.write(1, b'before\\n')")
        assert kernel.run(EMPTY).error == ""
    assert not Path(f"/proc/{pid}").exists() or pid == os.getpid()
