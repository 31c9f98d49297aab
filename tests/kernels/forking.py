"""Starts a kernel and forks. Usage: forking.py WORKDIR WHAT; it says on stdout, as JSON, what came of it."""

import json
import os
import signal
import sys
import time

from jupyter_client.manager import KernelManager

WORKDIR, WHAT = sys.argv[1:]
SECONDS = 30


def started():
    manager = KernelManager(kernel_name="openshell-gpu")
    manager.start_kernel(cwd=WORKDIR)
    return manager


def start_in_the_child():
    started().shutdown_kernel(now=True)
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        started().shutdown_kernel(now=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def end_the_child():
    manager = started()
    folder = os.path.dirname(manager.ip)
    child = os.fork()
    if child == 0:
        sys.exit()
    os.waitpid(child, 0)
    what = "there" if os.path.isdir(folder) else "gone"
    manager.shutdown_kernel(now=True)
    return what


# What a kernel forks holds the pipe of its output, and goes on when the kernel ends.
LEAVE_BEHIND = f"""
import os, time
pid = os.fork()
if pid == 0:
    os.setsid()
    time.sleep({SECONDS * 10})
    os._exit(0)
print(pid)
"""


def left_behind(manager):
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=SECONDS)
    messages = []
    client.execute_interactive(LEAVE_BEHIND, output_hook=messages.append, timeout=SECONDS)
    client.stop_channels()
    # Since Python 3.12 a warning about the fork goes to stderr.
    return int("".join(m["content"]["text"] for m in messages if m["content"].get("name") == "stdout"))


def end_the_kernel():
    manager = started()
    orphan = left_behind(manager)
    child = os.fork()
    if child == 0:
        time.sleep(SECONDS * 10)
        os._exit(0)

    def give_up(*_):
        os.kill(child, signal.SIGKILL)
        os.kill(orphan, signal.SIGKILL)
        os._exit(1)

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    manager.shutdown_kernel(now=True)
    signal.alarm(0)
    os.kill(child, signal.SIGKILL)
    os.kill(orphan, signal.SIGKILL)
    os.waitpid(child, 0)
    return "ended"


WAYS = {"start in the child": start_in_the_child, "end the child": end_the_child, "end the kernel": end_the_kernel}
answer = WAYS[WHAT]()
print(json.dumps(answer))
