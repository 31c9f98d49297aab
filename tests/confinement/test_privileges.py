"""Nothing of root's power is left to a kernel, and none comes back; each attempt is also seen to succeed unconfined."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import launching
from support.errors import check_message
from support.launching import IMPORTS, LAUNCH, NOBODY, PYTHON, launch, plan, unconfined

from openshell_kernel.sandbox.layers.identity import Parameters as Identity

pytestmark = pytest.mark.usefixtures("landlock_abi")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up here")
DAC_OVERRIDE = 1 << 1
DAC_READ_SEARCH = 1 << 2
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
REFUSED = ("EACCES", "EPERM", "ENOENT")


@pytest.fixture(params=["as root", "as an ordinary user"])
def user(request):
    """For whom the launcher runs: None is whoever runs the tests."""
    if request.param == "as root":
        if os.geteuid() != 0:
            pytest.skip("the tests do not run as root")
        return None
    return NOBODY if os.geteuid() == 0 else None


@pytest.fixture
def place():
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="openshell-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def foreign(place):
    """A folder that belongs to another user than root, with a file."""
    folder = place / "foreign"
    folder.mkdir(mode=0o755)
    (folder / "file").write_text("x")
    for path in (folder, folder / "file"):
        os.chown(path, NOBODY, NOBODY)
    return folder


def test_no_capability_is_left_to_the_kernel_nor_to_a_program_that_it_runs(user):
    launched = launch(plan(["capabilities"], ["capabilities of a program"], proc="protect"), user=user)
    # Without CAP_SETPCAP nobody can reduce the bounding set; it only bounds what no_new_privs keeps away anyhow.
    sets = SETS if user is None and os.geteuid() == 0 else [name for name in SETS if name != "CapBnd"]
    for outcome in launched.outcomes:
        assert {outcome[name] for name in sets} == {0}
    assert launched.layers["capabilities"]["active"]


@root_only
def test_root_without_the_right_to_change_its_capability_sets_loses_them_all_the_same():
    attempts = (["capabilities"], ["capabilities of a program"], ["hostname"])
    wrapper = ["setpriv", "--bounding-set=-setpcap"]
    launched = launch(plan(*attempts, proc="protect"), wrapper=wrapper)
    assert [launched.outcomes[0]["CapEff"], launched.outcomes[1]["CapEff"], launched.outcomes[2]] == [0, 0, "EPERM"]
    assert "no_new_privs" in launched.layers["capabilities"]["detail"]
    assert unconfined(["capabilities"])[0]["CapEff"] != 0


@root_only
def test_what_only_a_capability_allows_is_refused(place):
    file = place / "file"
    file.write_text("x")
    attempts = (
        ["chown", str(file)],
        ["chroot"],
        ["hostname"],
        ["nice"],
        ["setuid", NOBODY],
        ["setgroups"],
        ["mount", str(place)],
    )
    outcomes = launch(plan(*attempts, folders=[place], proc="protect")).outcomes
    assert outcomes == ["EPERM"] * 7
    assert unconfined(*attempts[:-1]) == ["ok"] * 6


def test_nothing_that_was_given_up_can_be_regained(user):
    attempts = (["regain"], ["securebits"], ["ambient"], ["setuid", 0])
    outcomes = launch(plan(*attempts), user=user).outcomes
    is_root = user is None and os.geteuid() == 0
    # To become whom one is takes no capability.
    assert outcomes == ["EPERM", "EPERM", "EPERM", "ok" if is_root else "EPERM"]
    if is_root:
        assert launch(plan(["keep_caps"])).outcomes == ["EPERM"]
        assert unconfined(["securebits"], ["keep_caps"], ["setuid", 0]) == ["ok"] * 3


@root_only
def test_a_set_user_id_program_gives_an_ordinary_user_nothing(place):
    program = place / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    attempt = ["execute", str(program), "-u"]
    assert unconfined(attempt, user=NOBODY) == ["0"]
    assert launch(plan(attempt, folders=[place]), user=NOBODY).outcomes == [str(NOBODY)]


def test_the_server_cannot_be_looked_into_nor_signalled(user):
    proc = f"/proc/{os.getpid()}"
    secrets = [["read", f"{proc}/{name}"] for name in ("environ", "maps", "root/etc/passwd", "cwd/.")]
    controls = [["read", f"{proc}/mem"], ["write", f"{proc}/mem"], ["kill", os.getpid()]]
    how = "protect" if user is None and os.geteuid() == 0 else "leave"
    outcomes = launch(plan(*secrets, *controls, proc=how), user=user).outcomes
    assert [outcome for outcome in outcomes if outcome not in REFUSED] == []
    if user is None:
        assert unconfined(*secrets, ["kill", os.getpid()]) == ["ok"] * 5


@root_only
def test_root_works_in_the_folder_of_another_user_with_one_capability_and_reaches_nothing_else(place, foreign):
    secret = place / "secret"
    secret.write_text("x")
    os.chown(secret, NOBODY, NOBODY)
    attempts = (["write", str(foreign / "file")], ["create", str(foreign / "new")], ["write", str(secret)], ["read", str(secret)],
                ["read", f"/proc/{os.getpid()}/environ"], ["chown", str(foreign / "file")], ["hostname"])  # fmt: skip
    without = launch(plan(*attempts[:2], folders=[foreign], proc="protect"))
    assert without.outcomes == ["EACCES", "EACCES"]
    keeping = plan(*attempts, ["capabilities"], ["capabilities of a program"], folders=[foreign],
                   keep_capabilities=("dac_override",), proc="protect")  # fmt: skip
    launched = launch(keeping)
    assert launched.outcomes[:4] == ["ok", "ok", "EACCES", "EACCES"]
    assert launched.outcomes[4] in REFUSED
    assert launched.outcomes[5:7] == ["EPERM", "EPERM"]
    for outcome in launched.outcomes[7:]:
        assert {outcome[name] for name in SETS} == {DAC_OVERRIDE}
    assert "CAP_DAC_OVERRIDE" in launched.layers["capabilities"]["detail"]
    assert unconfined(*attempts[2:4]) == ["ok", "ok"]


@root_only
def test_to_read_in_a_closed_folder_the_lesser_capability_is_enough_and_nothing_is_written_with_it(place, foreign):
    foreign.chmod(0o700)
    attempts = (["read", str(foreign / "file")], ["write", str(foreign / "file")], ["capabilities"])
    launched = launch(plan(*attempts, folders=[foreign], keep_capabilities=("dac_read_search",), proc="protect"))
    assert launched.outcomes[:2] == ["ok", "EACCES"]
    assert {launched.outcomes[2][name] for name in SETS} == {DAC_READ_SEARCH}
    assert launch(plan(attempts[0], folders=[foreign], proc="protect")).outcomes == ["EACCES"]


@root_only
def test_a_capability_that_the_server_lacks_is_no_silent_loss(foreign):
    keeping = plan(folders=[foreign], keep_capabilities=("dac_override",))
    assert "CAP_DAC_OVERRIDE" in launch(keeping, wrapper=["setpriv", "--bounding-set=-dac_override"]).refused


@root_only
def test_the_kernel_takes_on_an_identity_for_good(foreign):
    os.chown(foreign, 1500, 1501)
    attempts = (["identity"], ["capabilities"], ["setuid", 0], ["regain"], ["create", str(foreign / "new")], ["named thread"],
                ["owner", "/proc/self/environ"])  # fmt: skip
    identity = Identity(uid=1500, gid=1501, groups=(44, 1502))
    launched = launch(plan(*attempts, folders=[foreign], identity=identity, proc="protect"))
    assert launched.outcomes[0] == [[1500] * 3, [1501] * 3, [44, 1502]]
    assert {launched.outcomes[1][name] for name in SETS} == {0}
    assert launched.outcomes[2:] == ["EPERM", "EPERM", "ok", "renamed", 1500]
    assert (foreign / "new").stat().st_uid == 1500
    check_message(launched.layers["identity"]["detail"], 1500, 1501, "44, 1502")


@root_only
def test_an_identity_that_cannot_read_what_its_program_runs_is_refused_and_the_file_is_named(place):
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "start.py").write_text("")
    identity = Identity(uid=1500, gid=1501, groups=(), reads=(str(closed / "start.py"),))
    check_message(launch(plan(identity=identity, cwd="/")).refused, 1500, at=closed / "start.py")


@root_only
@pytest.mark.parametrize("what", ["cwd", "program", "TMPDIR"])
def test_an_identity_that_cannot_reach_what_the_kernel_needs_is_refused_and_the_path_is_named(place, what):
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    changes = {
        "cwd": {"cwd": str(closed)},
        "program": {"argv": (str(closed / "python"),)},
        "TMPDIR": {"environment": {"TMPDIR": str(closed)}},
    }[what]
    refused = launch(plan(identity=Identity(uid=1500, gid=1500, groups=()), **changes)).refused
    check_message(refused, closed, 1500)


@root_only
def test_root_in_another_group_works_in_a_closed_folder_with_the_capability_that_it_keeps(foreign):
    foreign.chmod(0o700)
    attempts = (["identity"], ["create", str(foreign / "new")])
    identity = Identity(uid=0, gid=1501, groups=())
    kept = {"keep_capabilities": ("dac_override",), "proc": "protect", "cwd": str(foreign)}
    assert launch(plan(*attempts, folders=[foreign], identity=identity, **kept)).outcomes == [
        [[0] * 3, [1501] * 3, []],
        "ok",
    ]


def test_an_ordinary_user_cannot_take_on_an_identity():
    user = NOBODY if os.geteuid() == 0 else None
    refused = launch(plan(identity=Identity(uid=1500, gid=1500, groups=())), user=user).refused
    check_message(refused, 1500, "run_as_user")


def test_a_crash_leaves_no_core_dump(user):
    attempts = (["crash"], ["core limit"])
    launched = launch(plan(*attempts), user=user)
    # The limit is 1 because 0 would not keep a crash handler in core_pattern from being given the memory.
    assert launched.outcomes == [[11, False], [1, 1]]
    assert launch(plan(["raise core limit"]), user=user).outcomes == ["EPERM"]


def test_the_kernel_still_owns_its_files_in_proc_so_that_it_can_name_its_threads(user):
    owner = os.geteuid() if user is None else user
    assert launch(plan(["owner", "/proc/self/environ"], ["named thread"]), user=user).outcomes == [owner, "renamed"]


TERMINALS = {
    "the leader of a session": [],
    "a member of a session": ["-c", "import os; os.fork() and (os.wait(), os._exit(0)); os.execv(*WORDS)"],
    "the leader of a process group": [
        "-c",
        "import os; os.fork() and (os.wait(), os._exit(0)); os.setpgid(0, 0); os.execv(*WORDS)",
    ],
}


@pytest.mark.parametrize("position", TERMINALS)
def test_the_controlling_terminal_is_left_from_any_position(position):
    # Who leads a group of processes cannot lead a session without becoming another process, which clients do not expect.
    assert in_terminal(position, "openshell") == ["ENXIO", position != "the leader of a process group"]
    assert in_terminal(position, "plain") == ["ok", position == "the leader of a session"]


def in_terminal(position, how):
    """Start the reporting program at a position in a session that has a controlling terminal."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile("w+") as output:
        attempt = plan(["read", "/dev/tty"], ["leads its session"], folders=["/dev/tty"])
        file.write(attempt.to_bytes())
        file.seek(0)
        words = {
            "openshell": [PYTHON, "-I", str(LAUNCH), IMPORTS, "--plan-fd", str(file.fileno())],
            "plain": list(attempt.argv),
        }[how]  # fmt: skip
        if TERMINALS[position]:
            option, code = TERMINALS[position]
            words = [PYTHON, option, code.replace("WORDS", repr((words[0], words)))]
        # By a program, because xdist's workers have threads: what is forked of them by hand can wait for ever.
        outer, inner = os.openpty()
        command = ["setsid", "--ctty", *words]
        subprocess.run(command, stdin=inner, stdout=output, stderr=inner, pass_fds=(file.fileno(),), timeout=60)
        os.close(inner)
        os.close(outer)
        output.seek(0)
        text = output.read()
    return json.loads(text)


def test_the_python_of_these_tests_can_be_run_by_an_ordinary_user():
    assert launching.reachable(launching.PYTHON)
