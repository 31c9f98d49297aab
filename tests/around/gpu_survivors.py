"""On a machine with stand-ins for GPUs: kernels leave processes that have a GPU open. Prints JSON of what came of it.

`gpu_survivors.py FOLDER POLICY`.
"""

import io
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from support import kernels

from openshell_kernel.gpu.claims import Registry
from openshell_kernel.sandbox import keeper

# A plain child with the GPU open, as a notebook starts one, and one that has left the kernel in every way.
HOLD = """
import subprocess, sys
def opened():
    for number in range(2):
        try:
            return open(f"/dev/nvidia{number}", "r+b", buffering=0)
        except OSError:
            continue
node = opened()
START = '''
import subprocess, sys
none = subprocess.DEVNULL
print(subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=none, stdout=none, stderr=none,
                       pass_fds=[int(sys.argv[1])]).pid)
'''
fd = node.fileno()
plain = subprocess.Popen(["sleep", "600"], pass_fds=[fd], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid
gone = int(subprocess.run([sys.executable, "-c", START, str(fd)], pass_fds=[fd], capture_output=True, text=True).stdout)
"""


def held():
    return sorted(uuid for holder in Registry().holders() for uuid in holder.uuids)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def holders():
    """Return the processes with a node of a GPU open, but this one's like."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            targets = [os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")]
        except OSError:
            continue
        if any(target.startswith("/dev/nvidia") and target[-1].isdigit() for target in targets):
            found.append(int(name))
    return found


def left_open(notebooks, configuration):
    """A kernel is shut down: nothing has its GPU open when its claim is released."""
    with kernels.started(cwd=notebooks, configuration=configuration) as kernel:
        assert kernel.run(HOLD).error == ""
        before = {"held": held(), "holders": len(holders())}
    return {**before, "after": {"held": held(), "holders": holders()}}


def keeper_of(kernel):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(keeper.__file__) in words and str(kernel).encode() in words:
            return int(name)
    raise AssertionError("no keeper")


def without_keeper(notebooks, configuration):
    """The keeper is killed by somebody outside: what the kernel leaves keeps the claim, and is named."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger("traitlets").addHandler(handler)
    with kernels.started(cwd=notebooks, configuration=configuration) as kernel:
        assert kernel.run(HOLD).error == ""
        gone = kernel.value("gone")
        os.kill(keeper_of(kernel.pid), signal.SIGKILL)
    told = {"named": f"process {gone} (sleep)" in log.getvalue(), "log": log.getvalue(), "held": held()}
    try:
        with kernels.started(cwd=notebooks, configuration=configuration) as other:
            told["other"] = json.loads(other.run("%policy gpus --json").text)["selection"]["devices"]
    finally:
        os.kill(gone, signal.SIGKILL)
    kernels.eventually(lambda: held() == [], "the end of the claim")
    return told


def serve(notebooks, policy):
    """A server that is stopped as one is: by SIGTERM, at which it shuts its kernels down."""

    def stop(*_):
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    with kernels.started(cwd=notebooks, configuration={"policy": policy}) as kernel:
        assert kernel.run(HOLD).error == ""
        print(kernel.value("gone"), flush=True)
        signal.pause()


def served(notebooks, policy, number):
    command = [sys.executable, __file__, "serve", notebooks, policy]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        gone = int(server.stdout.readline())
        before = held()
        server.send_signal(number)
    kernels.eventually(lambda: held() == [], "the end of the claim")
    # Whoever is given the GPU now finds it free.
    return {"before": before, "holders": holders(), "lives": lives(gone)}


def main(notebooks, policy):
    configuration = {"policy": policy}
    told = {
        "shut down": left_open(notebooks, configuration),
        "without keeper": without_keeper(notebooks, configuration),
        "stopped": served(notebooks, policy, signal.SIGTERM),
        "killed": served(notebooks, policy, signal.SIGKILL),
    }
    json.dump(told, sys.stdout)


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    main(*sys.argv[1:])
