"""Where Landlock is missing nothing starts, unless the operator and the policy both let it; then it says so."""

import json
import sys
from pathlib import Path

import pytest
from support import programs

SCRIPT = Path(__file__).with_name("start_and_tell.py")
BEST_EFFORT = "version: 1\nlandlock: {compatibility: best_effort}\n"


@pytest.fixture
def start(user):
    """Return a function that starts a kernel where Landlock answers with this error."""

    def run(code, **configuration):
        arguments = [json.dumps(configuration), str(user / "notebooks"), "print('I run')"]
        without = ("-m", "support.without_call", "landlock_create_ruleset", code)
        return programs.told(*without, sys.executable, SCRIPT, *arguments)

    return run


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("ENOSYS", "CONFIG_SECURITY_LANDLOCK", id="not built in"),
        pytest.param("EOPNOTSUPP", "lsm=landlock", id="disabled at boot"),
        pytest.param("EPERM", "seccomp", id="blocked by a container"),
    ],
)
def test_the_start_is_refused_with_the_cause_and_the_remedy(start, code, words):
    outcome, _ = start(code)
    assert outcome["error"].startswith("ConfinementError")
    assert words in outcome["error"]


def test_a_policy_that_requires_enforcement_is_refused_although_the_operator_would_let_it(start):
    outcome, _ = start("ENOSYS", required={"landlock": False})
    assert outcome["error"].startswith("ConfinementError")


def test_best_effort_alone_is_not_enough(start, write_policy):
    write_policy(BEST_EFFORT)
    assert start("ENOSYS")[0]["error"].startswith("ConfinementError")


def test_with_best_effort_and_the_operators_leave_it_runs_unconfined_and_says_so_everywhere(start, write_policy):
    write_policy(BEST_EFFORT)
    outcome, log = start("ENOSYS", required={"landlock": False})
    assert "I run" in outcome["text"]
    assert "does NOT confine this kernel" in outcome["text"]
    assert "not enforced" in outcome["shown"].lower()
    assert "NOT CONFINED" in log
