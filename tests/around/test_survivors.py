"""Nothing that a kernel started lives on when the kernel has ended, however it ended and whatever the process did."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from jupyter_client.ioloop import AsyncIOLoopKernelManager
from kernels.test_standalone import Process
from support import kernels
from support.launching import reachable

# In a session of its own, and nobody's child: Jupyter has no way to find it.
DAEMON = """
import subprocess, sys
START = '''
import subprocess
none = subprocess.DEVNULL
print(subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=none, stdout=none, stderr=none).pid)
'''
def daemon():
    return int(subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True).stdout)
"""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take on another identity")


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def daemon(kernel):
    """Start a process that has left the kernel in every way; return its number, which is the same here."""
    kernel.run(DAEMON)
    pid = kernel.value("daemon()")
    assert lives(pid)
    return pid


@pytest.fixture
def left():
    """What a test leaves is ended."""
    pids = []
    yield pids
    for pid in filter(lives, pids):
        os.kill(pid, signal.SIGKILL)


def test_without_the_sandbox_it_goes_on(user, left):
    with kernels.started("python3", cwd=user / "notebooks") as kernel:
        left.append(daemon(kernel))
    assert lives(left[0])


def test_a_kernel_that_is_shut_down_takes_it_along(user, left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        left.append(daemon(kernel))
    assert not lives(left[0])


def test_a_kernel_that_is_restarted_takes_it_along(user, left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        left.append(daemon(kernel))
        kernel.manager.restart_kernel()
        assert not lives(left[0])
        kernel.client.wait_for_ready(timeout=kernels.SECONDS)
        left.append(daemon(kernel))
    assert not lives(left[1])


def test_a_kernel_that_crashes_takes_it_along(user, left):
    async def crash():
        manager = AsyncIOLoopKernelManager(kernel_name="openshell-gpu")
        await manager.start_kernel(cwd=str(user / "notebooks"))
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=kernels.SECONDS)
        told = []
        code = f"{DAEMON}\nprint(daemon())"
        await client.execute_interactive(code, output_hook=lambda message: told.append(message["content"].get("text")))
        left.extend(int(text) for text in told if text)
        assert lives(left[0])
        os.kill(manager.provisioner.pid, signal.SIGKILL)
        await asyncio.to_thread(kernels.eventually, lambda: not lives(left[0]), "its end")
        client.stop_channels()
        await manager.shutdown_kernel(now=True)

    asyncio.run(asyncio.wait_for(crash(), kernels.SECONDS))


def test_a_kernel_whose_server_is_killed_takes_it_along(user, left):
    code = (
        "import sys; from jupyter_client.manager import KernelManager; from around import test_survivors as survivors\n"
        "from support import kernels\n"
        "with kernels.started(cwd=sys.argv[1]) as kernel:\n"
        "    print(survivors.daemon(kernel), flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(user / "notebooks")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        left.append(int(server.stdout.readline()))
        server.kill()
    kernels.eventually(lambda: not lives(left[0]), "its end")


def test_a_kernel_without_a_provisioner_takes_it_along(user, left):
    process = Process(user)
    kernel = kernels.Kernel(None, process.client())
    left.append(daemon(kernel))
    kernel.client.shutdown()
    process.process.communicate(timeout=kernels.SECONDS)
    kernel.client.stop_channels()
    kernels.eventually(lambda: not lives(left[0]), "its end")


@root_only
@pytest.mark.skipif(not reachable(sys.executable), reason="this Python lies in a folder that only root may enter")
def test_a_kernel_that_runs_as_somebody_else_takes_it_along(user, write_policy, left, monkeypatch):
    write_policy("version: 1\nprocess: {run_as_user: '1500', run_as_group: '1501'}\n")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chown(folder, 1500, 1501)
        monkeypatch.setenv("TMPDIR", "/var/tmp")
        monkeypatch.setattr("tempfile.tempdir", None)
        with kernels.started(cwd=folder) as kernel:
            left.append(daemon(kernel))
        assert not lives(left[0])


KEEPER = "sandbox/keeper.py"
ATTACK = """
import os, signal
def attack(outside):
    try:
        os.kill(outside, 0)
    except PermissionError:
        # So this reaches nothing but what the kernel has started.
        os.kill(-1, signal.SIGSTOP)
        os.kill(-1, signal.SIGKILL)
        return "nobody outside is reached"
"""


def test_what_is_to_end_it_is_out_of_its_reach(user, left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        (keeping,) = set(running(KEEPER)) & set(running(str(kernel.pid)))
        kernel.run(ATTACK)
        assert kernel.value(f"attack({os.getpid()})") == "nobody outside is reached"
        for number in ("SIGKILL", "SIGSTOP", "SIGINT"):
            code = f"os.kill({keeping}, signal.{number})"
            assert kernel.run(code).error.startswith("PermissionError")
        assert kernel.run(f"open('/proc/{keeping}/mem', 'r+b')").error.startswith(("PermissionError", "FileNotFound"))
        assert kernel.run(f"os.listdir('/proc/{keeping}/fd')").error.startswith(("PermissionError", "FileNotFound"))
        left.append(daemon(kernel))
    assert not lives(left[0])
    kernels.eventually(lambda: not lives(keeping), "the keeper's end")


def running(word):
    """Return the processes of which an argument ends so."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if any(argument.endswith(word.encode()) for argument in words):
                found.append(int(name))
    return found


FORKS = """
import os, time
while not os.path.exists("enough"):
    os.fork() and os._exit(0)
    os.setsid()
    with open("beat.new", "w") as file:
        file.write(str(time.time_ns()))
    os.rename("beat.new", "beat")
"""


@pytest.mark.parametrize("name", ["python3", "openshell-gpu"])
def test_it_ends_one_that_forks_all_the_time(user, name):
    """Each process forks, and ends: whoever looks for them by number comes too late."""
    beat = user / "notebooks" / "beat"
    with kernels.started(name, cwd=user / "notebooks") as kernel:
        kernel.run(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {FORKS!r}])")
        kernels.eventually(beat.exists, "its start")
    before = beat.read_text()
    if name == "python3":
        kernels.eventually(lambda: beat.read_text() != before, "another beat")
        (user / "notebooks" / "enough").touch()
        kernels.eventually(lambda: not running(FORKS), "its end")
        return
    time.sleep(0.5)
    assert beat.read_text() == before


ADOPTED = """
import ctypes, os, platform
clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
CLONE_PARENT, SIGCHLD = 0x8000, 17
libc = ctypes.CDLL(None, use_errno=True)
def adopted():
    child = libc.syscall(clone, ctypes.c_ulong(CLONE_PARENT | SIGCHLD), None, None, None, None)
    if child == 0:
        os._exit(0)
    return child, os.strerror(ctypes.get_errno())
"""


def adopted(name, user):
    """Make a kernel's process a child of this one, its server; return how that went, and its state when it is over."""
    with kernels.started(name, cwd=user / "notebooks") as kernel:
        assert kernel.run(ADOPTED).error == ""
        pid, why = kernel.value("adopted()")
    if pid < 0:
        return why
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    os.waitpid(pid, 0)
    return state


def test_none_of_its_processes_stays_with_the_server_as_a_dead_one(user):
    assert adopted("python3", user) == "Z"
    assert adopted("openshell-gpu", user) == "Operation not permitted"


def test_policy_show_tells_of_it(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        shown = kernel.record()
    (layer,) = [layer for layer in shown["report"]["layers"] if layer["name"] == "keeper"]
    assert layer["status"] == "enforced"
