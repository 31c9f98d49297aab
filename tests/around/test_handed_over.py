"""What two notebooks can do for each other, and `%policy show` owns up to: hand over what one has open."""

import venv

import pytest
from around.test_environment_beside import NAME, environment, kernelspec
from support import kernels

GIVE = """
import os, socket, threading
place = os.environ["TMPDIR"] + "/s"
listening = socket.socket(socket.AF_UNIX)
listening.bind(place)
listening.listen()
def give(fd):
    socket.send_fds(listening.accept()[0], [b"x"], [fd])
def giving(fd):
    threading.Thread(target=give, args=(fd,), daemon=True).start()
"""
TAKE = """
import os, socket
def take(place):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(place)
        return socket.recv_fds(client, 1, 1)[1][0]
"""


@pytest.fixture
def project(user):
    """A folder with notebooks whose environment runs a kernel."""
    folder = user / "work" / "project"
    folder.mkdir(parents=True)
    kernelspec(user, environment(folder / ".venv") / "bin" / "python")
    return folder


def test_an_environment_can_be_written_through_another_kernels_view_of_it(user, project):
    module = project / ".venv" / "lib" / "module.py"
    with kernels.started(cwd=user / "notebooks") as one, kernels.started(NAME, cwd=project) as two:
        for kernel, code in ((one, GIVE), (two, TAKE)):
            assert kernel.run(code).error == ""
        assert "Read-only file system" in two.run(f"open({str(module)!r}, 'w')").error
        one.run("giving(os.open('/', os.O_PATH))")
        root = f"take({one.value('place')!r})"
        wrote = two.run(f"os.write(os.open({str(module)[1:]!r}, os.O_WRONLY | os.O_TRUNC, dir_fd={root}), b'theirs')")
        assert wrote.error == ""
        assert "Unix socket" in two.shown()
    assert module.read_text() == "theirs"


def test_a_file_can_be_read_that_the_other_may_read(user):
    (user / "notebooks" / "mine.txt").write_text("mine")
    other = user / "other"
    other.mkdir()
    with kernels.started(cwd=user / "notebooks") as one, kernels.started(cwd=other) as two:
        for kernel, code in ((one, GIVE), (two, TAKE)):
            assert kernel.run(code).error == ""
        assert two.run(f"open({str(user / 'notebooks' / 'mine.txt')!r})").error.startswith("PermissionError")
        one.run("giving(os.open('mine.txt', os.O_RDONLY))")
        assert two.value(f"os.read(take({one.value('place')!r}), 9)") == b"mine"
        assert "Unix socket" in two.shown()


def test_an_environment_that_runs_no_kernel_is_not_kept(user):
    folder = user / "notebooks"
    venv.create(folder / "env", with_pip=False)
    with kernels.started(cwd=folder) as kernel:
        assert kernel.run("open('env/pyvenv.cfg', 'a')").error == ""
        assert "a Python environment that runs no kernel" in kernel.shown()
