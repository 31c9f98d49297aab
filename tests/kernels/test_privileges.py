"""Real kernels: as root, under an identity of their own, and as an ordinary user, with no more power than their rules."""

import os
import sys

import pytest
from support import kernels
from support.errors import check_message, refused
from support.launching import NOBODY, reachable

from openshell_kernel.errors import ConfinementError, PolicyError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take on another identity")
STATUS = "dict(line.split(':', 1) for line in open('/proc/self/status'))"
RUN_AS = "version: 1\nprocess: {run_as_user: '1500', run_as_group: '1501'}\n"


@pytest.fixture
def foreign(shared):
    """A notebook folder that another user owns, as volumes of containers are."""
    folder = shared / "notebooks"
    folder.mkdir(mode=0o755)
    os.chown(folder, NOBODY, NOBODY)
    return folder


@root_only
def test_a_kernel_that_runs_as_root_works_in_the_folder_of_another_user_and_says_by_what_right(shared, foreign):
    secret = shared / "secret"
    secret.write_text("x")
    os.chown(secret, NOBODY, NOBODY)
    with kernels.started(cwd=foreign) as kernel:
        assert kernel.run("open('result', 'w').write('x')").error == ""
        assert kernel.run(f"open({str(secret)!r})").error.startswith("PermissionError: [Errno 13]")
        assert kernel.run(f"open('/proc/{os.getpid()}/environ')").error.startswith(("Permission", "FileNotFound"))
        assert kernel.value(f"{STATUS}['CapEff'].strip()") == "0000000000000002"
        shown = kernel.run("%policy show").text
    assert "CAP_DAC_OVERRIDE" in shown
    assert (foreign / "result").stat().st_uid == 0


@root_only
def test_a_kernel_that_runs_as_root_in_its_own_folder_keeps_nothing(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        status = kernel.value(STATUS)
    assert {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


@root_only
@pytest.mark.skipif(not reachable(sys.executable), reason="this Python lies in a folder that only root may enter")
class TestRunAs:
    """The kernel runs as somebody else, and Jupyter still works with it."""

    @pytest.fixture
    def folder(self, foreign, write_policy):
        write_policy(RUN_AS)
        os.chown(foreign, 1500, 1501)
        return foreign

    def test_it_works_and_is_that_user(self, folder, shared):
        with kernels.started(cwd=folder) as kernel:
            assert kernel.value("(__import__('os').getresuid(), __import__('os').getgroups())") == ((1500,) * 3, [])
            assert kernel.run("open('result', 'w').write('x')").error == ""
            assert kernel.run("import tempfile; tempfile.NamedTemporaryFile().write(b'x')").error == ""
            assert kernel.run("!id -u").text.strip() == "1500"
            record = kernel.record()
            assert list((shared / "t").glob("openshell-*"))
        (identity,) = [layer for layer in record["report"]["layers"] if layer["name"] == "identity"]
        check_message(identity["detail"], 1500, 1501)
        assert "process.run_as_user and run_as_group" not in [
            item["what"] for item in record["effective"]["unenforced"]
        ]
        assert (folder / "result").stat().st_uid == 1500
        assert not list((shared / "t").glob("openshell-*"))

    def test_it_restarts_and_can_be_given_back_to_root(self, folder, write_policy):
        with kernels.started(cwd=folder) as kernel:
            kernel.restart()
            assert kernel.value("__import__('os').getuid()") == 1500
            write_policy("version: 1\n")
            kernel.restart()
            assert kernel.value("__import__('os').getuid()") == 0
            assert kernel.run("import tempfile; tempfile.NamedTemporaryFile().write(b'x')").error == ""


@root_only
def test_an_account_that_does_not_exist_refuses_the_start(user, write_policy):
    write_policy("version: 1\nprocess: {run_as_user: sandbox}\n")
    with refused(PolicyError, "'sandbox'", at="process.run_as_user"), kernels.started(cwd=user / "notebooks"):
        pass


@root_only
def test_an_identity_that_cannot_reach_the_notebook_is_refused_and_the_folder_is_named(user, write_policy):
    write_policy(RUN_AS)
    # The tests' own Python may lie in a folder of root's, and is looked at first.
    named = user / "notebooks" if reachable(sys.executable) else sys.executable
    with refused(ConfinementError, 1500, at=named), kernels.started(cwd=user / "notebooks"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root can take on another identity")
def test_started_as_an_ordinary_user_the_kernel_stays_that_user_and_says_so(user, write_policy):
    write_policy(RUN_AS + "filesystem_policy: {include_workdir: true, read_only: [/proc]}\n")
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.value("__import__('os').getresuid()") == (os.geteuid(),) * 3
        assert kernel.value(f"{STATUS}['CapEff'].strip()") == "0" * 16
        unenforced = kernel.record()["effective"]["unenforced"]
    assert "process.run_as_user and run_as_group" in [item["what"] for item in unenforced]


PROC_READ_WRITE = "version: 1\nfilesystem_policy: {include_workdir: true, read_write: [/proc]}\n"
ATTACKS = """
import errno, os
def attempt(path, flags):
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"
server = os.getppid()
secrets = ["environ", "maps", "mem", "root/etc/passwd", "fd/0"]
print([attempt(f"/proc/{server}/{name}", os.O_RDONLY) for name in secrets])
print(attempt("/proc/sys/kernel/core_pattern", os.O_WRONLY))
print(attempt(f"/proc/{server}/oom_score_adj", os.O_WRONLY))
print(attempt(f"/proc/self/task/{os.getpid()}/comm", os.O_WRONLY | os.O_TRUNC))
"""


def test_with_proc_read_write_the_kernel_names_its_threads_and_controls_neither_server_nor_machine(user, write_policy):
    write_policy(PROC_READ_WRITE)
    root = os.geteuid() == 0
    with kernels.started(cwd=user / "notebooks") as kernel:
        output = kernel.run(ATTACKS)
        assert output.error == ""
        secrets, pattern, oom, comm = output.text.splitlines()
        shown = kernel.shown()
    assert set(eval(secrets, {})) <= {"EACCES", "EPERM", "ENOENT"}  # noqa: S307 - what our own code printed
    assert (pattern, comm) == ("EROFS" if root else "EACCES", "ok")
    # Landlock does not tell processes of one user apart here: only root can hide them, and the kernel owns up to it.
    assert (oom != "ok") == root
    assert ("oom_score_adj" in shown) != root
    with kernels.started("python3", cwd=user / "notebooks") as plain:
        secrets, pattern, oom, comm = plain.run(ATTACKS).text.splitlines()
    assert eval(secrets, {})[0] == "ok"  # noqa: S307
    assert (pattern, oom, comm) == ("ok" if root else "EACCES", "ok", "ok")
