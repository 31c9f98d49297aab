"""What a program leaves is ended with it by the keeper, which the launcher has left beside it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.launching import IMPORTS, LAUNCH, PYTHON, plan

from openshell_kernel.sandbox.keeper import DONE
from openshell_kernel.sandbox.layers.identity import Parameters as Identity

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take on another identity")
# Prints the numbers of two that are left: one in this session, one in a session of its own.
LEAVE = """
import os, sys, time
for leaves in (False, True):
    if os.fork() == 0:
        if leaves:
            os.setsid()
        os.write(1, b"%d\\n" % os.getpid())
        os.close(1)
        time.sleep(600)
time.sleep(0.2)
os.read(0, 1)
"""
KEEP = """
import os, sys
from openshell_kernel.sandbox.layers.contract import Context, NoParameters
from openshell_kernel.sandbox.layers.keeper import Keeper
from openshell_kernel.sandbox.ruleset import Support
os.setsid()
without = Support(abi=5, release="")
context = Context(support=without, rules=(), ending=int(sys.argv[1]), new_user=sys.argv[2] != "same")
os.write(2, Keeper(NoParameters(), context).enforce().status.value.encode())
os.close(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-c", sys.argv[3]])
"""


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until_closed(fd):
    with open(fd, "rb") as stream:
        return stream.read()


@pytest.fixture
def pipe():
    return os.pipe()


@pytest.mark.parametrize("identity", [None, pytest.param(Identity(1500, 1501, ()), marks=root_only)])
def test_all_are_ended_whatever_session_they_are_in_and_whoever_they_run_as(landlock_abi, pipe, identity):
    hearing, speaking = pipe
    argv = (PYTHON, "-c", LEAVE)
    with tempfile.TemporaryFile() as file:
        file.write(plan(argv=argv, identity=identity).to_bytes())
        file.seek(0)
        arguments = ["--plan-fd", str(file.fileno()), "--ending-fd", str(speaking)]
        with subprocess.Popen(
            [PYTHON, "-I", str(LAUNCH), IMPORTS, *arguments],
            pass_fds=(file.fileno(), speaking),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            os.close(speaking)
            left = [int(process.stdout.readline()) for _ in range(2)]
            assert all(map(lives, left))
            process.kill()
        if landlock_abi >= 6:
            assert until_closed(hearing) == DONE
            assert not any(map(lives, left))


@pytest.mark.parametrize("user", ["same", "another"])
def test_without_a_scope_for_signals_those_of_the_session_are_ended_and_no_more_is_claimed(pipe, user):
    hearing, speaking = pipe
    with subprocess.Popen(
        [sys.executable, "-c", KEEP, str(speaking), user, LEAVE],
        pass_fds=(speaking,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(speaking)
        left = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
        assert process.stderr.read(8) == b"degraded"
    assert until_closed(hearing) == b""
    states = {lives(pid) for pid in left}
    for pid in filter(lives, left):
        assert os.getsid(pid) == pid
        os.kill(pid, signal.SIGKILL)
    assert states == {True, False}


def test_the_kernel_has_no_child_and_no_descriptor_that_it_did_not_make(landlock_abi, pipe):
    hearing, speaking = pipe
    code = (
        "import json, os; own = '/proc/self/task/%d/children' % os.getpid(); links = [os.readlink('/proc/self/fd/' + fd) "
        "for fd in os.listdir('/proc/self/fd') if os.path.lexists('/proc/self/fd/' + fd)]; "
        "print(json.dumps([sorted(link for link in links if 'pidfd' in link), links, open(own).read()]))"
    )
    with tempfile.TemporaryFile() as file:
        file.write(plan(argv=(PYTHON, "-c", code)).to_bytes())
        file.seek(0)
        process = subprocess.run(
            [PYTHON, "-I", str(LAUNCH), IMPORTS, "--plan-fd", str(file.fileno()), "--ending-fd", str(speaking)],
            pass_fds=(file.fileno(), speaking),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    os.close(speaking)
    watched, links, children = json.loads(process.stdout)
    assert (watched, children) == ([], "")
    assert os.readlink(f"/proc/self/fd/{hearing}") not in links
    until_closed(hearing)
