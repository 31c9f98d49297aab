"""Capabilities are kept only where root's own permissions do not suffice, the least of them, and with advice that works."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from openshell_kernel.policy.effective import READ_RIGHTS, WRITE_RIGHTS, Access, Origin, Rule
from openshell_kernel.server.planning.capabilities import OVERRIDE, READ_SEARCH, needed, notice, obstacles

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
OWNER, GROUP = 1500, 1501
ALL = 2**41 - 1
CONTAINERS = ALL & ~(1 << 2)  # CAP_DAC_READ_SEARCH, which container runtimes do not give


@pytest.fixture
def place():
    """A folder that everybody reaches."""
    folder = Path(tempfile.mkdtemp(prefix="openshell-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def made(place, name, mode, *, uid=OWNER, gid=GROUP):
    folder = place / name
    folder.mkdir()
    os.chown(folder, uid, gid)
    folder.chmod(mode)
    return folder


def rule(path, access):
    rights = READ_RIGHTS if access is Access.READ_ONLY else WRITE_RIGHTS
    return Rule(path=str(path), access=access, rights=rights, origin=Origin.POLICY, reason="")


def kept(*rules, held=ALL):
    return needed(obstacles([rule("/usr", Access.READ_ONLY), *rules], uid=0, groups=[0]), held=held)


@pytest.mark.parametrize(
    ("mode", "gid", "access", "expected"),
    [
        pytest.param(0o755, GROUP, Access.READ_ONLY, None, id="what everybody may read"),
        pytest.param(0o755, GROUP, Access.READ_WRITE, OVERRIDE, id="what only the owner may write"),
        pytest.param(0o777, GROUP, Access.READ_WRITE, None, id="what everybody may write"),
        pytest.param(0o775, 0, Access.READ_WRITE, None, id="what root's group may write"),
        pytest.param(0o700, GROUP, Access.READ_ONLY, READ_SEARCH, id="what only the owner may read"),
        pytest.param(0o744, GROUP, Access.READ_ONLY, READ_SEARCH, id="what may be listed and not entered"),
    ],
)
def test_of_another_users_folder_the_permissions_decide_what_is_kept(place, mode, gid, access, expected):
    assert kept(rule(made(place, "folder", mode, gid=gid), access)) == expected


def test_what_lies_in_a_closed_folder_takes_searching_there(place):
    closed = made(place, "closed", 0o700)
    made(closed, "python", 0o755)
    assert kept(rule(closed / "python", Access.READ_ONLY)) == READ_SEARCH
    # To search a folder is a part of the greater one, and one is enough.
    assert kept(rule(closed / "python", Access.READ_WRITE)) == OVERRIDE


def test_where_a_container_lacks_the_lesser_capability_the_greater_one_is_kept(place):
    assert kept(rule(made(place, "closed", 0o700), Access.READ_ONLY), held=CONTAINERS) == OVERRIDE


def test_a_folder_of_roots_that_nobody_may_write_takes_nothing(place):
    assert kept(rule(made(place, "folder", 0o555, uid=0, gid=0), Access.READ_WRITE)) is None


def test_what_a_notebook_of_roots_has_closed_to_itself_gives_it_no_capability(place):
    closed = made(place, "closed", 0, uid=0, gid=0)
    made(closed, "python", 0o755, uid=0, gid=0)
    assert kept(rule(closed, Access.READ_ONLY), rule(closed / "python", Access.READ_WRITE), held=CONTAINERS) is None


@pytest.mark.parametrize("path", ["/dev/null", "/proc", "/var/tmp/missing-folder", "/var/tmp"])
def test_devices_controls_what_is_missing_and_what_is_roots_take_nothing(path):
    assert kept(rule(path, Access.READ_WRITE)) is None


def advice(place, *rules, account):
    rules = [rule("/usr", Access.READ_ONLY), *rules]
    found = obstacles(rules, uid=0, groups=[0])
    private = made(place, "private", 0o700, uid=0)
    return notice(found, rules, capability=needed(found, held=ALL), private=str(private), own=(), account=account)


def unknown(uid):
    raise KeyError(uid)


def of_roots_group(uid):
    return pwd.struct_passwd(("ada", "x", uid, 0, "", "/", "/bin/sh"))


def test_the_owner_is_proposed_where_the_owner_could_work(place):
    folder = made(place, "folder", 0o755)
    said = advice(place, rule(folder, Access.READ_WRITE), account=unknown)
    assert str(folder) in said
    assert "CAP_DAC_OVERRIDE" in said
    assert "better write process: {run_as_user: '1500', run_as_group: '1501'} in the policy" in said


@pytest.mark.parametrize("why", ["the owner cannot read the rest", "the owner is of root's group", "two owners"])
def test_nothing_is_proposed_that_a_start_would_refuse(place, why):
    rules = [rule(made(place, "folder", 0o755), Access.READ_WRITE)]
    if why == "the owner cannot read the rest":
        rules.append(rule(made(place, "roots", 0o700, uid=0, gid=0), Access.READ_ONLY))
    if why == "two owners":
        rules.append(rule(made(place, "other", 0o755, uid=1600), Access.READ_WRITE))
    account = of_roots_group if why == "the owner is of root's group" else unknown
    said = advice(place, *rules, account=account)
    assert "run_as_user" not in said
    assert said.endswith("better start Jupyter as their owner, or give them to root (chown)")
