"""A path that a policy lists is followed through links of the system's, and through none that a sandbox may have made."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from support.errors import check_message
from support.launching import NOBODY, launch, plan, rule

from openshell_kernel.policy.effective import READ_RIGHTS, Origin

pytestmark = [
    pytest.mark.usefixtures("landlock_abi"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links that are root's and another user's"),
]
USERS = [pytest.param(None, id="root"), pytest.param(NOBODY, id="ordinary")]


@pytest.fixture
def place():
    """A secret outside of everything that is granted, and a folder for links to it."""
    base = Path(tempfile.mkdtemp(prefix="openshell-test-", dir="/var/tmp"))
    base.chmod(0o755)
    for name in ("secret", "folder", "folder/inner"):
        (base / name).mkdir()
    (base / "secret" / "file").write_text("x")
    yield base
    shutil.rmtree(base)


def link(base, owner=0, *, folder_owner=0, mode=0o755):
    made = base / "folder" / "out"
    made.symlink_to("../secret")
    os.lchown(made, owner, owner)
    os.chown(base / "folder", folder_owner, folder_owner)
    (base / "folder").chmod(mode)
    return made


def listed(path, *attempts, user=None, required=True, **changes):
    named = rule(path, READ_RIGHTS, required=required, origin=Origin.POLICY)
    return launch(plan(*attempts, rules=(named,), **changes), user=user)


def check_left_out(refused, path, *named):
    """Check that a plan was refused for this rule alone, and where its link leads."""
    (line,) = [line.strip() for line in refused.splitlines() if line.strip().startswith("/")]
    check_message(line, *named, at=path)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("owner", [0, NOBODY], ids=["a link of root's", "a link of the user's"])
def test_a_link_in_a_folder_that_the_user_owns_is_not_followed(place, user, owner):
    made = link(place, owner, folder_owner=NOBODY)
    check_left_out(listed(made, user=user).refused, made, place / "secret")


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770], ids=oct)
def test_a_link_in_a_folder_that_others_may_write_is_not_followed(place, user, mode):
    made = link(place, mode=mode)
    os.chown(place / "folder", 0, NOBODY)
    check_left_out(listed(made, user=user).refused, made)


def test_a_link_that_root_made_where_only_root_may_is_followed_for_others(place):
    made = link(place)
    assert listed(made, ["read", f"{place}/secret/file"], user=NOBODY).outcomes == ["ok"]
    # A sandbox of root's could have made it.
    check_left_out(listed(made).refused, made)


def test_a_link_of_the_users_in_a_folder_of_roots_is_not_followed(place):
    made = link(place, NOBODY)
    check_left_out(listed(made, user=NOBODY).refused, made)


@pytest.mark.parametrize("folder", ["", "folder"])
def test_a_link_in_a_folder_of_the_kernels_is_not_followed_whoever_made_it(place, folder):
    made = link(place)
    check_left_out(listed(made, user=NOBODY, kernels_folders=(str(place / folder),)).refused, made)
    beside = (str(place / "folder" / "inner"), f"{place}/fol")
    assert listed(made, ["read", f"{place}/secret/file"], user=NOBODY, kernels_folders=beside).outcomes == ["ok"]


@pytest.mark.parametrize("name", ["out/file", "again", "out/../secret/file"])
def test_it_is_found_anywhere_on_the_way(place, name):
    link(place, folder_owner=NOBODY)
    (place / "folder" / "again").symlink_to("out")
    check_left_out(listed(place / "folder" / name, user=NOBODY).refused, place / "folder" / name)


def test_where_nothing_is_required_the_path_alone_is_left_out(place):
    made = link(place, folder_owner=NOBODY)
    launched = listed(made, ["read", f"{place}/secret/file"], ["read", "/etc/passwd"], user=NOBODY, required=False)
    assert launched.outcomes == ["EACCES", "ok"]


SYSTEM = ["/bin", "/lib", "/var/run", "/etc/alternatives/awk", "/etc/localtime", "/dev/fd", "/proc/self", "/etc/mtab"]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("path", [path for path in SYSTEM if os.path.islink(path)])
def test_links_of_the_system_are_followed(path, user):
    assert listed(path, user=user).refused == ""


def test_a_link_that_leads_round_in_circles_leads_nowhere(place):
    (place / "folder" / "round").symlink_to("round")
    check_left_out(listed(place / "folder" / "round").refused, place / "folder" / "round")
