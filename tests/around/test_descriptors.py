"""pidfd_getfd takes descriptors of the sandbox's own processes, and of nobody else's: neither Landlock's domain nor an
older or newer kernel of the same user is crossed."""

import os
from pathlib import Path

import pytest
from support import kernels

YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
TAKE = """
import ctypes, errno, os, threading
PIDFD_THREAD = os.O_EXCL
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    result = libc.syscall(*(ctypes.c_long(word) for word in (number, *arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def take(pid, fd, flags=0):
    try:
        process = call(434, pid, flags)  # pidfd_open
        return os.pread(call(438, process, fd, 0), 100, 0).decode()  # pidfd_getfd
    except OSError as error:
        return errno.errorcode[error.errno]

def holding(text):
    fd = os.memfd_create("held")
    os.write(fd, text.encode())
    return fd

def of_a_child():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, bytes([holding("child's")]))
        threading.Event().wait()
    fd = os.read(reading, 1)[0]
    try:
        return take(child, fd)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)

def by_a_child():
    fd, answer = holding("parent's"), os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        os.close(fd)
        os.write(answer[1], take(parent, fd).encode())
        os._exit(0)
    os.wait()
    return os.read(answer[0], 100).decode()

def of_a_thread():
    ready, done, known = threading.Event(), threading.Event(), []
    def hold():
        known.extend((threading.get_native_id(), holding("thread's")))
        ready.set()
        done.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    try:
        return take(*known, PIDFD_THREAD)
    finally:
        done.set()
        thread.join()
"""


@pytest.fixture
def kernel(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.run(TAKE).error == ""
        yield kernel


@pytest.fixture
def held():
    """A file that this process, the server, has open."""
    fd = os.memfd_create("held")
    os.write(fd, b"server's")
    yield fd
    os.close(fd)


def test_processes_of_one_sandbox_take_descriptors_of_each_other(kernel):
    is_bounded_by_yama = YAMA.exists() and YAMA.read_text().strip() != "0"
    assert kernel.value("of_a_child()") == "child's"
    assert kernel.value("by_a_child()") == ("EPERM" if is_bounded_by_yama else "parent's")
    # Since Linux 6.9 a thread has a pidfd of its own.
    assert kernel.value("of_a_thread()") in ("thread's", "EINVAL")


def test_the_server_keeps_its_descriptors(kernel, held, user):
    assert kernel.value(f"take({os.getpid()}, {held})") == "EPERM"
    assert kernel.value(f"take({os.getpid()}, {held}, PIDFD_THREAD)") in ("EPERM", "EINVAL")
    with kernels.started("python3", cwd=user / "notebooks") as plain:
        assert plain.run(TAKE).error == ""
        assert plain.value(f"take({os.getpid()}, {held})") == "server's"


def test_a_neighbour_keeps_its_descriptors_in_both_directions(kernel, user):
    with kernels.started(cwd=user / "notebooks") as other:
        assert other.run(TAKE).error == ""
        for one, two in ((kernel, other), (other, kernel)):
            fd = two.value("holding('neighbour')")
            assert one.value(f"take({two.pid}, {fd})") == "EPERM"
