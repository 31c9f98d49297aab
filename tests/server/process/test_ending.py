"""A kernel's end is over when nothing of it is left, as its keeper says, or as far as it can be seen without one."""

import mmap
import os
import select
import subprocess
import sys
import threading

import pytest
from support.kernels import eventually

from openshell_kernel.server.process.ending import Ending, holding, of_child

CONFINED = "import ctypes, sys; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)\n"
OPEN = CONFINED + "file = open(sys.argv[1], 'r+b'); print('open', flush=True); sys.stdin.read()"
MAP = CONFINED + (
    "import mmap\n"
    "with open(sys.argv[1], 'r+b') as file: kept = mmap.mmap(file.fileno(), 1)\n"
    "print('open', flush=True); sys.stdin.read()"
)


def piped(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def node(tmp_path):
    """A file in the place of a device node: it is known by its inode as well."""
    path = tmp_path / "nvidia0"
    path.write_bytes(bytes(mmap.PAGESIZE))
    return str(path)


@pytest.fixture
def kernel():
    """A kernel that has ended, and is not yet waited for."""
    with subprocess.Popen(["true"]) as process:
        poll = select.poll()
        poll.register(os.pidfd_open(process.pid), select.POLLIN)
        poll.poll()
        yield process


def test_a_kernel_that_runs_is_not_over_whatever_its_keeper_says():
    hearing, speaking = os.pipe()
    os.write(speaking, b"done")
    os.close(speaking)
    with subprocess.Popen(["sleep", "600"]) as process:
        ending = of_child(process.pid, hearing)
        assert not ending.is_over()
        process.kill()
    assert ending.is_over()


def test_it_is_not_over_before_the_keeper_has_ended(kernel):
    hearing, speaking = os.pipe()
    ending = of_child(kernel.pid, hearing)
    assert not ending.is_over()
    os.write(speaking, b"done")
    assert not ending.is_over()
    os.close(speaking)
    assert ending.is_over()


@pytest.mark.parametrize("code", [OPEN, MAP], ids=["open", "mapped"])
def test_without_the_keepers_word_it_is_not_over_while_a_confined_process_has_the_node(kernel, node, code):
    hearing, speaking = os.pipe()
    os.close(speaking)
    ending = Ending(os.pidfd_open(kernel.pid), hearing, [node])
    with piped(code, node) as process:
        assert process.stdout.readline() == "open\n"
        (holder,) = holding([node])
        assert holder.startswith(f"process {process.pid} (python")
        assert not ending.is_over()
        waiting = threading.Thread(target=ending.wait, daemon=True)
        waiting.start()
        process.stdin.close()
    waiting.join(60)
    assert not waiting.is_alive()
    assert ending.is_over()


def test_a_process_that_is_not_confined_is_none_of_the_kernels(node):
    with piped(OPEN.removeprefix(CONFINED).replace("file", "import sys; file", 1), node) as process:
        assert process.stdout.readline() == "open\n"
        assert holding([node]) == ()
        process.stdin.close()


def test_waiting_ends_with_the_last_word():
    hearing, speaking = os.pipe()
    with subprocess.Popen(["sleep", "600"]) as process:
        waiting = threading.Thread(target=of_child(process.pid, hearing).wait, daemon=True)
        waiting.start()
        process.kill()
        process.wait()
        assert waiting.is_alive()
        os.write(speaking, b"done")
        os.close(speaking)
        eventually(lambda: not waiting.is_alive(), "the end of waiting")
