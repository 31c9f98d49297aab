"""What is frozen stays as it is in a folder that a kernel may write: to root, and to a user in a user namespace."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import without_call
from support.errors import check_message
from support.launching import IMPORTS, NOBODY, PYTHON, launch, plan

pytestmark = [
    pytest.mark.usefixtures("landlock_abi"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else"),
]
TEAM = 65533
USERS = [pytest.param(None, id="root"), pytest.param(NOBODY, id="ordinary")]
FROZEN = {"EROFS", "EXDEV", "EBUSY"}


@pytest.fixture
def place():
    """A project with an environment in it, all of it owned by the ordinary user and root alike to change."""
    base = Path(tempfile.mkdtemp(prefix="openshell-test-", dir="/var/tmp"))
    for name in ("project/.venv", "project/tools/env", "elsewhere"):
        (base / name).mkdir(parents=True)
    (base / "project/.venv/file").write_text("x")
    (base / "project/tools/env/file").write_text("x")
    for path in (base, *base.rglob("*")):
        path.chmod(0o777)
    yield base
    shutil.rmtree(base)


def frozen(place, *attempts, user=None, wrapper=(), kept=("project/.venv",), pinned=(), **changes):
    read_only = tuple(tuple(str(place / path) for path in paths) for paths in (kept, pinned))
    return launch(
        plan(*attempts, folders=[place / "project"], read_only=read_only, **changes), user=user, wrapper=wrapper
    )


@pytest.mark.parametrize("user", USERS)
def test_it_is_kept_and_all_around_it_is_writable(place, user):
    env = f"{place}/project/.venv"
    attempts = [["write", f"{env}/file"], ["create", f"{env}/new"], ["rename", env, f"{place}/project/x"],
                ["chmod", f"{env}/file"], ["chmod", env], ["link", f"{env}/file", f"{place}/project/x"]]  # fmt: skip
    launched = frozen(place, *attempts, ["create", f"{place}/project/new"], ["read", f"{env}/file"], user=user)
    *refused, created, read = launched.outcomes
    assert set(refused) <= FROZEN
    assert (created, read) == ("ok", "ok")
    assert launched.layers["read_only"]["active"]
    assert ("user namespace" in launched.layers["read_only"]["detail"]) is (user is not None)


@pytest.mark.parametrize("user", USERS)
def test_without_the_mounts_all_of_it_can_be_written(place, user):
    attempts = [["write", f"{place}/project/.venv/file"], ["rename", f"{place}/project/.venv", f"{place}/project/x"]]
    assert frozen(place, *attempts, user=user, kept=()).outcomes == ["ok", "ok"]


@pytest.mark.parametrize("user", USERS)
def test_what_is_above_it_is_pinned(place, user):
    tools = f"{place}/project/tools"
    moving = ["rename", tools, f"{place}/project/x"]
    kept = {"kept": ("project/tools/env",)}
    assert frozen(place, moving, user=user, **kept).outcomes == ["ok"]
    os.rename(f"{place}/project/x", tools)
    launched = frozen(place, moving, ["create", f"{tools}/new"], user=user, pinned=("project/tools",), **kept)
    assert launched.outcomes == ["EBUSY", "ok"]


@pytest.mark.parametrize("user", USERS)
def test_the_kernel_cannot_undo_it_and_has_no_privileges_left(place, user):
    env = f"{place}/project/.venv"
    attempts = [["umount", env], ["mount", f"{place}/project"], ["regain"], ["capabilities"]]
    unmounted, mounted, regained, sets = frozen(place, *attempts, user=user).outcomes
    assert (unmounted, mounted, regained) == ("EPERM", "EPERM", "EPERM")
    assert {name: value for name, value in sets.items() if value} == {}


def test_where_the_same_folder_is_mounted_elsewhere_too_it_is_kept_there(place):
    mounting = f'mount --bind "{place}/project" "{place}/elsewhere"; exec "$@"'
    wrapper = ["unshare", "--mount", "sh", "-ec", mounting, "sh"]
    attempts = [["write", f"{place}/elsewhere/.venv/file"], ["create", f"{place}/elsewhere/new"],
                ["rename", f"{place}/elsewhere/.venv", f"{place}/elsewhere/x"]]  # fmt: skip
    assert frozen(place, *attempts, wrapper=wrapper).outcomes == ["EROFS", "ok", "EBUSY"]
    assert frozen(place, attempts[0], wrapper=wrapper, kept=()).outcomes == ["ok"]


def test_a_part_of_it_that_is_mounted_elsewhere_is_kept_there(place):
    mounting = f'mount --bind "{place}/project/.venv" "{place}/elsewhere"; exec "$@"'
    wrapper = ["unshare", "--mount", "sh", "-ec", mounting, "sh"]
    attempt, folders = ["write", f"{place}/elsewhere/file"], [place / "project", place / "elsewhere"]
    granted = plan(attempt, folders=folders)
    kept = plan(attempt, folders=folders, read_only=((f"{place}/project/.venv",), ()))
    assert launch(kept, wrapper=wrapper).outcomes == ["EROFS"]
    assert launch(granted, wrapper=wrapper).outcomes == ["ok"]


def test_what_the_users_groups_may_is_still_allowed(place):
    """Of groups a user namespace has only one, and permissions are judged by all as before."""
    (place / "project" / "team").mkdir(mode=0o770)
    os.chown(place / "project" / "team", 0, TEAM)
    (place / "project" / "team").chmod(0o2770)
    wrapper = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={TEAM}"]
    assert frozen(place, ["create", f"{place}/project/team/new"], wrapper=wrapper).outcomes == ["ok"]
    assert (place / "project" / "team" / "new").stat().st_gid == TEAM
    assert (place / "project" / "team" / "new").stat().st_uid == NOBODY


@pytest.mark.parametrize("user", USERS)
def test_one_that_was_exchanged_for_a_link_starts_nothing(place, user):
    (place / "project" / ".venv").rename(place / "project" / "gone")
    (place / "project" / ".venv").symlink_to("gone")
    refused = frozen(place, user=user).refused
    check_message(refused, f"{place}/project/gone", at=f"{place}/project/.venv")


def asking(place, *, user=None, wrapper=()):
    """What the program says that tells whether it can be done."""
    code = f"import sys; sys.path[:0] = [{IMPORTS!r}]; "
    code += "from openshell_kernel.sandbox.layers import read_only; raise SystemExit(read_only.main(sys.argv[1:]))"
    options = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    command = [*wrapper, PYTHON, "-c", code, f"{place}/project/.venv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout.strip()


def refusing(call, error):
    """A wrapper for a machine where a system call gives an error."""
    return [PYTHON, "-c", Path(without_call.__file__).read_text(), call, error]


WITHOUT_CAPABILITY = ["setpriv", "--bounding-set=-sys_admin"]


@pytest.mark.parametrize(
    ("wrapper", "user", "named"),
    [
        pytest.param(WITHOUT_CAPABILITY, None, "CAP_SYS_ADMIN", id="root that may not mount"),
        pytest.param(refusing("unshare", "ENOSPC"), NOBODY, "user.max_user_namespaces", id="switched off"),
        pytest.param(refusing("unshare", "EPERM"), NOBODY, "seccomp", id="forbidden"),
        pytest.param(refusing("open_tree", "EACCES"), NOBODY, "apparmor_restrict_unprivileged_userns", id="AppArmor"),
        pytest.param(refusing("mount_setattr", "ENOSYS"), NOBODY, "Function not implemented", id="another cause"),
    ],
)
def test_where_it_cannot_be_done_a_program_tells_why_and_a_plan_that_needs_it_starts_nothing(
    place, wrapper, user, named
):
    code, text = asking(place, user=user, wrapper=wrapper)
    assert code == 1
    assert named in text
    assert named in frozen(place, user=user, wrapper=wrapper).refused


@pytest.mark.parametrize("user", USERS)
def test_where_it_can_be_done_the_program_says_nothing_and_changes_nothing(place, user):
    assert asking(place, user=user) == (0, "")
    assert str(place) not in Path("/proc/self/mountinfo").read_text()
