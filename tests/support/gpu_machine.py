"""A machine with two GPUs, in a private mount namespace: real character nodes under /dev, a fake driver's library.

Run as root: `python -m support.gpu_machine FOLDER-OF-LIBRARY SCRIPT ARGUMENTS...`. The nodes have the numbers of
/dev/null: opening them works, and an ioctl that reaches them is answered with ENOTTY.
"""

import ctypes
import os
import runpy
import subprocess
import sys
import tempfile

NODES = ("nvidiactl", "nvidia0", "nvidia3", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
SYSTEM_POLICY = "OPENSHELL_TEST_SYSTEM_POLICY"
NEW_NAMESPACE = 0x00020000  # CLONE_NEWNS


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def make_devices():
    """Replace /dev by a folder with the machine's nodes and those of the GPUs; only this namespace sees it."""
    new = tempfile.mkdtemp()
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", new)
    for name in ("null", "zero", "full", "random", "urandom", "ptmx", "tty"):
        open(f"{new}/{name}", "w").close()
        mount("--bind", f"/dev/{name}", f"{new}/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{new}/{name}")
        mount("--rbind", f"/dev/{name}", f"{new}/{name}")
    os.symlink("/proc/self/fd", f"{new}/fd")
    number = os.stat("/dev/null").st_rdev
    for name in NODES:
        os.mknod(f"{new}/{name}", 0o20600, number)
    mount("--rbind", new, "/dev")


def add_system_policy(text):
    """Put a policy into /etc/openshell; only this namespace sees it."""
    folder = tempfile.mkdtemp()
    mount("-t", "tmpfs", "tmpfs", folder)
    for name in ("upper", "work"):
        os.mkdir(f"{folder}/{name}")
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work", "/etc")
    os.mkdir("/etc/openshell")
    with open("/etc/openshell/policy.yaml", "w") as stream:
        stream.write(text)


def main():
    library, script, *arguments = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE) != 0:
        raise SystemExit(f"unshare: {os.strerror(ctypes.get_errno())}")
    mount("--make-rprivate", "/")
    make_devices()
    if SYSTEM_POLICY in os.environ:
        add_system_policy(os.environ.pop(SYSTEM_POLICY))
    os.environ["LD_LIBRARY_PATH"] = library
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
