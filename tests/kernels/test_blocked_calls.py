"""Where a container's seccomp profile blocks a system call that a start needs, the refusal names that call."""

import json
import sys
from pathlib import Path

import pytest
from support import programs
from support.errors import check_message

SCRIPT = Path(__file__).with_name("start_and_tell.py")


@pytest.fixture
def start(user):
    """Return a function that starts a kernel where a system call is answered with an error."""

    def run(call, code, **configuration):
        arguments = [json.dumps(configuration), str(user / "notebooks"), "print('I run')"]
        return programs.told("-m", "support.without_call", call, code, sys.executable, SCRIPT, *arguments)[0]

    return run


@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
def test_seccomp_that_is_blocked_is_told_apart_from_a_library_that_is_too_old(start, code):
    error = start("seccomp", code)["error"]
    assert error.startswith("ConfinementError: ")
    assert "seccomp" in error
    assert "libseccomp2" not in error
    assert "required = {'seccomp': False}" in error


def test_seccomp_that_is_blocked_is_no_obstacle_where_the_operator_does_without(start):
    outcome = start("seccomp", "EPERM", required={"seccomp": False})
    assert "I run" in outcome["text"]
    assert "seccomp" in outcome["shown"]


@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
def test_memfd_create_that_is_blocked_has_its_own_message(start, code):
    error = start("memfd_create", code)["error"]
    check_message(error, "memfd_create", "seccomp", at="ConfinementError")
