"""`run`: a program that is confined by all that confines a kernel, and of which nothing is left."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.errors import refused
from support.kernels import eventually

import openshell_kernel
from openshell_kernel.api import launching

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("landlock_abi")]

PIPE = subprocess.PIPE
PYTHON = [sys.executable, "-I", "-S"]


def run(*argv, **options):
    with openshell_kernel.run(argv, stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, **options) as process:
        out, err = process.communicate()
    return process.returncode, out.decode(), err.decode()


def report(code, **options):
    """What a piece of Python that prints JSON says inside."""
    status, out, err = run(*PYTHON, "-c", code, **options)
    assert status == 0, err
    return json.loads(out)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def private_dirs():
    return list(Path(tempfile.gettempdir()).glob("openshell-*"))


ATTEMPTS = """
import json, os
def attempt(path, mode):
    try:
        open(path, mode).close()
    except OSError as error:
        return error.strerror
print(json.dumps([attempt({secret!r}, "r"), attempt("new", "w"), attempt(os.environ["TMPDIR"] + "/x", "w")]))
"""


def test_it_reaches_what_the_policy_grants_and_nothing_else(folder, policy, secret):
    assert report(ATTEMPTS.format(secret=secret), policy=policy) == ["Permission denied", None, None]
    assert (folder / "new").exists()
    assert Path(secret).read_text() == "SECRET"


LAYERS = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
facts = {name: status[name].strip() for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd")}
facts["leads"] = os.getsid(0) == os.getpid()
facts["home"] = os.path.expanduser("~")
facts["open"] = sorted(os.listdir("/proc/self/fd"))
print(json.dumps(facts))
"""


def test_every_layer_of_a_kernel_confines_it(policy, user, folder):
    path = Path(policy)
    path.write_text(path.read_text().replace("[/usr]", "[/usr, /proc]"))
    facts = report(LAYERS, policy=policy)
    assert (facts["NoNewPrivs"], facts["Seccomp"], int(facts["CapEff"], 16)) == ("1", "2", 0)
    assert facts["leads"]
    assert facts["home"].startswith(str(user / ".local" / "share" / "openshell" / "homes"))
    # The fourth is that of the listing.
    assert len(facts["open"]) == 4
    if os.geteuid() == 0:
        assert int(facts["CapBnd"], 16) == 0
    assert folder.exists()


@pytest.mark.usefixtures("folder")
def test_of_the_environment_it_gets_what_the_policy_passes(policy):
    code = "import json, os; print(json.dumps([name in os.environ for name in ('LANG', 'API_KEY')]))"
    given = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "API_KEY": "secret"}
    assert report(code, policy=policy, env=given) == [True, False]


@pytest.mark.usefixtures("folder")
def test_its_exit_status_is_told_as_subprocess_tells_it(policy):
    assert run("sh", "-c", "exit 7", policy=policy)[0] == 7
    assert run("sh", "-c", "kill -TERM $$", policy=policy)[0] == -signal.SIGTERM


