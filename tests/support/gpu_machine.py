"""A machine with GPUs, in a private mount namespace: real character nodes under /dev, a fake driver's library.

Run as root: `python -m support.gpu_machine FOLDER-OF-LIBRARY SCRIPT ARGUMENTS...`. The nodes have the numbers of
/dev/null: opening them works, and an ioctl that reaches them is answered with ENOTTY. There are those of two GPUs, or
what OPENSHELL_TEST_GPU_NODES names, separated by commas. Claims of GPUs are the machine's own as well.
"""

import ctypes
import os
import runpy
import subprocess
import sys
import tempfile

NODES = ("nvidiactl", "nvidia0", "nvidia3", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
GPU_NODES = "OPENSHELL_TEST_GPU_NODES"
MIG_MINORS = "OPENSHELL_TEST_MIG_MINORS"
SYSTEM_POLICY = "OPENSHELL_TEST_SYSTEM_POLICY"
NEW_NAMESPACE = 0x00020000  # CLONE_NEWNS


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def make_devices(nodes):
    """Replace /dev by a folder with the machine's nodes and those of the GPUs; only this namespace sees it.

    `nodes` maps the names of the GPUs' to their device numbers.
    """
    new = tempfile.mkdtemp()
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", new)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        open(f"{new}/{name}", "w").close()
        mount("--bind", f"/dev/{name}", f"{new}/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{new}/{name}")
        mount("--rbind", f"/dev/{name}", f"{new}/{name}")
    # Linux looks for the terminals beside the node itself, wherever that is bound to.
    os.mknod(f"{new}/ptmx", 0o20666, os.stat("/dev/ptmx").st_rdev)
    os.chmod(f"{new}/ptmx", 0o666)  # noqa: S103 - as it is
    os.symlink("/proc/self/fd", f"{new}/fd")
    for name, number in nodes.items():
        os.makedirs(os.path.dirname(f"{new}/{name}"), exist_ok=True)
        # As the driver makes them: who may use a GPU is for others to say.
        os.mknod(f"{new}/{name}", 0o20666, number)
        os.chmod(f"{new}/{name}", 0o666)  # noqa: S103 - see above
    mount("--rbind", new, "/dev")


def add_mig_minors(text):
    """Put the driver's table of MIG capabilities into /proc; only this namespace sees it."""
    mount("-t", "tmpfs", "tmpfs", "/proc/driver")
    os.mkdir("/proc/driver/nvidia-caps")
    with open("/proc/driver/nvidia-caps/mig-minors", "w") as stream:
        stream.write(text)


def make_etc_writable():
    """Let this namespace alone see what is written to /etc from now on."""
    folder = tempfile.mkdtemp()
    mount("-t", "tmpfs", "tmpfs", folder)
    for name in ("upper", "work"):
        os.mkdir(f"{folder}/{name}")
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work", "/etc")


def add_system_policy(text):
    """Put a policy into /etc/openshell; only this namespace sees it."""
    make_etc_writable()
    os.mkdir("/etc/openshell")
    with open("/etc/openshell/policy.yaml", "w") as stream:
        stream.write(text)


def enter():
    """Change into a mount namespace in which claims of GPUs are the machine's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE) != 0:
        raise SystemExit(f"unshare: {os.strerror(ctypes.get_errno())}")
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/run/lock")


def main():
    library, script, *arguments = sys.argv[1:]
    enter()
    named = os.environ.pop(GPU_NODES, "")
    make_devices(dict.fromkeys(named.split(",") if named else NODES, os.stat("/dev/null").st_rdev))
    if MIG_MINORS in os.environ:
        add_mig_minors(os.environ.pop(MIG_MINORS))
    if SYSTEM_POLICY in os.environ:
        add_system_policy(os.environ.pop(SYSTEM_POLICY))
    os.environ["LD_LIBRARY_PATH"] = library
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
