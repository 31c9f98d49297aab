"""To a kernel that runs as root, /proc shows its own processes and lets it control nothing of the machine."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from support.errors import check_message
from support.launching import NOBODY, launch, plan, unconfined

from openshell_kernel.sandbox.layers.identity import Parameters as Identity

pytestmark = [
    pytest.mark.usefixtures("landlock_abi"),
    pytest.mark.skipif(os.geteuid() != 0, reason="to an ordinary user /proc is no danger"),
]
PATTERN = "/proc/sys/kernel/core_pattern"
TUNABLES = "tunables"
WITHOUT_MOUNTS = ["setpriv", "--bounding-set=-sys_admin"]


def in_namespace(script, *then):
    """A wrapper that mounts something where only the launcher sees it."""
    return ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *then]


@pytest.fixture
def place():
    folder = Path(tempfile.mkdtemp(prefix="openshell-test-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_controls_of_the_machine_cannot_be_written_although_the_policy_grants_proc_read_write():
    attempts = (["write", PATTERN], ["write", "/proc/sys/vm/drop_caches"], ["writable in /proc"])
    launched = launch(plan(*attempts, proc="protect"))
    assert launched.outcomes == ["EROFS", "EROFS", []]
    assert launched.layers[TUNABLES]["active"]
    before = unconfined(*attempts)
    assert before[:2] == ["ok", "ok"]
    assert len(before[2]) > 100


def test_the_kernel_still_writes_its_own_files_in_proc():
    attempts = (["named thread"], ["write", "/proc/self/oom_score_adj"])
    assert launch(plan(*attempts, proc="protect")).outcomes == ["renamed", "ok"]


def test_only_the_kernels_own_processes_are_there():
    server = f"/proc/{os.getpid()}"
    attempts = [
        [how, f"{server}/{name}"] for how, name in (("write", "oom_score_adj"), ("read", "cmdline"), ("read", "status"))
    ]
    launched = launch(plan(["processes"], ["itself"], *attempts, proc="protect"))
    processes, itself, *others = launched.outcomes
    assert processes == [itself]
    assert [outcome for outcome in others if outcome not in ("EPERM", "ENOENT")] == []
    assert launched.layers["processes"]["active"]
    shown, *reached = unconfined(["processes"], *attempts)
    assert os.getpid() in shown
    assert reached == ["ok"] * 3


def test_the_kernel_cannot_undo_it(place):
    attempts = (["umount", "/proc/sys"], ["umount", "/proc"], ["mount", str(place)], ["write", PATTERN],
                ["write", f"/proc/{os.getpid()}/root{PATTERN}"], ["write", f"/proc/self/root{PATTERN}"])  # fmt: skip
    outcomes = launch(plan(*attempts, folders=[place], proc="protect")).outcomes
    assert outcomes[:4] == ["EPERM", "EPERM", "EPERM", "EROFS"]
    assert outcomes[4] in ("EPERM", "EACCES", "ENOENT")
    assert outcomes[5] == "EROFS"


def test_the_mounts_of_the_machine_are_left_as_they_are():
    script = 'before=$(cat /proc/self/mountinfo); "$@"; test "$before" = "$(cat /proc/self/mountinfo)"'
    shared = ["unshare", "--mount", "--propagation=shared", "sh", "-ec", script, "sh"]
    assert launch(plan(["write", PATTERN], proc="protect"), wrapper=shared).outcomes == ["EROFS"]
    assert unconfined(["write", PATTERN]) == ["ok"]


def test_a_proc_that_is_mounted_elsewhere_is_protected_too(place):
    elsewhere = place / "root of a container"
    elsewhere.mkdir()
    mounted = in_namespace(f"mount --bind /proc '{elsewhere}'")
    attempts = (["write", f"{elsewhere}/sys/kernel/core_pattern"], ["write", PATTERN])
    granting = plan(*attempts, folders=[place], proc="protect")
    assert launch(granting, wrapper=mounted).outcomes == ["EROFS", "EROFS"]
    only_there = plan(folders=[place], proc="protect", proc_writable=False)
    refused = launch(only_there, wrapper=[*mounted, *WITHOUT_MOUNTS]).refused
    assert f"{elsewhere}/sys" in refused


def test_what_a_container_has_mounted_beneath_proc_stays():
    hidden = in_namespace("mount --bind /dev/null /proc/uptime")
    launched = launch(
        plan(["is device", "/proc/uptime"], ["write", PATTERN], ["named thread"], proc="protect"), wrapper=hidden
    )
    assert launched.outcomes == [True, "EROFS", "renamed"]
    assert not launched.layers["processes"]["active"]


def test_without_the_right_to_mount_the_start_is_refused_with_the_remedy():
    refused = launch(plan(proc="protect"), wrapper=WITHOUT_MOUNTS).refused
    assert "/proc/sys" in refused
    assert "required = {'tunables': False}" in refused
    assert "read_only" in refused


def test_with_a_gpu_the_remedy_says_that_listing_proc_read_only_is_not_enough_and_what_is():
    refused = launch(plan(proc="protect", proc_for_gpu=True), wrapper=WITHOUT_MOUNTS).refused
    check_message(refused, "GPU", "read_only", "jupyter: {gpu: {request: none}}", "allow_promotion: []")
    alone = launch(plan(proc="protect"), wrapper=WITHOUT_MOUNTS).refused
    assert "/proc" in alone
    assert "GPU" not in alone


def test_the_operator_can_allow_it_and_the_kernel_says_what_is_open():
    launched = launch(plan(["write", PATTERN], proc="allow"), wrapper=WITHOUT_MOUNTS)
    assert launched.outcomes == ["ok"]
    assert not launched.layers[TUNABLES]["active"]
    assert "/proc/sys" in launched.layers[TUNABLES]["detail"]


def test_where_it_is_possible_what_the_operator_allows_is_protected_all_the_same():
    assert launch(plan(["write", PATTERN], proc="allow")).outcomes == ["EROFS"]


def test_without_the_right_to_mount_a_policy_that_grants_proc_read_only_is_no_danger():
    launched = launch(plan(["write", PATTERN], proc="protect", proc_writable=False), wrapper=WITHOUT_MOUNTS)
    assert launched.outcomes == ["EACCES"]


def test_a_container_whose_runtime_has_made_the_controls_read_only_needs_no_mounts():
    paths = [f"/proc/{name}" for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "driver/nvidia")]
    script = "\n".join(
        f"mount --bind {path} {path}; mount -o remount,bind,ro {path}" for path in paths if os.path.exists(path)
    )
    launched = launch(plan(["write", PATTERN], proc="protect"), wrapper=in_namespace(script, *WITHOUT_MOUNTS))
    assert launched.outcomes == ["EROFS"]
    assert launched.layers[TUNABLES]["active"]


def test_a_kernel_that_takes_on_an_identity_is_not_refused_for_what_only_root_can_write():
    identity = Identity(uid=NOBODY, gid=NOBODY, groups=())
    launched = launch(plan(["write", PATTERN], proc="protect", identity=identity), wrapper=WITHOUT_MOUNTS)
    assert launched.outcomes == ["EACCES"]
