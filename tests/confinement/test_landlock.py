"""What Landlock really does with our rules, seen in child processes: each attempt is also seen to succeed unconfined."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.errors import check_message

from openshell_kernel.policy.effective import (
    DEVICE_RIGHTS,
    PROC_READ_RIGHTS,
    PROC_WRITE_RIGHTS,
    READ_RIGHTS,
    WRITE_RIGHTS,
)

pytestmark = pytest.mark.usefixtures("landlock_abi")
ATTEMPT = Path(__file__).with_name("attempt.py")
RUNTIME = [
    [path, READ_RIGHTS, False] for path in {"/usr", "/lib", "/lib64", "/etc/ld.so.cache", sys.prefix, sys.base_prefix}
]


def run(rules, *attempts, confine=True, thread=False):
    request = {
        "rules": [*RUNTIME, *rules] if rules is not None else [],
        "attempts": attempts,
        "confine": confine,
        "thread": thread,
    }
    process = subprocess.run(
        [sys.executable, str(ATTEMPT)], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def outcomes(rules, *attempts, **options):
    answer = run(rules, *attempts, **options)
    assert "refused" not in answer, answer
    return answer["outcomes"]


@pytest.fixture
def place(tmp_path):
    """A granted folder and a folder that is not, each with a file."""
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    return tmp_path


def test_a_read_only_folder_is_read_and_nothing_else(place):
    folder = str(place / "inside")
    attempts = [["read", f"{folder}/file"], ["list", folder], ["write", f"{folder}/file"], ["truncate", f"{folder}/file"],
                ["create", f"{folder}/new"], ["mkdir", f"{folder}/d"], ["unlink", f"{folder}/file"]]  # fmt: skip
    assert outcomes([[folder, READ_RIGHTS, True]], *attempts) == ["x", ["file"]] + ["EACCES"] * 5
    assert outcomes(None, *attempts, confine=False) == ["x", ["file"], "ok", "ok", "ok", "ok", "ok"]


def test_a_read_write_folder_takes_every_change_but_devices(place):
    folder = str(place / "inside")
    attempts = [["write", f"{folder}/file"], ["truncate", f"{folder}/file"], ["create", f"{folder}/new"], ["mkdir", f"{folder}/d"],
                ["rename", f"{folder}/new", f"{folder}/d/new"], ["symlink", f"{folder}/s"], ["unlink", f"{folder}/file"]]  # fmt: skip
    assert outcomes([[folder, WRITE_RIGHTS, True]], *attempts) == ["ok"] * 7


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")
def test_a_read_write_folder_takes_no_device_node(place):
    attempt = ["mknod", str(place / "inside" / "null")]
    assert outcomes([[str(place / "inside"), WRITE_RIGHTS, True]], attempt) == ["EACCES"]
    assert outcomes(None, attempt, confine=False) == ["ok"]


def test_what_no_rule_grants_is_denied(place):
    secret = str(place / "outside" / "file")
    link = place / "inside" / "link"
    link.symlink_to(secret)
    attempts = [["read", secret], ["read", str(link)], ["read", f"/proc/self/root{secret}"], ["list", str(place / "outside")],
                ["link", secret, str(place / "inside" / "hard")], ["rename", secret, str(place / "inside" / "moved")]]  # fmt: skip
    rules = [[str(place / "inside"), WRITE_RIGHTS, True], ["/proc", PROC_READ_RIGHTS, True]]
    assert outcomes(rules, *attempts) == ["EACCES", "EACCES", "EACCES", "EACCES", "EXDEV", "EACCES"]
    assert outcomes(None, *attempts, confine=False)[:4] == ["x", "x", "x", ["file"]]


def test_threads_and_children_are_confined_too(place):
    secret = str(place / "outside" / "file")
    assert outcomes([], ["in_thread", "read", secret], ["in_child", "read", secret]) == ["EACCES", "EACCES"]


def test_executing_needs_the_right_to_execute(place):
    program = place / "inside" / "program"
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    reading = ("read_file", "read_dir")
    assert outcomes([[str(program), reading, True]], ["execute", str(program)]) == ["EACCES"]
    assert outcomes([[str(program), READ_RIGHTS, True]], ["execute", str(program)]) == [0]


def test_the_rights_of_a_rule_are_masked_by_the_inode_behind_it(place, landlock_abi):
    fifo = place / "fifo"
    os.mkfifo(fifo)
    rules = [
        [str(place / "inside" / "file"), WRITE_RIGHTS, True],
        ["/dev/null", DEVICE_RIGHTS, True],
        [str(fifo), WRITE_RIGHTS, True],
    ]
    answer = run(rules, ["write", "/dev/null"], ["write", str(place / "inside" / "file")])
    assert answer["outcomes"] == ["ok", "ok"]
    file, device, pipe = answer["rules"][-3:]
    assert (file["kind"], set(file["rights"])) == ("file", {"execute", "read_file", "write_file", "truncate"})
    ioctl = {"ioctl_dev"} if landlock_abi >= 5 else set()
    assert (device["kind"], set(device["rights"])) == ("device", {"read_file", "write_file", "truncate"} | ioctl)
    assert pipe["kind"] == "other"
    assert not pipe["problem"]


def test_ioctl_on_a_device_needs_its_right(landlock_abi):
    if landlock_abi < 5:
        pytest.skip("device ioctls are restricted since ABI 5")
    assert outcomes([["/dev/ptmx", ("read_file", "write_file"), True]], ["ioctl", "/dev/ptmx"]) == ["EACCES"]
    assert outcomes([["/dev/ptmx", DEVICE_RIGHTS, True]], ["ioctl", "/dev/ptmx"]) == ["ok"]


@pytest.mark.parametrize("wrapper", [[], ["in_thread"], ["in_child"]], ids=["itself", "thread", "child"])
def test_comm_is_written_only_where_proc_is_read_write(wrapper):
    attempts = [[*wrapper, "comm", "w"], [*wrapper, "comm", "r+"]]
    assert outcomes([["/proc", PROC_READ_RIGHTS, True]], *attempts) == ["EACCES", "EACCES"]
    assert outcomes([["/proc", PROC_WRITE_RIGHTS, True]], *attempts) == ["ok", "ok"]


def test_a_missing_path_does_not_void_the_other_rules(place):
    answer = run([["/nonexistent", READ_RIGHTS, False], [str(place / "inside"), READ_RIGHTS, True]],
                 ["read", str(place / "inside" / "file")], ["read", str(place / "outside" / "file")])  # fmt: skip
    assert answer["outcomes"] == ["x", "EACCES"]
    assert [rule["problem"] for rule in answer["rules"][-2:]] == ["No such file or directory", ""]


def test_a_required_path_that_is_missing_refuses_the_start():
    answer = run([["/nonexistent", READ_RIGHTS, True], ["/also-missing", READ_RIGHTS, True]], ["read", "/etc/passwd"])
    check_message(answer["refused"], "/nonexistent: ", "/also-missing: ", "best_effort")
    assert "outcomes" not in answer


def test_an_empty_ruleset_is_refused():
    request = {"rules": [["/nonexistent", ["read_file"], False]], "attempts": []}
    process = subprocess.run(
        [sys.executable, str(ATTEMPT)], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    assert json.loads(process.stdout)["refused"]


def test_a_symbolic_link_out_of_a_writable_folder_carries_no_rule_with_it(place):
    (place / "inside" / "data").symlink_to(place / "outside")
    rules = [[str(place / "inside"), WRITE_RIGHTS, True], [str(place / "inside" / "data"), READ_RIGHTS, False]]
    answer = run(rules, ["read", str(place / "outside" / "file")])
    assert answer["outcomes"] == ["EACCES"]
    assert answer["rules"][-1]["problem"]


@pytest.mark.parametrize("name", ["alias/data", "shortcut"])
def test_a_writable_folder_that_a_link_leads_through_is_told_whatever_it_is_called(place, name):
    (place / "alias").symlink_to("inside")
    (place / "shortcut").symlink_to(place / "alias" / "data")
    rules = [[str(place / "inside"), WRITE_RIGHTS, True], [str(place / name), READ_RIGHTS, False]]
    (place / "inside" / "data").mkdir()
    assert run(rules)["rules"][-1]["problem"] == ""
    (place / "inside" / "data").rmdir()
    (place / "inside" / "data").symlink_to(place / "outside")
    answer = run(rules, ["read", str(place / "outside" / "file")])
    assert answer["outcomes"] == ["EACCES"]
    assert answer["rules"][-1]["problem"]


def test_a_rule_beneath_a_writable_folder_is_applied_when_it_stays_inside(place):
    (place / "inside" / "sub").mkdir()
    rules = [[str(place / "inside"), WRITE_RIGHTS, True], [str(place / "inside" / "sub"), READ_RIGHTS, True]]
    assert run(rules)["rules"][-1]["problem"] == ""


def test_a_path_that_was_judged_by_its_name_is_not_granted_through_a_link(place):
    (place / "link").symlink_to(place / "outside")
    answer = run([[str(place / "link"), WRITE_RIGHTS, False, True]], ["read", str(place / "outside" / "file")])
    assert answer["outcomes"] == ["EACCES"]
    assert answer["rules"][-1]["problem"]
    exact = [[str(place / "outside"), WRITE_RIGHTS, False, True]]
    assert outcomes(exact, ["read", str(place / "outside" / "file")]) == ["x"]


def test_a_launcher_with_threads_is_refused():
    answer = run([], thread=True)
    assert "2" in answer["refused"]


def test_no_new_privs_is_set():
    answer = run([], ["setuid_gain"])
    assert answer["outcomes"] == [1]


def test_signals_and_abstract_sockets_outside_are_out_of_reach(landlock_abi):
    if landlock_abi < 6:
        pytest.skip("scopes exist since ABI 6")
    name = f"openshell-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        attempts = [["kill", os.getpid()], ["connect_abstract", name]]
        assert outcomes([], *attempts) == ["EPERM", "EPERM"]
        assert outcomes(None, *attempts, confine=False) == ["ok", "ok"]


def test_every_filesystem_right_of_the_abi_is_handled(landlock_abi):
    decides = run([])["layer"]["detail"]
    assert ("truncate" in decides) == (landlock_abi >= 3)
    assert ("ioctl_dev" in decides) == (landlock_abi >= 5)
    assert "make_char" in decides
    assert "make_block" in decides
