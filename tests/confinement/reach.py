"""A program that tries what its arguments say, as JSON lists, and prints what came of each: a value, or an errno."""

import ctypes
import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)


def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return "ok"


def opened(path, flags):
    os.close(os.open(path, flags))
    return "ok"


def in_child(function, *arguments):
    """For what would change this process."""
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, "")
    return "ok"


def capabilities():
    with open("/proc/self/status") as stream:
        return {line.split(":")[0]: int(line.split()[1], 16) for line in stream if line.startswith("Cap")}


def of_a_program():
    text = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    return {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}


def regain():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    return called(LIBC.capset(header, (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)))


def crash():
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    status = os.waitpid(child, 0)[1]
    return [os.WTERMSIG(status), os.WCOREDUMP(status)]


def writable_in_proc():
    """Every file of /proc but those of processes that can be opened for writing."""
    found = []
    for folder, folders, files in os.walk("/proc"):
        if folder == "/proc":
            folders[:] = [name for name in folders if not name.isdigit()]
        found += [f"{folder}/{name}" for name in files if attempt("write at once", f"{folder}/{name}") == "ok"]
    return found


def named_thread():
    with open(f"/proc/self/task/{os.getpid()}/comm", "w") as stream:
        stream.write("renamed")
    with open("/proc/self/comm") as stream:
        return stream.read().strip()


ATTEMPTS = {
    "capabilities": capabilities,
    "capabilities of a program": of_a_program,
    "regain": regain,
    "securebits": lambda: called(LIBC.prctl(28, 0, 0, 0, 0)),
    "ambient": lambda: called(LIBC.prctl(47, 2, 21, 0, 0)),
    "keep_caps": lambda: called(LIBC.prctl(8, 1, 0, 0, 0)),
    "read": lambda path: opened(path, os.O_RDONLY),
    "write": lambda path: opened(path, os.O_WRONLY),
    "write at once": lambda path: opened(path, os.O_WRONLY | os.O_NONBLOCK),
    "create": lambda path: opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "rename": lambda old, new: os.rename(old, new) or "ok",
    "link": lambda old, new: os.link(old, new) or "ok",
    "chmod": lambda path: os.chmod(path, 0o700) or "ok",
    "owner": lambda path: os.stat(path).st_uid,
    "is device": lambda path: stat.S_ISCHR(os.stat(path).st_mode),
    "chown": lambda path: os.chown(path, 1, 1) or "ok",
    "chroot": lambda: in_child(os.chroot, "/"),
    "hostname": lambda: called(LIBC.sethostname(os.uname().nodename.encode(), len(os.uname().nodename.encode()))),
    "nice": lambda: in_child(os.nice, -1),
    "renice": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)) or "ok",
    "kill": lambda pid: os.kill(pid, 0) or "ok",
    "setuid": lambda uid: in_child(os.setuid, uid),
    "setgroups": lambda: in_child(os.setgroups, []),
    "mount": lambda path: called(LIBC.mount(b"none", path.encode(), b"tmpfs", 0, None)),
    "umount": lambda path: called(LIBC.umount2(path.encode(), 2)),
    "identity": lambda: [os.getresuid(), os.getresgid(), sorted(os.getgroups())],
    "execute": lambda *words: subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip(),
    "core limit": lambda: resource.getrlimit(resource.RLIMIT_CORE),
    "raise core limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096)) or "ok",
    "crash": crash,
    "leads its session": lambda: os.getsid(0) == os.getpid(),
    "processes": lambda: sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "itself": os.getpid,
    "parent": os.getppid,
    "writable in /proc": writable_in_proc,
    "named thread": named_thread,
}


def attempt(name, *arguments):
    try:
        return ATTEMPTS[name](*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError:  # what resource makes of EPERM
        return "EPERM"


if __name__ == "__main__":
    print(json.dumps([attempt(*json.loads(words)) for words in sys.argv[1:]]))
