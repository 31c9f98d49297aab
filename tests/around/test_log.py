"""The log of a Jupyter server in the notebooks' folder does not hand the server's token to a notebook."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from jupyter_client.blocking import BlockingKernelClient
from support import kernels

JUPYTER = [sys.executable, "-m", "jupyter_server", "--no-browser", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1"]
READ = "print([name for name in __import__('glob').glob('*') if 'token=' in open(name).read()])"
WAYS = {
    "redirected": "exec {command} > jupyter.log 2>&1",
    "through tee": "{command} 2>&1 | tee jupyter.log > /dev/null",
    "by nohup": "exec nohup {command}",
    "by its own logger": "exec {command} --config {home}/logging.py > /dev/null 2>&1",
}
LOGGING = """
c.ServerApp.logging_config = {
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "jupyter.log", "level": "DEBUG"}},
    "loggers": {"ServerApp": {"handlers": ["file", "console"], "level": "DEBUG"}},
}
"""


class Server:
    """A Jupyter server whose log lies in the folder of its notebooks."""

    def __init__(self, home, way):
        self.folder = home / "notebooks"
        self.runtime = home / "runtime"
        command = " ".join([*JUPYTER, *(["--allow-root"] if os.geteuid() == 0 else [])])
        (home / "logging.py").write_text(LOGGING)
        # So that nohup takes its own file.
        self._terminal = os.openpty()
        self._shell = subprocess.Popen(
            ["bash", "-c", WAYS[way].format(command=command, home=home)],
            cwd=self.folder,
            env={**os.environ, "JUPYTER_RUNTIME_DIR": str(self.runtime), "JUPYTER_CONFIG_DIR": str(home / "config")},
            stdin=subprocess.DEVNULL,
            stdout=self._terminal[1],
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        kernels.eventually(lambda: any(self._told()), "a server that runs")
        self.told = self._told()[0]
        kernels.eventually(self._answers, "an answer")

    def _told(self):
        with contextlib.suppress(ValueError):
            return [json.loads(path.read_text()) for path in self.runtime.glob("jpserver-*.json")]
        return []

    def _answers(self):
        with contextlib.suppress(urllib.error.URLError):
            return self.ask("GET", "api/status")
        return None

    def ask(self, method, path, content=None):
        request = urllib.request.Request(  # noqa: S310 - the address is that of the server started here
            self.told["url"] + path,
            method=method,
            headers={"Authorization": f"token {self.told['token']}"},
            data=json.dumps(content).encode(),
        )
        with urllib.request.urlopen(request, timeout=kernels.SECONDS) as answer:  # noqa: S310 - see above
            return json.loads(answer.read() or "null")

    @contextlib.contextmanager
    def kernel(self, name):
        kernel_id = self.ask("POST", "api/kernels", {"name": name, "path": ""})["id"]
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel_id}.json"))
        client.load_connection_file()
        client.start_channels()
        # Beside other tests a kernel may be silent for longer than a second before it is ready.
        client.hb_channel.time_to_dead = kernels.SECONDS
        client.wait_for_ready(timeout=kernels.SECONDS)
        yield kernels.Kernel(None, client)
        client.stop_channels()
        self.ask("DELETE", f"api/kernels/{kernel_id}")

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, 15)
        self._shell.wait(kernels.SECONDS)
        for fd in self._terminal:
            os.close(fd)


@pytest.fixture(params=WAYS)
def server(request, user):
    server = Server(user, request.param)
    yield server
    server.stop()


def test_a_notebook_does_not_read_the_servers_token_from_its_log(server):
    logs = [name for name in ("jupyter.log", "nohup.out") if (server.folder / name).exists()]
    assert server.told["token"] in (server.folder / logs[0]).read_text()
    with server.kernel("python3") as kernel:
        assert kernel.run(READ).text == f"{logs}\n"
    with server.kernel("openshell-gpu") as kernel:
        assert "PermissionError" in kernel.run(f"open({logs[0]!r})").error
        shown = kernel.shown()
        assert str(server.folder / logs[0]) in shown


def test_what_a_runner_prints_into_the_notebooks_folder_keeps_no_folder_from_it(user):
    document = {"cells": [], "metadata": {"kernelspec": {"name": "openshell-gpu", "display_name": "x"}}}
    cell = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": "open('made', 'w')"}
    document |= {"cells": [cell | {"id": "a"}], "nbformat": 4, "nbformat_minor": 5}
    (user / "notebooks" / "a.ipynb").write_text(json.dumps(document))
    papermill = Path(sys.executable).with_name("papermill")
    command = f"exec {papermill} a.ipynb {user}/b.ipynb > run.log 2>&1"
    done = subprocess.run(["bash", "-c", command], cwd=user / "notebooks", timeout=kernels.SECONDS * 2)
    assert done.returncode == 0, (user / "notebooks" / "run.log").read_text()
    assert (user / "notebooks" / "made").exists()


def test_a_client_that_ignores_provisioners_and_logs_into_the_folder_keeps_its_log(user):
    from kernels.test_standalone import Process  # noqa: PLC0415 - its tests are not this module's

    log = user / "notebooks" / "client.log"
    with open(log, "w") as stream:
        process = Process(user, stdout=stream, stderr=stream)
    try:
        client = process.client()
        assert "PermissionError" in kernels.Kernel(None, client).run("open('client.log')").error
        client.stop_channels()
    finally:
        process.process.kill()
        process.process.wait()
        shutil.rmtree(user / "notebooks", ignore_errors=True)
