"""The files that Jupyter's servers log to are found, however what they print comes there."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.kernels import eventually

from openshell_kernel.server.process.logs import client_logs, server_logs

TELLING = f"echo $$ > pid; exec {sys.executable} server.py"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    (tmp_path / "server.py").write_text("import time; print('up', flush=True); time.sleep(1000)")
    return tmp_path


@pytest.fixture
def started(place):
    """Return a function that has a shell start a process, which counts as a server where one of the name is told."""
    shells = []

    def start(command):
        shell = subprocess.Popen(["bash", "-c", command], cwd=place, start_new_session=True, stdin=subprocess.DEVNULL)
        shells.append(shell)
        eventually(
            lambda: (place / "jupyter.log").exists() and "up" in (place / "jupyter.log").read_text(), "its first words"
        )
        told = [int(name) for name in (place / "pid").read_text().split()]
        (place / "runtime" / f"jpserver-{told[0]}.json").touch()

    yield start
    for shell in shells:
        os.killpg(shell.pid, 9)
        shell.wait()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(f"bash -c '{TELLING}' > jupyter.log 2>&1", id="into the file"),
        pytest.param(f"bash -c '{TELLING}' 2>&1 | tee jupyter.log > /dev/null", id="through tee"),
        pytest.param(f"bash -c '{TELLING}' 2>&1 | cat | tee jupyter.log > /dev/null", id="through two programs"),
        pytest.param(f"bash -c '{TELLING}' 2>&1 | cat > jupyter.log", id="into another program's output"),
        pytest.param(
            f"exec script -qfc '{TELLING}' jupyter.log > /dev/null",
            id="in a recorded terminal",
        ),
    ],
)
def test_the_log_of_a_running_server_is_found(place, started, command):
    started(command)
    assert str(place / "jupyter.log") in server_logs(own=False)


def test_a_process_that_has_opened_all_that_it_may_is_not_looked_at_for_long(place, started, monkeypatch):
    looked = []
    readlink = os.readlink
    monkeypatch.setattr("os.readlink", lambda path: looked.append(os.path.dirname(path)) or readlink(path))
    started(f"bash -c '{TELLING}' 2>&1 | tee jupyter.log > /dev/null")
    opening = "import os, sys; [os.dup(0) for _ in range(900)]; print('up', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", opening]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as many:
        assert many.stdout.readline() == "up\n"
        assert str(place / "jupyter.log") in server_logs(own=False)
        many.stdin.close()
    assert 0 < looked.count(f"/proc/{many.pid}/fd") < 900


def test_the_output_of_a_program_that_is_no_server_is_its_own_affair(place, started):
    started(f"bash -c '{TELLING}' > jupyter.log 2>&1")
    for told in (place / "runtime").iterdir():
        told.unlink()
    assert str(place / "jupyter.log") not in server_logs(own=False)


def test_the_file_of_a_logger_is_found_before_it_is_opened(place):
    handler = logging.FileHandler(place / "handler.log", delay=True)
    logger = logging.getLogger("a.logger.of.the.test")
    logger.addHandler(handler)
    try:
        assert str(place / "handler.log") in server_logs(own=True)
        assert str(place / "handler.log") not in server_logs(own=False)
    finally:
        logger.removeHandler(handler)


def test_a_client_that_may_be_a_server_has_its_logs_found_by_who_it_starts(place):
    ask = "from openshell_kernel.server.process.logs import client_logs; print(*client_logs(), sep='\\n')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}])"
    with open(place / "client.log", "w") as log:
        subprocess.run([sys.executable, "-c", parent], stdout=log, check=True)
    assert str(place / "client.log") in (place / "client.log").read_text().split()
    assert str(place / "client.log") not in client_logs()
    assert Path(place / "client.log").exists()
