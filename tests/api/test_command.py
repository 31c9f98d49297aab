"""`jupyter openshell run`, as a person or a script meets it: exit status, streams, signals and the terminal."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
import pytest
from support.kernels import eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("landlock_abi", "folder")]

COMMAND = [sys.executable, "-m", "openshell_kernel.cli", "run"]
SECONDS = 60


def run(*words, **options):
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=SECONDS, **options)


def test_the_exit_status_is_that_of_the_program(policy):
    assert run("--policy", policy, "--", "sh", "-c", "exit 7").returncode == 7
    assert run("--policy", policy, "--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert run("--policy", policy, "true").returncode == 0


def test_what_was_not_started_has_an_exit_status_of_its_own(policy, user):
    done = run("--policy", policy, "--", "no-such-program")
    assert (done.returncode, done.stdout) == (127, "")
    assert "no-such-program" in done.stderr
    done = run("--policy", user / "missing.yaml", "--", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "missing.yaml" in done.stderr
    assert run("--policy", policy).returncode == 2


def test_the_programs_own_options_are_left_to_it(policy):
    assert run("--policy", policy, "--", "echo", "--policy", "-h", "--").stdout == "--policy -h --\n"
    assert run("--policy", policy, "printenv", "--help").stdout.startswith("Usage: ")


def test_input_and_output_pass_through(policy):
    done = run("--policy", policy, "--", "sh", "-c", "cat; echo err >&2", input="words")
    assert (done.returncode, done.stdout, done.stderr) == (0, "words", "err\n")


def test_what_is_not_granted_of_the_folder_is_told(folder, policy):
    own = folder / "policy.yaml"
    own.write_text(Path(policy).read_text())
    done = run("--policy", own, "--", "true")
    assert done.returncode == 0
    assert f"{folder} is not granted" in done.stderr


def test_without_one_the_policy_counts_that_counts_for_notebooks(user):
    path = user / ".config" / "openshell" / "policy.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"version: 1\nfilesystem_policy: {{read_only: [{user / 'data'}]}}\n")
    (user / "data").mkdir()
    (user / "data" / "file").write_text("words")
    assert run("--", "cat", user / "data" / "file").stdout == "words"
    assert run("--", "cat", path).returncode != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_program(policy, number):
    code = "import signal, time\ndef told(number, _):\n    print(number, flush=True)\n    raise SystemExit(3)\n"
    code += f"signal.signal({int(number)}, told)\nprint('ready', flush=True)\ntime.sleep(1000)"
    with subprocess.Popen(
        [*COMMAND, "--policy", policy, "--", sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout.readline() == "ready\n"
        command.send_signal(number)
        assert command.stdout.readline() == f"{int(number)}\n"
        assert command.wait(SECONDS) == 3


def test_a_command_that_is_killed_leaves_no_folder_when_the_program_ends(policy):
    with subprocess.Popen(
        [*COMMAND, "--policy", policy, "--", "sh", "-c", "echo ready; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        assert command.stdout.readline() == "ready\n"
        assert list(Path(tempfile.gettempdir()).glob("openshell-*"))
        command.kill()
    # cat reads the end of its input then.
    eventually(lambda: not list(Path(tempfile.gettempdir()).glob("openshell-*")), "the removal of its folder")


@pytest.fixture
def terminal(policy):
    """Return a function that runs a program so on a terminal."""
    opened = []

    def start(*words):
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "--policy", policy, "--", *words], timeout=SECONDS, echo=False)
        opened.append(child)
        return child

    yield start
    for child in opened:
        child.close(force=True)


def test_the_terminal_is_not_given_away(terminal):
    child = terminal(
        "sh", "-c", "for fd in 0 1 2; do test -t $fd && echo a terminal; done; exec 2>&1; (: > /dev/tty); echo done"
    )
    child.expect("done")
    shown = child.before.decode()
    assert "a terminal" not in shown
    assert "/dev/tty" in shown


def test_a_terminal_is_shown_colours_and_obeys_nothing_else(terminal):
    child = terminal("printf", r"\033[31mred\033[0m \033]0;title\007 \033[c done")
    child.expect("done")
    assert child.before.decode() == "\x1b[31mred\x1b[0m \\x1b]0;title\\x07 \\x1b[c "


def test_what_is_typed_reaches_the_program_and_so_does_ctrl_c(terminal):
    child = terminal("sh", "-c", "trap 'echo told; exit 5' INT; echo ready; read line; echo got $line; sleep 1000")
    child.expect("ready")
    child.sendline("words")
    child.expect("got words")
    child.sendintr()
    child.expect("told")
    child.wait()
    assert child.exitstatus == 5


def test_ctrl_z_stops_the_program_as_well(terminal):
    child = terminal(sys.executable, "-c", "import os; print(os.getpid(), flush=True); input()")
    child.expect(r"(\d+)\r\n")
    program = int(child.match[1])
    child.send("\x1a")
    eventually(lambda: state(child.pid) == "T" and state(program) == "T", "that both are stopped")
    os.kill(child.pid, signal.SIGCONT)
    eventually(lambda: state(program) == "S", "that the program goes on")


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
