"""A name that a notebook has chosen, and what it prints, forge no line of a log and steer no terminal."""

import contextlib
import os
import pty
import subprocess
import sys
import urllib.error

import pytest
from browser import server
from kernels.test_standalone import Process
from support import kernels

FORGED = "[I 2026-01-01 00:00:00.000 ServerApp] all is well"
EVIL = f"evil\n{FORGED}\x1b]0;owned\x07"


@pytest.fixture
def evil(user):
    folder = user / "notebooks" / EVIL
    folder.mkdir()
    return folder


def test_a_folders_name_in_the_log_of_jupyters_server(tmp_path, landlock_abi):
    with server.running(tmp_path / "home") as jupyter:
        folder = jupyter.notebooks / EVIL
        folder.mkdir()
        kernel = {"name": "openshell-gpu"}
        session = {"path": f"{EVIL}/a.ipynb", "name": "", "type": "notebook", "kernel": kernel}
        jupyter.request("POST", "api/sessions", session)
        (folder / "openshell-policy.yaml").symlink_to("elsewhere.yaml")
        for path in ("b.ipynb", "c.ipynb"):
            with pytest.raises(urllib.error.HTTPError):
                jupyter.request("POST", "api/sessions", {**session, "path": f"{EVIL}/{path}"})
        jupyter.end_sessions()
        log = (jupyter.home / "server.log").read_text()
    assert "all is well" in log
    assert "\x1b" not in log
    assert [line for line in log.splitlines() if line.startswith("[I 2026-01-01")] == []


def test_in_the_words_of_a_refusal(evil):
    (evil / "openshell-policy.yaml").symlink_to("elsewhere.yaml")
    done = subprocess.run(
        [f"{sys.prefix}/bin/jupyter", "run", "--kernel=openshell-gpu", "/dev/null"],
        cwd=evil,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "owned" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


WRITE = "import os; os.write(1, b'\\n" + FORGED + "\\x1b]0;owned\\x07\\n')"


@pytest.mark.parametrize("kind", ["file", "pipe", "terminal"])
def test_what_a_kernel_without_a_provisioner_writes(user, tmp_path, kind):
    reading, writing = {
        "file": lambda: (os.open(tmp_path / "log", os.O_RDONLY | os.O_CREAT), os.open(tmp_path / "log", os.O_WRONLY)),
        "pipe": os.pipe,
        "terminal": pty.openpty,
    }[kind]()
    os.set_blocking(reading, False)
    process = Process(user, stdout=writing, stderr=subprocess.DEVNULL)
    os.close(writing)
    kernel = kernels.Kernel(None, process.client())
    written = b""

    def seen():
        nonlocal written
        with contextlib.suppress(OSError):
            written += os.read(reading, 1 << 16)
        return b"owned" in written

    try:
        assert kernel.run(WRITE).error == ""
        # The kernel cannot read what others write into the same pipe, nor change the file.
        assert kernel.value("__import__('os').readlink('/proc/self/fd/1')").startswith("pipe:")
        kernels.eventually(seen, "the line")
    finally:
        kernel.client.shutdown()
        process.process.wait(kernels.SECONDS)
        kernel.client.stop_channels()
        os.close(reading)
    lines = written.decode().splitlines()
    assert f"[kernel {process.process.pid}] {FORGED}?]0;owned?" in [line.rstrip() for line in lines]
    assert "\x1b" not in written.decode()
    assert [line for line in lines if line.startswith("[I 2026")] == []


@pytest.mark.parametrize("command", [["jupyter-lab"], ["jupyter-openshell", "lab"]], ids=" ".join)
def test_a_notebook_that_is_opened_before_any_kernel_steers_no_terminal(tmp_path, command):
    """The name of the kernel that it wants stands in the log."""
    name = "x\n[I ServerApp] forged\x1b]0;mine\x07\x9b31m"
    with server.running(tmp_path / "home", command) as jupyter, pytest.raises(urllib.error.HTTPError) as error:
        jupyter.request("POST", "api/kernels", {"name": name})
    error.value.close()
    log = (tmp_path / "home" / "server.log").read_text()
    assert r"forged\x1b]0;mine" in log
    assert not [line for line in log.splitlines() if line.startswith("[I ServerApp] forged")]
    assert not {"\x1b", "\x07", "\x9b"} & set(log)
