"""`confine`: the calling process is confined for ever, by what a running process can be given, and says no more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.kernels import eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("landlock_abi")]

PROGRAM = [sys.executable, "-I", str(Path(__file__).with_name("confined.py"))]


def confined(*words):
    done = subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_reaches_what_the_policy_grants_and_nothing_else(folder, policy, secret, user, landlock_abi):
    found = confined("report", policy, secret)
    assert found["enforced"]
    assert found["key"] == "Permission denied"
    assert found["child"] == 1
    assert (found["folder"], found["temporary"], found["home"]) == ("ok", "ok", "ok")
    assert (folder / "new").exists()
    assert not (user / "x").exists()
    assert found["again"] == "Operation not permitted"
    if landlock_abi >= 6:
        assert found["signal"] == "Operation not permitted"


def test_it_claims_only_the_layers_that_it_applies(folder, policy, secret):
    found = confined("report", policy, secret)
    layers = found["layers"]
    assert {layers[name] for name in ("landlock", "seccomp", "no_new_privs", "capabilities", "core_dumps")} == {
        "enforced"
    }
    assert {layers[name] for name in ("processes", "terminal", "keeper")} == {"absent"}
    assert layers["tunables"] == ("degraded" if os.geteuid() == 0 else "enforced")
    assert found["residual"]
    assert folder.exists()


@pytest.mark.usefixtures("folder")
def test_a_process_with_threads_is_refused_and_stays_as_it_was(policy):
    found = confined("in_threads", policy)
    assert "2" in found["error"]
    assert found["still"] == "ok"


@pytest.mark.usefixtures("folder")
def test_a_thread_that_starts_while_it_plans_leaves_the_process_as_it_was(policy):
    found = confined("in_late_threads", policy)
    assert found["error"].startswith("ConfinementError: 2 threads run in this process")
    assert (found["still"], found["no_new_privs"]) == ("ok", "0")


@pytest.mark.usefixtures("folder")
def test_what_fails_when_layers_are_in_force_says_that_the_process_should_end(policy):
    found = confined("half", policy)
    assert found["no_new_privs"] == "1"
    assert "end this process" in found["error"]


@pytest.mark.usefixtures("folder")
def test_a_refusal_leaves_the_process_as_it_was(user):
    path = user / "policy.yaml"
    path.write_text("version: 2\n")
    found = confined("refused", path)
    assert found["error"].startswith("InvalidPolicyError: ")
    assert found["still"] == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write the machine's controls")
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["/proc", "/proc/sys/vm", "link"])
def test_root_is_not_left_the_controls_of_the_machine(user, name):
    (user / "link").symlink_to("/proc")
    path, listed = user / "policy.yaml", user / name
    path.write_text(f"version: 1\nfilesystem_policy: {{read_only: [/usr], read_write: [{listed}]}}\n")
    found = confined("refused", path)
    assert found["error"].startswith(f"ConfinementError: {listed}: root may write")
    assert found["still"] == "ok"


def test_an_environment_in_the_folder_stays_as_it_is_without_mounts(folder, policy):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    python = str(folder / ".venv" / "bin" / "python")
    site = next((folder / ".venv" / "lib").iterdir()) / "site-packages"
    code = f"""
import json, site, sys
site.addsitedir({next(path for path in sys.path if path.endswith("site-packages"))!r})
import openshell_kernel
openshell_kernel.confine({policy!r})
def outcome(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return "ok"
print(json.dumps([outcome({str(site / "planted.pth")!r}), outcome({str(folder / "notes")!r})]))
"""
    (folder / "notes").write_text("")
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == ["Permission denied", "ok"], done.stderr


@pytest.mark.usefixtures("folder")
def test_its_private_folder_goes_away_with_it(policy):
    with subprocess.Popen(
        [*PROGRAM, "waiting", policy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        private = Path(process.stdout.readline().strip()).parent
        assert private.is_dir()
        process.kill()
    eventually(lambda: not private.exists(), "the removal of its folder")


@pytest.mark.usefixtures("folder")
def test_it_has_no_children_that_it_did_not_start(policy):
    with subprocess.Popen(
        [*PROGRAM, "waiting", policy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        process.communicate()
    assert children == ""
