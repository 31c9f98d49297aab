"""`jupyter openshell show`: what a kernel was given, by the server's word and not by the kernel's."""

import json
import subprocess
import sys

import pytest
from support import kernels


def show(*words):
    command = [sys.executable, "-m", "openshell_kernel.cli", "show", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=kernels.SECONDS)


@pytest.fixture
def kernel(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        yield kernel


def test_a_running_kernel_is_shown_by_the_beginning_of_its_id(kernel, user):
    identity = kernel.manager.kernel_id
    done = show(identity[:8])
    assert done.returncode == 0, done.stderr
    assert identity in done.stdout
    assert str(user / "notebooks") in done.stdout
    data = json.loads(show("--json", identity).stdout)
    assert (data["id"], data["pid"]) == (identity, kernel.pid)
    inside = kernel.json("%policy show --json")
    assert {name: data[name] for name in inside} == inside


def test_kernels_are_listed_and_leave_the_list_when_they_end(kernel, user):
    listed = show()
    assert listed.stdout.split()[0] == kernel.manager.kernel_id
    assert str(user / "notebooks") in listed.stdout
    kernel.manager.shutdown_kernel(now=True)
    assert show().stdout == ""
    assert json.loads(show("--json").stdout) == []
    assert show(kernel.manager.kernel_id).returncode == 1


def test_a_restarted_kernel_is_another_process_of_the_same_id(kernel):
    before = json.loads(show("--json", kernel.manager.kernel_id).stdout)
    kernel.manager.restart_kernel(now=True)
    after = json.loads(show("--json", kernel.manager.kernel_id).stdout)
    assert (before["id"], before["pid"]) != (after["id"], after["pid"])
    assert before["id"] == after["id"]


def test_no_notebook_reads_or_changes_the_record(kernel, user):
    runtime = user / ".local" / "share" / "jupyter" / "runtime"
    (record,) = runtime.glob("openshell/*.json")
    for mode in ("r", "w"):
        assert kernel.run(f"open({str(record)!r}, {mode!r})").error.startswith("PermissionError")
    assert record.read_text()
