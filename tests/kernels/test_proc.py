"""/proc where the policy does not name it: what programs look up there is readable, other programs' secrets are not."""

import os
import shutil
import subprocess
import sys

import pytest
from support import kernels

SAYS_NOTHING = "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/usr]}\n"


@pytest.fixture
def kernel(user, write_policy):
    write_policy(SAYS_NOTHING)
    with kernels.started(cwd=user / "notebooks") as kernel:
        yield kernel


@pytest.fixture
def other():
    """Another program of the same user, with a secret in its environment."""
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={"SECRET": "x"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.readline()
        yield process.pid


def test_memory_processors_and_its_own_processes_are_told(kernel):
    assert "MemTotal" in kernel.value("open('/proc/meminfo').read()")
    assert kernel.value("__import__('psutil').cpu_count(logical=False)") is not None
    assert kernel.value("len(__import__('os').listdir('/proc/self/task'))") > 0
    rule = next(row for row in kernel.record()["effective"]["rules"] if row["path"] == "/proc")
    assert (rule["access"], rule["origin"], sorted(rule["rights"])) == (
        "read_only",
        "runtime baseline",
        ["read_dir", "read_file"],
    )


@pytest.mark.parametrize("command", ["free", "lscpu", "ps"])
def test_programs_that_read_it_work(kernel, command):
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")
    assert kernel.run(f"__import__('subprocess').run([{command!r}], check=True, capture_output=True)").error == ""


@pytest.mark.parametrize(
    ("name", "look"),
    [("environ", "open"), ("maps", "open"), ("mem", "open"), ("fd/0", "os.readlink"), ("cwd", "os.readlink")],
)
def test_of_another_program_of_the_same_user_nothing_private_is_told(kernel, other, user, name, look):
    code = f"import os; {look}('/proc/{other}/{name}')"
    assert kernel.run(code).error.startswith(("PermissionError", "FileNotFoundError"))
    with kernels.started("python3", cwd=user / "notebooks") as plain:
        assert plain.run(code).error == ""


def test_command_lines_of_others_are_hidden_where_that_can_be_and_otherwise_it_is_said(kernel, other):
    seen = kernel.run(f"print(open('/proc/{other}/cmdline').read())")
    layers = {layer["name"]: layer for layer in kernel.record()["report"]["layers"]}
    assert (layers["processes"]["status"] == "enforced") == (seen.error != "")
    assert bool(layers["processes"]["residual"]) == (seen.error == "")
    if os.geteuid() != 0:
        assert seen.error == ""