@pytest.mark.usefixtures("folder")
def test_it_talks_through_pipes(policy):
    with openshell_kernel.run(["cat"], policy=policy, stdin=PIPE, stdout=PIPE) as process:
        assert process.poll() is None
        assert process.communicate(b"words") == (b"words", b"")
    assert process.returncode == 0
    with openshell_kernel.run(
        ["sh", "-c", "echo out; echo err >&2"], policy=policy, stdout=PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout.read() == b"out\nerr\n"


@pytest.mark.usefixtures("folder")
def test_it_can_be_waited_for_and_ended(policy):
    process = openshell_kernel.run(["sleep", "1000"], policy=policy)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.terminate()
    assert process.wait() == -signal.SIGTERM


@pytest.mark.usefixtures("folder")
def test_what_it_starts_ends_with_it_and_its_folder_is_removed(policy, landlock_abi):
    if landlock_abi < 6:
        pytest.skip("without Landlock's signal scope a program that leaves the session goes on")
    status, out, _ = run("sh", "-c", "setsid sleep 1000 & echo $!", policy=policy)
    assert status == 0
    assert not is_alive(int(out))
    assert private_dirs() == []


CALLER = """
import openshell_kernel, os, sys
process = openshell_kernel.run(["sleep", sys.argv[2]], policy=sys.argv[1], stdout=-3)
print(process.pid, flush=True)
os._exit(0)
"""


@pytest.mark.usefixtures("folder")
def test_its_folder_is_removed_also_if_its_caller_has_ended_before(policy):
    done = subprocess.run(
        [sys.executable, "-I", "-c", CALLER, policy, "1000"], stdout=PIPE, text=True, timeout=60, check=True
    )
    assert private_dirs()
    os.kill(int(done.stdout), signal.SIGKILL)
    eventually(lambda: not private_dirs(), "the removal of its folder")


@pytest.mark.usefixtures("folder")
def test_a_start_that_is_refused_leaves_nothing(policy, user):
    with refused(openshell_kernel.ProgramError, "no-such-program"):
        openshell_kernel.run(["no-such-program"], policy=policy)
    with pytest.raises(openshell_kernel.PolicyError):
        openshell_kernel.run(["true"], policy=user / "missing.yaml")
    hard = user / "hard.yaml"
    hard.write_text(
        "version: 1\nfilesystem_policy: {read_only: [/nowhere]}\nlandlock: {compatibility: hard_requirement}\n"
    )
    with refused(openshell_kernel.ConfinementError, "/nowhere"):
        openshell_kernel.run(["true"], policy=hard)
    assert private_dirs() == []


def test_a_script_that_nothing_lets_it_run_is_refused(folder, policy, user):
    interpreter = user / "interpreter"
    interpreter.write_text("#!/bin/sh\n")
    interpreter.chmod(0o755)
    script = folder / "script"
    script.write_text(f"#!{interpreter}\n")
    script.chmod(0o755)
    with refused(openshell_kernel.ConfinementError, script):
        openshell_kernel.run(["./script"], policy=policy)


def test_a_program_in_the_folder_that_calls_itself_python_is_not_run_outside(folder, policy, user):
    marker = user / "marker"
    program = folder / "python3"
    program.write_text(f"#!/bin/sh\ntouch {marker}\nexit 5\n")
    program.chmod(0o755)
    status, _, err = run("./python3", policy=policy)
    assert status == 5, err
    assert not marker.exists()
    assert subprocess.run([str(program)]).returncode == 5
    assert marker.exists()


def test_a_policy_that_it_could_write_does_not_open_the_folder_that_it_lies_in(folder, policy):
    own = folder / "policy.yaml"
    own.write_text(Path(policy).read_text())
    process = openshell_kernel.run(["touch", "new"], policy=own, stderr=subprocess.DEVNULL)
    assert process.wait() != 0
    assert str(folder) in {skipped.path for skipped in process.policy.skipped}


OWN_STREAMS = """
import openshell_kernel, sys
process = openshell_kernel.run([*sys.argv[2:]], policy=sys.argv[1])
sys.exit(process.wait())
"""
REWRITE = """
import os, stat, sys
def truncate(fd):
    try:
        os.ftruncate(fd, 0)
    except OSError:
        return False
    return True
print(any(truncate(fd) or stat.S_ISREG(os.fstat(fd).st_mode) for fd in (0, 1, 2)))
print(sys.stdin.read(), file=sys.stderr)
"""


def test_the_files_behind_the_callers_streams_are_not_given_away(folder, policy, user):
    log, given = user / "log", user / "given"
    log.write_text("the caller's own words\n")
    given.write_text("for the program")
    with open(log, "a+") as output, open(given, "r+") as stdin:
        subprocess.run(
            [sys.executable, "-I", "-c", OWN_STREAMS, policy, *PYTHON, "-c", REWRITE],
            stdin=stdin, stdout=output, stderr=output, check=True, timeout=60,
        )  # fmt: skip
    assert log.read_text().startswith("the caller's own words\n")
    assert sorted(log.read_text().splitlines()[1:]) == ["False", "for the program"]
    assert given.read_text() == "for the program"
    assert folder.exists()


@pytest.mark.usefixtures("folder")
def test_what_it_does_not_read_is_left_to_who_comes_next(policy):
    code = OWN_STREAMS.replace("sys.exit(process.wait())", "process.wait(); print(sys.stdin.readline(), end='')")
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, policy, "true"], stdin=reading, stdout=PIPE, text=True
    ) as caller:
        os.close(reading)
        eventually(lambda: waits_for_input(caller.pid), "the caller that reads by itself")
        os.write(writing, b"for the caller\n")
        os.close(writing)
        assert caller.communicate(timeout=60)[0] == "for the caller\n"


def waits_for_input(pid):
    return (
        Path(f"/proc/{pid}/wchan").read_text() in {"pipe_read", "anon_pipe_read"}
        and len(os.listdir(f"/proc/{pid}/task")) == 1
    )


@pytest.mark.usefixtures("folder")
def test_much_output_arrives_whole_also_when_nobody_reads_for_a_while(policy):
    code = [sys.executable, "-I", "-c", OWN_STREAMS, policy, "head", "-c", "3000000", "/dev/zero"]
    with subprocess.Popen(code, stdout=PIPE) as caller:
        time.sleep(0.5)
        assert len(caller.communicate(timeout=60)[0]) == 3_000_000


def test_a_program_whose_folder_nobody_could_remove_does_not_go_on(folder, policy, monkeypatch):
    def fail(*_, **__):
        raise OSError("no process can be made")

    monkeypatch.setattr(launching.janitor, "start", fail)
    before = private_dirs()
    with pytest.raises(OSError, match="no process"):
        openshell_kernel.run(["sh", "-c", "sleep 2; touch went-on"], policy=policy)
    time.sleep(2.5)
    assert list(folder.iterdir()) == []
    assert private_dirs() == before
