"""What the filter really does to system calls, seen in child processes, each call also without the filter."""

import base64
import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyseccomp
import pytest
from support.errors import check_message
from support.launching import launch, plan

from openshell_kernel.sandbox.layers.seccomp import Seccomp
from openshell_kernel.server.planning import seccomp_filter
from openshell_kernel.server.planning.system_calls import GROUPS, UNKNOWN, Argument, Compare, Refusal

CALL = Path(__file__).with_name("call.py")
ALL_BITS = 2**64 - 1
SIGCHLD = 17
HERE = [
    (group, refusal, number)
    for group in GROUPS
    for refusal in group.refusals
    if (number := pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, refusal.call)) >= -1
]
"""Every entry of the list that this architecture has; a call that libseccomp does not know brings its own number."""


@dataclass(frozen=True)
class Outcomes:
    filtered: str
    unfiltered: str


def run(program, **request):
    text = json.dumps({"program": program and base64.b64encode(program).decode(), **request})
    process = subprocess.run([sys.executable, str(CALL)], input=text, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def both(program=None, **request):
    program = program or seccomp_filter.load().program
    pairs = zip(run(program, **request), run(None, **request), strict=True)
    return [Outcomes(*pair) for pair in pairs]


def attempt(name):
    (outcomes,) = both(attempts=[name])
    return outcomes


def meeting(argument: Argument) -> int:
    """Return a value that meets a condition, with every bit set that the condition does not look at."""
    if argument.compare is Compare.MASKED:
        return ALL_BITS & ~argument.mask | argument.value
    return argument.value + (argument.compare is not Compare.EQUAL)


def arguments(refusal: Refusal) -> list[int]:
    """Return arguments that meet an entry's conditions; the others fit nothing, so that no call does harm."""
    if refusal.call == "clone":  # which must not share memory or a stack with its parent
        return [SIGCHLD | refusal.when[0].value, 0, 0, 0, 0, 0]
    if refusal.call == "msgget":  # which must not make a queue that stays
        return [ALL_BITS, 0, 0, 0, 0, 0]
    values = [ALL_BITS] * 6
    for argument in refusal.when:
        values[argument.index] = meeting(argument)
    return values


@pytest.fixture(scope="module")
def table():
    calls = [[refusal.number if number < 0 else number, arguments(refusal)] for _, refusal, number in HERE]
    # Without Landlock all of the list is needed.
    return both(seccomp_filter.build(abi=None).program, calls=calls)


@pytest.mark.parametrize(
    "index", range(len(HERE)), ids=[f"{group.name}: {refusal.call} {i}" for i, (group, refusal, _) in enumerate(HERE)]
)
def test_every_entry_of_the_list_gives_its_error_and_something_else_without_the_filter(table, index):
    _, refusal, number = HERE[index]
    outcomes = table[index]
    # With 0 the call does nothing and seems to have worked.
    assert outcomes.filtered == errno.errorcode.get(refusal.code, "ok")
    # Linux itself refuses privileged calls to ordinary users, and some calls exist no more.
    told_apart = outcomes.unfiltered != outcomes.filtered
    assert told_apart or (os.geteuid() != 0 and outcomes.unfiltered == "EPERM"), f"{refusal.call}, {number}"


def test_calls_newer_than_the_list_do_not_exist():
    """Linux does not have them yet: that the filter and not Linux says so cannot be shown for these numbers."""
    calls = [[number, [ALL_BITS] * 6] for number in (UNKNOWN[0], UNKNOWN[-1])]
    assert run(seccomp_filter.load().program, calls=calls) == ["ENOSYS", "ENOSYS"]


@pytest.mark.parametrize("name", ["in_thread", "after_exec", "from_memory"])
def test_threads_and_programs_inherit_the_filter_also_those_executed_from_memory(name):
    assert attempt(name) == Outcomes(filtered="EPERM", unfiltered="ok")


def test_the_filter_cannot_be_removed():
    # Without the filter, one of the ways to ask confines the process to reading and writing: Linux kills it.
    assert attempt("removal") == Outcomes(filtered="2", unfiltered="SIGKILL")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86_64 has these other architectures")
@pytest.mark.parametrize("name", ["as_i386", "as_x32"])
def test_a_call_of_another_architecture_ends_the_process(name):
    outcomes = attempt(name)
    assert outcomes.filtered == "SIGSYS"
    assert outcomes.unfiltered in ("ok", "ENOSYS", "SIGSEGV")  # as Linux is configured


@pytest.mark.parametrize("way", ["chmod", "open"])
def test_no_program_is_left_behind_that_runs_with_the_rights_of_this_user(way):
    assert attempt(f"set-uid by {way}") == Outcomes(filtered="EPERM", unfiltered="set")


def test_the_limit_on_core_dumps_stays_as_it_is():
    # Programs that set it to 0 themselves go on.
    assert attempt("core limit") == Outcomes(filtered="as before", unfiltered="0")
    assert attempt("core limit with the old one") == Outcomes(filtered="ENOSYS", unfiltered="0")
    assert attempt("core limit of oneself by number") == Outcomes(filtered="EPERM", unfiltered="0")


def test_everyday_calls_next_to_the_refused_ones_work():
    assert attempt("everyday") == Outcomes(filtered="ok", unfiltered="ok")


class TestInstalling:
    """What the launcher does with a filter that it does not have, or that Linux refuses."""

    ALLOW_ALL = "060000000000ff7f"  # return SECCOMP_RET_ALLOW
    INVALID = "ffffffffffffffff"

    def launched(self, program, *, required=True):
        parameters = Seccomp.takes(program=bytes.fromhex(program), detail="DETAIL")
        asked = plan(required=("landlock", *(("seccomp",) if required else ())))
        return launch(asked.with_layer("seccomp", parameters))

    def test_a_filter_in_force_is_an_active_layer(self):
        layer = self.launched(self.ALLOW_ALL).layers["seccomp"]
        assert (layer["status"], layer["detail"]) == ("enforced", "DETAIL")

    def test_without_a_filter_the_start_is_refused_with_the_cause_and_the_way_round(self):
        check_message(self.launched("").refused, "DETAIL", "c.OpenShellProvisioner.required = {'seccomp': False}")

    def test_a_filter_that_linux_refuses_refuses_the_start(self):
        check_message(self.launched(self.INVALID).refused, "CONFIG_SECCOMP_FILTER")

    @pytest.mark.parametrize(("program", "cause"), [("", "DETAIL"), (INVALID, "CONFIG_SECCOMP_FILTER")])
    def test_where_the_operator_does_not_require_it_the_layer_says_why_it_is_not_active(self, program, cause):
        layer = self.launched(program, required=False).layers["seccomp"]
        assert layer["status"] == "absent"
        assert cause in layer["detail"]
        assert layer["residual"]
