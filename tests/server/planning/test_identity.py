"""Whom a kernel runs as: what the policy says, by the accounts of this machine, and never root by accident."""

import grp
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.errors import refused

from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.model import ProcessPolicy
from openshell_kernel.sandbox.layers.identity import Parameters as Identity
from openshell_kernel.server.dirs.untrusted_tree import remove_tree
from openshell_kernel.server.planning.identity import hand_over, lend_connection, resolve
from openshell_kernel.server.planning.request import Connection

ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not ROOT, reason="only root can give files away")


def account(name, uid, gid):
    return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))


ACCOUNTS = [account("sandbox", 900, 901), account("ada", 1000, 1000), account("admin", 1001, 0), account("toor", 0, 0)]
GROUPS = {"sandbox": [901, 44], "ada": [1000, 27, 44], "admin": [0], "toor": [0]}


def found(key, value):
    for entry in ACCOUNTS:
        if getattr(entry, key) == value:
            return entry
    raise KeyError(value)


def resolved(user=None, group=None, *, euid=0, accounts=True):
    def named(name):
        return found("pw_name", name if accounts else "")

    def group_named(name):
        if not accounts:
            raise KeyError(name)
        return grp.struct_group((name, "x", 901, []))

    wishes = {"run_as_user": user, "run_as_group": group}
    return resolve(
        ProcessPolicy(**{name: value for name, value in wishes.items() if value}),
        euid=euid,
        account_named=named,
        account_numbered=lambda uid: found("pw_uid", uid),
        group_named=group_named,
        groups_of=lambda name, gid: [*GROUPS[name], gid],
    )


@pytest.mark.parametrize(
    ("user", "group", "identity"),
    [
        pytest.param("sandbox", None, (900, 901, (44,)), id="an account brings its groups"),
        pytest.param("sandbox", "sandbox", (900, 901, (44,)), id="account and group of that name"),
        pytest.param("1000", None, (1000, 1000, (27, 44)), id="a number that has an account brings its groups"),
        pytest.param("1000", "1500", (1000, 1500, (27, 44, 1000)), id="the named group is the first"),
        pytest.param("1500", "1501", (1500, 1501, ()), id="numbers without an account stand for themselves"),
        pytest.param(None, "1501", (0, 1501, ()), id="a group alone leaves the user as it is"),
        pytest.param("1001", "1501", None, id="an account of root's group is refused"),
    ],
)
def test_the_identity_is_what_the_policy_says(user, group, identity):
    if identity is None:
        with refused(PolicyError, at="process.run_as_user"):
            resolved(user, group)
    else:
        uid, gid, groups = identity
        assert resolved(user, group) == Identity(uid=uid, gid=gid, groups=groups)


@pytest.mark.parametrize(
    ("user", "group", "key"),
    [
        ("sandbox", None, "process.run_as_user"),
        ("1500", "sandbox", "process.run_as_group"),
        ("1500", None, "process.run_as_user"),
    ],
)
def test_what_this_machine_does_not_have_is_an_error_with_the_remedy(user, group, key):
    with refused(PolicyError, at=key):
        resolved(user, group, accounts=False)


def test_started_as_an_ordinary_user_or_without_a_wish_there_is_none():
    assert resolved("sandbox", euid=1000) is None
    assert resolved() is None
    assert resolve(None, euid=0) is None


@dataclass
class Private:
    path: Path


@root_only
def test_the_private_folder_is_handed_over_with_its_modes_and_without_following_links(tmp_path):
    folder, outside = tmp_path / "private", tmp_path / "outside"
    (folder / "tmp").mkdir(parents=True, mode=0o700)
    outside.write_text("x")
    (folder / "tmp" / "link").symlink_to(outside)
    (folder / "tmp" / "own").write_text("x")
    os.link(outside, folder / "tmp" / "hard")
    (folder / "tmp").chmod(0o700)
    hand_over(Private(folder), uid=1500, gid=1501)
    given = [folder, folder / "tmp", folder / "tmp" / "own"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in given} == {(1500, 1501)}
    assert oct((folder / "tmp").stat().st_mode)[-3:] == "700"
    assert outside.stat().st_uid == 0


@pytest.mark.slow
@root_only
def test_a_tree_of_any_depth_is_handed_over(tmp_path):
    path = str(tmp_path / "private")
    os.mkdir(path)
    here = os.open(path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    try:
        hand_over(Private(Path(path)), uid=1500, gid=1501)
        assert os.fstat(here).st_uid == 1500
    finally:
        os.close(here)
        remove_tree(path)


CHURN = """
import os, sys
os.chdir(sys.argv[1])
print(flush=True)
while True:
    for number in range(50):
        open(str(number), "w").close()
    for number in range(50):
        os.unlink(str(number))
"""


@root_only
def test_a_process_that_goes_on_with_its_files_does_not_hinder_the_handing_over(tmp_path):
    words = [sys.executable, "-c", CHURN, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            for uid in (1500, 0) * 100:
                hand_over(Private(tmp_path), uid=uid, gid=uid)
        finally:
            process.kill()


@root_only
def test_the_connection_file_is_lent_as_a_copy_that_only_the_identity_reads(tmp_path):
    private = Private(tmp_path / "private")
    private.path.mkdir()
    connection = tmp_path / "kernel-1.json"
    connection.write_text("{}")
    asked = Connection(file=str(connection), encrypted=False)
    assert lend_connection(asked, private, None) == str(connection)
    copy = Path(lend_connection(asked, private, Identity(uid=1500, gid=1501, groups=())))
    assert (copy.parent, copy.read_text()) == (private.path, "{}")
    assert (copy.stat().st_uid, oct(copy.stat().st_mode)[-3:]) == (1500, "600")
    assert connection.stat().st_uid == 0
