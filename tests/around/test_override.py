"""What the capability to look past permissions opens, which root's kernel keeps only where nothing else works."""

import json
import os
import re
import socket
import sys

import pytest
from support import kernels
from support.errors import check_message
from support.launching import NOBODY, reachable

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has this capability"),
    pytest.mark.usefixtures("user", "landlock_abi"),
]
OWNER = 1500
REACH = """
import errno, json, os, socket
def tried(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"
def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
def reach(folder):
    return json.dumps({
        "read": tried(open, f"{folder}/secret"),
        "list": tried(os.listdir, folder),
        "stat": tried(os.stat, f"{folder}/secret"),
        "chdir": tried(lambda: (os.chdir(folder), os.chdir("/"))),
        "times": tried(os.utime, f"{folder}/secret"),
        "attribute": tried(os.setxattr, f"{folder}/secret", "user.mark", b"x"),
        "socket": tried(connect, f"{folder}/socket"),
    })
"""
CLOSED = dict.fromkeys(("read", "list", "stat", "chdir", "times", "attribute", "socket"), "EACCES")
OPENED = {**CLOSED, **dict.fromkeys(("stat", "chdir", "times", "attribute", "socket"), "ok")}


@pytest.fixture
def closed(shared):
    """Another user's closed folder, with a file and a socket."""
    folder = shared / "closed"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text("x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        server.listen()
        (folder / "socket").chmod(0o600)
        for path in (folder / "secret", folder / "socket", folder):
            os.chown(path, NOBODY, NOBODY)
        yield folder


@pytest.fixture
def notebooks(shared):
    """The notebook's folder, which belongs to a third user."""
    folder = shared / "notebooks"
    folder.mkdir(mode=0o755)
    os.chown(folder, OWNER, OWNER)
    return folder


def reached(kernel, closed):
    assert kernel.run(REACH).error == ""
    return json.loads(kernel.run(f"print(reach({str(closed)!r}))").text)


def test_in_its_own_folder_root_reaches_nothing_in_another_users_closed_one(user, closed):
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert reached(kernel, closed) == CLOSED
    with kernels.started("python3", cwd=user / "notebooks") as plain:
        assert set(reached(plain, closed).values()) == {"ok"}


def test_a_notebook_that_closes_a_folder_to_itself_is_given_no_capability_at_the_next_start(user, closed, write_policy):
    data = user / "data"
    data.mkdir()
    write_policy(f"version: 1\nfilesystem_policy: {{include_workdir: true, read_only: [/proc, {data}]}}\n")
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.run(f"import os; os.chmod({str(data)!r}, 0)").error == ""
        kernel.restart()
        assert reached(kernel, closed) == CLOSED
        # It can undo what it has done, as any owner can.
        assert kernel.run(f"import os; os.chmod({str(data)!r}, 0o700); os.listdir({str(data)!r})").error == ""


def test_a_folder_that_everybody_may_write_takes_no_capability(notebooks, closed):
    notebooks.chmod(0o777)
    with kernels.started(cwd=notebooks) as kernel:
        assert kernel.run("open('result', 'w').write('x')").error == ""
        assert reached(kernel, closed) == CLOSED


def test_where_it_is_kept_what_it_opens_is_owned_up_to_and_the_owner_is_proposed(notebooks, closed):
    with kernels.started(cwd=notebooks) as kernel:
        assert kernel.run("open('result', 'w').write('x')").error == ""
        assert reached(kernel, closed) == OPENED
        told = kernel.shown()
    check_message(told, "CAP_DAC_OVERRIDE", notebooks, OWNER)


@pytest.mark.skipif(not reachable(sys.executable), reason="this Python lies in a folder that only root may enter")
def test_the_advice_can_be_followed_and_closes_it(notebooks, closed, write_policy):
    with kernels.started(cwd=notebooks) as kernel:
        advice = re.search(r"process: (\{.*?\})", kernel.shown())[1]
    assert advice == f"{{run_as_user: '{OWNER}', run_as_group: '{OWNER}'}}"
    write_policy(f"version: 1\nprocess: {advice}\nfilesystem_policy: {{include_workdir: true, read_only: [/proc]}}\n")
    with kernels.started(cwd=notebooks) as kernel:
        assert kernel.run("open('result', 'w').write('x')").error == ""
        assert reached(kernel, closed) == CLOSED
        assert "CAP_DAC_OVERRIDE" not in kernel.shown()
