"""A process that filters its system calls and then makes some; it says on stdout, as JSON, what came of each.

Reads {"program": base64 or null, "calls": [[number, [argument, ...]], ...], "attempts": [name, ...]} from stdin. Each
is tried in a process of its own, because some would change or end it. An outcome is the name of an error (EPERM) or of
a signal (SIGSYS), or what was returned.
"""

import base64
import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading

from openshell_kernel.base.libc import set_no_new_privs
from openshell_kernel.sandbox.layers.contract import Context
from openshell_kernel.sandbox.layers.seccomp import Seccomp
from openshell_kernel.sandbox.report import LayerStatus
from openshell_kernel.sandbox.ruleset import Support

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
GETPID_OF_I386 = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
X32_GETPID = 0x40000000 | 39
UEVENTS = 15  # a netlink family that every user may open, and the filter does not let through
PROBE = f"import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {UEVENTS})"


def call(number, arguments):
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_ulong(value % 2**64) for value in arguments))
    if result == 0 and os.getpid() != OWN:
        os._exit(0)  # what clone() made
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return "ok"


def as_i386():
    memory = mmap.mmap(-1, len(GETPID_OF_I386), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(GETPID_OF_I386)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return "ok" if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid() else "wrong"


def as_x32():
    return call(X32_GETPID, [])


def run_in_thread():
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(netlink()))
    thread.start()
    thread.join()
    return outcome[0]


def netlink():
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, UEVENTS).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def after_exec():
    return last_words(subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False))


def last_words(child):
    if child.returncode == 0:
        return "ok"
    return errno.errorcode[int(child.stderr.rpartition("[Errno ")[2].partition("]")[0])]


def from_memory():
    """Execute a program from an anonymous file: allowed, and no way out."""
    fd = os.memfd_create("program")
    with open(sys.executable, "rb") as program:
        os.write(fd, program.read())
    child = subprocess.run(
        [sys.executable, "-c", PROBE], executable=f"/proc/self/fd/{fd}", pass_fds=(fd,), capture_output=True, text=True,
        env={"PYTHONHOME": sys.base_prefix}, check=False,
    )  # fmt: skip
    return last_words(child)


def removal():
    """Ask for no filter in every way that there could be; say what is in force then."""
    for mode in range(4):
        LIBC.prctl(22, mode, 0, 0, 0)
    with open("/proc/self/status") as stream:
        return next(line.split()[1] for line in stream if line.startswith("Seccomp:"))


def set_uid_file(make):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/program"
        make(path)
        return "set" if os.stat(path).st_mode & 0o4000 else "not set"


def chmod_set_uid(path):
    open(path, "w").close()
    os.chmod(path, 0o4755)  # noqa: S103 - the attack


def everyday():
    """What ordinary programs ask for, next door to what is refused."""
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK).close()
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    socket.socketpair()
    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
    resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)
    resource.getrlimit(resource.RLIMIT_CORE)
    master, _ = os.openpty()
    fcntl.ioctl(master, termios.TIOCGWINSZ, b"\0" * 8)
    os.pidfd_open(os.getpid())
    os.memfd_create("x")
    for query in (-1, 0xFFFFFFFF):
        if LIBC.personality(ctypes.c_long(query)) < 0:
            raise OSError(ctypes.get_errno(), "personality")
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/team")
        os.chmod(f"{folder}/team", 0o2775)  # noqa: S103 - as teams share folders
        os.mkfifo(f"{folder}/pipe")
        os.close(os.open(f"{folder}/file", os.O_CREAT | os.O_WRONLY, 0o755))
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
    return "ok"


def lower_core_limit(process=None):
    """Set the limit to 0, at which core_pattern's program would be run; say what is in force then."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if process is None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    else:
        resource.prlimit(process(), resource.RLIMIT_CORE, (0, 0))
    after = resource.getrlimit(resource.RLIMIT_CORE)
    return "as before" if after == before else str(after[1])


ATTEMPTS = {
    "as_i386": as_i386,
    "as_x32": as_x32,
    "in_thread": run_in_thread,
    "after_exec": after_exec,
    "from_memory": from_memory,
    "removal": removal,
    "set-uid by chmod": lambda: set_uid_file(chmod_set_uid),
    "set-uid by open": lambda: set_uid_file(lambda path: os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755)),
    "core limit": lower_core_limit,
    "core limit with the old one": lambda: lower_core_limit(lambda: 0),
    "core limit of oneself by number": lambda: lower_core_limit(os.getpid),
    "everyday": everyday,
}


def outcome(program, function, *arguments):
    """Fork, filter, do it; return what came of it."""
    global OWN  # noqa: PLW0603 - the forked process has another number
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        OWN = os.getpid()
        os.setsid()
        signal.alarm(30)
        try:
            set_no_new_privs()
            if program:
                layer = Seccomp(Seccomp.takes(program=program, detail=""), Context(support=Support(None, ""), rules=()))
                assert layer.enforce().status is LayerStatus.ENFORCED
            result = function(*arguments)
        except OSError as error:
            result = errno.errorcode.get(error.errno, f"errno {error.errno}")
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        result = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return signal.Signals(-status).name if status < 0 else json.loads(result)


def main():
    request = json.load(sys.stdin)
    program = base64.b64decode(request["program"] or "")
    outcomes = [outcome(program, call, number, arguments) for number, arguments in request.get("calls", ())]
    outcomes += [outcome(program, ATTEMPTS[name]) for name in request.get("attempts", ())]
    json.dump(outcomes, sys.stdout)


OWN = os.getpid()
main()
