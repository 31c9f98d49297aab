"""Thirty kernels at once in a real server: started, run, restarted, killed in the middle of their start."""

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browser import server
from jupyter_client.blocking import BlockingKernelClient
from support import kernels

MANY = 30
# A start takes some tenths of a second, more when there are many: these kill it at different stages.
STAGES = [stage * 0.04 for stage in range(15)]
# Before the kernel can listen: Jupyter waits for a minute for one that ends just after it was restarted.
EARLY = [stage * 0.015 for stage in range(10)]
LAUNCHER = b"openshell_kernel.sandbox.launcher"


class Machine:
    """A running server, seen from outside."""

    def __init__(self, running, temporary):
        self.server = running
        self.runtime = running.home / "runtime"
        self.temporary = temporary
        (record,) = self.runtime.glob("jpserver-*.json")
        self.pid = json.loads(record.read_text())["pid"]

    def start(self, name="first"):
        """Start a notebook's kernel as JupyterLab does; return its identifier, or the reason why it did not start."""
        kernel = {"name": "openshell-gpu"}
        body = {"path": f"{name}.ipynb", "name": f"{name}.ipynb", "type": "notebook", "kernel": kernel}
        try:
            return self.server.request("POST", "api/sessions", body)["kernel"]["id"]
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())["message"]

    def restart(self, kernel):
        """Restart a kernel; return the server's error, if any."""
        try:
            self.server.request("POST", f"api/kernels/{kernel}/restart")
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()
        return ""

    def run(self, kernel, code="1 + 1"):
        """Run a cell; return the status of its reply. A kernel that Jupyter is about to restart gives none."""
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=kernels.SECONDS)
            return client.execute(code, reply=True, timeout=kernels.SECONDS)["content"]["status"]
        except RuntimeError as error:
            return str(error)
        finally:
            client.stop_channels()

    def ids(self):
        return [kernel["id"] for kernel in self.server.request("GET", "api/kernels")]

    def end_all(self):
        for kernel in self.ids():
            self.server.request("DELETE", f"api/kernels/{kernel}")

    def children(self):
        """Return the server's children with their commands, ended ones too."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == self.pid:
                    found[int(process.name)] = (process / "cmdline").read_bytes()
        return found

    def processes(self):
        """Return all processes that were told of this server's temporary folder, but for the server."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.fsencode(self.temporary) in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return sorted(set(found) - {self.pid, os.getpid()})

    def descriptors(self):
        found = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/{self.pid}/fd/{name}").split(":")[0])
        return sorted(found)

    def files(self):
        return [*self.temporary.glob("openshell-*"), *self.runtime.glob("kernel-*")]


@contextlib.contextmanager
def killing(machine, most, stages):
    """Kill processes that the server starts, each at another stage of its start; yield the list of the killed."""
    killed, threads, done = [], [], threading.Event()

    def kill(pid, after):
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def watch():
        known = set(machine.children())
        while not done.is_set() and len(killed) < most:
            for pid, command in machine.children().items():
                if pid not in known and LAUNCHER in command and len(killed) < most:
                    known.add(pid)
                    threads.append(threading.Thread(target=kill, args=(pid, stages[len(killed) % len(stages)])))
                    threads[-1].start()
                    killed.append(pid)
            time.sleep(0.005)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield killed
    finally:
        done.set()
        watching.join()
        for thread in threads:
            thread.join()


@pytest.fixture
def machine(user):
    with server.running(user / "server") as running:
        yield Machine(running, Path(os.environ["TMPDIR"]))


@pytest.fixture
def nothing_left(machine):
    """After the test the server has ended all, and is as it was before."""
    machine.start()
    with killing(machine, 1, EARLY):
        machine.start()
    machine.end_all()
    kernels.eventually(lambda: not machine.processes(), "the end of the first kernels")
    before = machine.descriptors()
    yield
    machine.end_all()
    kernels.eventually(lambda: not machine.processes(), f"the end of the processes {machine.processes()}")
    assert machine.ids() == []
    assert machine.files() == []
    assert machine.children() == {}
    kernels.eventually(lambda: len(machine.descriptors()) <= len(before), f"that {machine.descriptors()} are {before}")
    assert machine.server.request("GET", "api/status")["kernels"] == 0


def test_thirty_kernels_start_run_and_restart_at_once(machine, nothing_left):
    with ThreadPoolExecutor(MANY) as pool:
        started = list(pool.map(machine.start, range(MANY)))
        assert sorted(machine.ids()) == sorted(started)
        assert [machine.run(kernel) for kernel in started] == ["ok"] * MANY
        assert list(pool.map(machine.restart, started)) == [""] * MANY
    assert [machine.run(kernel) for kernel in started] == ["ok"] * MANY


def test_thirty_kernels_killed_in_the_middle_of_their_start_leave_a_server_that_answers(machine, nothing_left):
    with ThreadPoolExecutor(MANY) as pool, killing(machine, MANY, STAGES) as killed:
        answers = list(pool.map(machine.start, range(MANY)))
    assert len(killed) == MANY
    # Those that were killed when they listened already have started, and are restarted.
    refused = [answer for answer in answers if answer not in machine.ids()]
    assert refused
    assert all("SIGKILL" in answer for answer in refused), refused
    assert len(machine.ids()) == MANY - len(refused)
    assert machine.run(machine.start("another")) == "ok"


def test_kernels_killed_in_the_middle_of_a_restart_say_so_and_can_be_restarted(machine, nothing_left):
    with ThreadPoolExecutor(len(EARLY)) as pool:
        started = list(pool.map(machine.start, range(len(EARLY))))
    for kernel, stage in zip(started, EARLY, strict=True):
        # One alone, or the kernel that is started in its place to say so might be taken for it.
        with killing(machine, 1, [stage]) as killed:
            assert machine.restart(kernel) == ""
        assert len(killed) == 1
        assert machine.run(kernel) == "error"
    with ThreadPoolExecutor(len(EARLY)) as pool:
        assert list(pool.map(machine.restart, started)) == [""] * len(EARLY)
    assert [machine.run(kernel) for kernel in started] == ["ok"] * len(EARLY)


def test_a_server_stops_whatever_tree_a_kernel_has_left(user):
    deep = "import os\nos.chdir(os.environ['TMPDIR'])\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')"
    # It is asked to stop at the end, and must.
    with server.running(user / "server") as running:
        machine = Machine(running, Path(os.environ["TMPDIR"]))
        assert machine.run(machine.start(), deep) == "ok"
        assert machine.files()
    assert machine.files() == []
