"""Where system calls cannot be filtered nothing starts, unless the operator lets it; then `%policy show` says so."""

import json
from pathlib import Path

import pytest
from support import programs

SCRIPT = Path(__file__).with_name("start_and_tell.py")
RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
NO_LIBRARY = (
    "import ctypes.util as u; find = u.find_library\n"
    "u.find_library = lambda name: None if name == 'seccomp' else find(name)\n"
)
REFUSED_BY_LINUX = (
    "import errno, pyseccomp as s; outer = s.SyscallFilter(s.ALLOW)\n"
    "outer.add_rule(s.ERRNO(errno.ENOSYS), 'seccomp'); outer.load()\n"
)
CASES = pytest.mark.parametrize(
    ("without", "words"),
    [
        pytest.param(NO_LIBRARY, "apt install libseccomp2", id="the library is missing"),
        pytest.param(REFUSED_BY_LINUX, "CONFIG_SECCOMP_FILTER", id="Linux refuses the filter"),
    ],
)


@pytest.fixture
def start(user):
    """Return a function that starts a kernel from a server that this code has run in."""

    def run(code, **configuration):
        arguments = [json.dumps(configuration), str(user / "notebooks"), "print('I run')"]
        return programs.told("-c", code + RUN, SCRIPT, *arguments)[0]

    return run


@CASES
def test_the_start_is_refused_with_the_cause_and_the_remedy(start, without, words):
    error = start(without)["error"]
    assert error.startswith("ConfinementError: ")
    assert words in error
    assert "required = {'seccomp': False}" in error


@CASES
def test_with_the_operators_leave_it_runs_and_says_that_this_layer_is_missing(start, without, words):
    outcome = start(without, required={"seccomp": False})
    assert "I run" in outcome["text"]
    shown = " ".join(outcome["shown"].split())
    assert "[ ] seccomp (missing): " in shown
    assert words in shown
