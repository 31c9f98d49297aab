"""A process that confines itself and then tries things; it says on stdout, as JSON, what came of each.

Reads {"rules": [...], "attempts": [[name, argument, ...], ...]} from stdin. An attempt's outcome is the name of the
error (EACCES), or what it returned.
"""

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import threading

from openshell_kernel.base import wire
from openshell_kernel.base.libc import set_no_new_privs
from openshell_kernel.base.rules import Access, Origin, Rule
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox import ruleset
from openshell_kernel.sandbox.layers.contract import Context
from openshell_kernel.sandbox.layers.landlock import Landlock


def read(path):
    with open(path, "rb") as stream:
        return stream.read(1).decode("latin-1")


def write(path):
    fd = os.open(path, os.O_WRONLY)
    os.close(fd)
    return "ok"


def truncate(path):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    return "ok"


def create(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    return "ok"


def listing(path):
    return sorted(os.listdir(path))


def execute(path):
    return subprocess.run([path], check=False, capture_output=True).returncode


def mknod(path):
    os.mknod(path, 0o20600, os.makedev(1, 3))
    return "ok"


def ioctl(path):
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    finally:
        os.close(fd)
    return "ok"


def kill(pid):
    os.kill(pid, 0)
    return "ok"


def connect_abstract(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)
    return "ok"


def run_in_thread(name, *arguments):
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(attempt(name, *arguments)))
    thread.start()
    thread.join()
    return outcome[0]


def in_child(name, *arguments):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(attempt(name, *arguments)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        return json.load(stream)


def comm(mode):
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", mode) as stream:
        stream.write("renamed")
    return "ok"


ATTEMPTS = {
    "read": read,
    "write": write,
    "truncate": truncate,
    "create": create,
    "list": listing,
    "execute": execute,
    "mknod": mknod,
    "ioctl": ioctl,
    "kill": kill,
    "mkdir": lambda path: os.mkdir(path) or "ok",
    "unlink": lambda path: os.unlink(path) or "ok",
    "symlink": lambda path: os.symlink("/etc", path) or "ok",
    "link": lambda source, target: os.link(source, target) or "ok",
    "rename": lambda source, target: os.rename(source, target) or "ok",
    "setuid_gain": lambda: ctypes.CDLL(None).prctl(39, 0, 0, 0, 0),
    "connect_abstract": connect_abstract,
    "comm": comm,
    "in_thread": run_in_thread,
    "in_child": in_child,
}


def attempt(name, *arguments):
    try:
        return ATTEMPTS[name](*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def main():
    signal.alarm(60)
    request = json.load(sys.stdin)
    rules = tuple(
        Rule(path, Access.READ_ONLY, tuple(rights), Origin.RUNTIME_BASELINE, "", required=required, exact=bool(exact))
        for path, rights, required, *exact in request["rules"]
    )
    answer = {}
    if request.get("thread"):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    try:
        if request.get("confine", True):
            layer = Landlock(Landlock.takes(rules=rules), Context(support=ruleset.probe(), rules=rules))
            layer.prepare()
            set_no_new_privs()
            answer |= {"layer": wire.encode(layer.enforce()), "rules": wire.encode(layer.context.rules)}
        answer["outcomes"] = [attempt(*words) for words in request["attempts"]]
    except ConfinementError as error:
        answer["refused"] = str(error)
    json.dump(answer, sys.stdout)


main()
