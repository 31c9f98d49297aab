"""A real kernel is what its report says: asked from inside, and by an operator."""

import json
import subprocess
import sys

import pytest
from support import kernels


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    folder.chmod(0o755)
    return folder


def test_a_kernel_verifies_itself(landlock_abi, user):
    with kernels.started(cwd=user) as kernel:
        found = kernel.json("%policy verify --json")
        shown = kernel.run("%policy verify").text
        reported = kernel.json("%policy show --json")["report"]["layers"]
    assert found["ok"] is True
    assert [(one["name"], one["status"]) for one in found["findings"]] == [
        (layer["name"], layer["status"]) for layer in reported
    ]
    assert all(one["probes"] for one in found["findings"] if one["status"] != "absent")
    assert "FAILED" not in shown


def test_a_kernel_that_is_not_confined_has_nothing_to_verify(user):
    with kernels.started("python3", cwd=user) as kernel:
        kernel.run("%load_ext openshell_kernel.kernel.magics")
        assert "jupyter console --kernel openshell-gpu" in kernel.run("%policy verify").text


def test_an_operator_has_a_fresh_kernel_verified(landlock_abi, user):
    command = [sys.executable, "-m", "openshell_kernel.cli", "verify"]
    done = subprocess.run([*command, "--json"], cwd=user, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert {"landlock", "seccomp"} <= {one["name"] for one in told["findings"] if one["status"] == "enforced"}


def test_an_operator_is_told_what_is_not_as_it_was_reported(landlock_abi, user):
    """The server's report claims a layer more than there is: here, by changing what it was told."""
    code = (
        "import sys; from openshell_kernel.server import verify as server; from openshell_kernel import cli\n"
        "def outcome(manager, real=server.outcome):\n"
        "    effective, report = real(manager)\n"
        "    claimed = [layer._replace(subjects=('4194305',)) if layer.name == 'keeper' else layer for layer in report.layers]\n"
        "    return effective, report._replace(layers=tuple(claimed))\n"
        "server.outcome = outcome\n"
        "sys.exit(cli.main(['verify']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=user, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "FAILED All ends with the kernel" in done.stdout


def test_a_kernel_has_no_say_in_which_layers_are_probed(landlock_abi, user):
    code = (
        "import json, sys; from openshell_kernel.server import verify as server; from openshell_kernel import cli\n"
        "def printed(*arguments, real=server.printed, **options):\n"
        "    answer = json.loads(real(*arguments, **options))\n"
        "    answer['findings'][-1].update(status='absent', probes=[])\n"
        "    return json.dumps(answer)\n"
        "server.printed = printed\n"
        "sys.exit(cli.main(['verify']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=user, capture_output=True, text=True)
    assert done.returncode == 4, done.stdout
    assert "other layers than were reported" in done.stderr


def test_a_kernel_that_does_not_start_has_an_exit_status_of_its_own(user):
    command = [sys.executable, "-m", "openshell_kernel.cli", "verify", "--kernel", "python3"]
    done = subprocess.run(command, cwd=user, capture_output=True, text=True)
    assert done.returncode == 4
    assert "python3" in done.stderr
