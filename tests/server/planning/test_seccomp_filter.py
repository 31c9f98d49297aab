"""The filter is compiled once, from a list that is whole, and where that is impossible the person learns what to do."""

import subprocess
import sys

import pyseccomp
import pytest
from support.errors import refused

from openshell_kernel.base import wire
from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox.layers.seccomp import Seccomp
from openshell_kernel.server.planning import seccomp_filter
from openshell_kernel.server.planning.system_calls import GROUPS, NEWEST, UNKNOWN, groups

REFUSALS = [refusal for group in GROUPS for refusal in group.refusals]
FIRST_COMMON_NUMBER = 424


def test_the_filter_is_compiled_once_for_all_starts_of_a_server():
    assert seccomp_filter.load() is seccomp_filter.load()


def test_the_program_fits_into_a_plan():
    compiled = seccomp_filter.load()
    parameters = Seccomp.takes(program=compiled.program, detail=compiled.detail)
    assert wire.decode(Seccomp.takes, wire.encode(parameters)) == parameters


def test_each_group_says_what_is_refused_and_why_and_people_are_shown_both():
    detail = seccomp_filter.build(abi=None).detail
    assert all(f"{group.name} ({group.reason})" in detail for group in GROUPS)
    assert all(group.refusals for group in GROUPS)


def test_what_landlock_decides_about_itself_is_left_to_it():
    named = {abi: {group.name for group in groups(abi)} for abi in (None, 1, 2, 3)}
    assert named[1] == named[2] == named[3] | {"truncating files by name"}
    assert named[None] == named[1] | {"taking descriptors of other processes"}


@pytest.mark.parametrize("machine", [pyseccomp.Arch.X86_64, pyseccomp.Arch.AARCH64])
def test_every_call_is_known_or_brings_its_number(machine):
    for refusal in REFUSALS:
        number = pyseccomp.resolve_syscall(machine, refusal.call)
        assert number != -1 or refusal.number is not None, refusal.call
        if refusal.number is not None:
            assert number in (-1, refusal.number)
            assert FIRST_COMMON_NUMBER <= refusal.number <= NEWEST


def test_no_call_that_is_known_counts_as_newer_than_the_list():
    """When this fails, libseccomp has learnt new calls: put the dangerous ones on the list, and raise NEWEST."""
    for number in UNKNOWN:
        with pytest.raises(ValueError, match="Unknown syscall"):
            pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, number)


def test_no_entry_is_there_twice():
    assert len({(refusal.call, refusal.when) for refusal in REFUSALS}) == len(REFUSALS)


def test_what_cuda_and_nested_sandboxes_need_is_not_on_the_list():
    assert {"memfd_create", "pidfd_open", "landlock_restrict_self"}.isdisjoint(refusal.call for refusal in REFUSALS)


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        pytest.param("import sys; sys.modules['pyseccomp'] = None", "pip install pyseccomp", id="the binding"),
        pytest.param(
            "import ctypes.util as u; find = u.find_library\n"
            "u.find_library = lambda name: None if name == 'seccomp' else find(name)",
            "apt install libseccomp2",
            id="the library",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(missing, remedy):
    code = f"{missing}\nfrom openshell_kernel.server.planning import seccomp_filter\nprint(seccomp_filter.load())\n"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.startswith("Filter(program=b'', detail=")
    assert remedy in child.stdout


def test_on_an_unknown_machine_no_filter_is_made_up():
    with refused(ConfinementError, "s390x"):
        seccomp_filter.build(abi=7, machine="s390x")


def test_a_library_that_is_too_old_is_named():
    class Old:
        ALLOW = KILL_PROCESS = 0

        class Attr:
            ACT_BADARCH = CTL_OPTIMIZE = 0

        class SyscallFilter:
            def __init__(self, _action):
                pass

            def set_attr(self, *_arguments):
                raise OSError(17, "File exists")

    with refused(ConfinementError, "libseccomp2"):
        seccomp_filter.build(abi=7, binding=Old)
