"""A kernel's PATH names its own environment first, and only folders in which it may find and run programs."""

import pytest

from openshell_kernel.policy.effective import READ_RIGHTS, WRITE_RIGHTS, Access, Origin, Rule
from openshell_kernel.server.planning.search_path import search_path


def rule(path, rights=READ_RIGHTS):
    return Rule(path=path, access=Access.READ_ONLY, rights=rights, origin=Origin.POLICY, reason="")


RULES = (rule("/usr"), rule("/proj/.venv"), rule("/data", ("read_file", "read_dir")), rule("/opt/tools", WRITE_RIGHTS))


def path(value, first="/proj/.venv/bin"):
    return search_path(value, RULES, first=first, realpath=lambda name: {"/bin": "/usr/bin"}.get(name, name))


def test_the_kernels_own_programs_come_first_and_once():
    assert path("/usr/bin:/proj/.venv/bin:/usr/bin") == "/proj/.venv/bin:/usr/bin"
    assert path("/usr/local/bin:/usr/bin", first="/usr/bin") == "/usr/bin:/usr/local/bin"


def test_a_folder_is_judged_by_where_it_leads():
    assert path("/bin") == "/proj/.venv/bin:/bin"


@pytest.mark.parametrize("folder", ["/home/ada/bin", "/usrlocal", "/data/bin", "", "/proj/.venv-other/bin"])
def test_a_folder_whose_programs_cannot_be_run_is_left_out(folder):
    assert path(f"{folder}:/opt/tools/bin") == "/proj/.venv/bin:/opt/tools/bin"
