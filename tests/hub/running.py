"""JupyterHub with its proxy, with users of the test's own, and what a user's browser does there."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import websocket
from support import programs
from support.channels import run
from support.kernels import eventually

SECONDS = 60
# A setting of these from the machine would lead the hub out of its own folder.
FOREIGN = (*programs.FOREIGN, "PYTHONNOUSERSITE")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of the REST API: its status, and its body, decoded if it is JSON."""

    status: int
    body: object


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A running hub, and its token with the rights of an administrator."""

    url: str
    token: str
    log: Path

    def request(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - the address is that of the hub started here
            self.url + path, data=data, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - see above
                return Answer(status=answer.status, body=_decoded(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, body=_decoded(error.read()))

    def start_server(self, name, **options):
        """Start a user's server, with what the user chose, and return without waiting for it."""
        started = self.request("POST", f"hub/api/users/{name}/server", options)
        assert started.status in (201, 202), started

    def user(self, name, home):
        """Wait for a user's server; return what the user can do there."""

        def ready():
            server = self.request("GET", f"hub/api/users/{name}").body["servers"].get("")
            assert server is not None, f"the server of {name} did not start:\n{self.log.read_text()}"
            return server["ready"]

        eventually(ready, f"the server of {name}")
        return User(hub=self, name=name, home=home)


@dataclass(frozen=True, kw_only=True)
class User:
    """A user whose server runs."""

    hub: Hub
    name: str
    home: Path

    def request(self, method, path, body=None):
        """Call the REST API of the user's server, through the proxy."""
        return self.hub.request(method, f"user/{self.name}/{path}", body)

    def start_kernel(self, **body):
        """Start a kernel; it must succeed. Return its identifier."""
        started = self.request("POST", "api/kernels", body)
        assert started.status == 201, started
        return started.body["id"]

    def start_session(self, path, **kernel):
        """Start a notebook's kernel as JupyterLab does; it must succeed. Return its identifier."""
        body = {"path": path, "name": Path(path).name, "type": "notebook", "kernel": kernel}
        started = self.request("POST", "api/sessions", body)
        assert started.status == 201, started
        return started.body["kernel"]["id"]

    def write(self, path, text):
        """Save a file as JupyterLab does, in a folder that it makes if need be."""
        for folder in list(Path(path).parents)[-2::-1]:
            self.request("PUT", f"api/contents/{folder}", {"type": "directory"})
        body = {"type": "file", "format": "text", "content": text}
        return self.request("PUT", f"api/contents/{path}", body)

    def kernels(self):
        """Return the names of the running kernels."""
        return [kernel["name"] for kernel in self.request("GET", "api/kernels").body]

    def connect(self, path):
        """Open a websocket, through the proxy."""
        url = f"{self.hub.url}user/{self.name}/{path}".replace("http://", "ws://", 1)
        header = [f"Authorization: token {self.hub.token}"]
        return contextlib.closing(websocket.create_connection(url, timeout=SECONDS, header=header))

    def run(self, kernel, code):
        """Run a cell; return what it gave when the kernel is idle again."""
        with self.connect(f"api/kernels/{kernel}/channels") as channels:
            return run(channels, code)


@contextlib.contextmanager
def running(folder, config, *, proxy):
    """Run a hub from the text of a configuration; at the end it must stop, with its proxy, servers and kernels."""
    port, hub_port, proxy_port = _free_ports(3)
    token = secrets.token_hex(16)
    settings = f"""
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}/"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.cookie_secret = bytes.fromhex("{secrets.token_hex(32)}")
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.services = [{{"name": "test", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [
    {{"name": "test", "scopes": ["admin:users", "admin:servers", "access:servers"], "services": ["test"]}}
]
"""
    log = folder / "hub.log"
    with (
        log.open("wb") as stream,
        start(folder, settings + config, stdout=stream, stderr=subprocess.STDOUT) as process,
    ):
        try:
            hub = Hub(url=f"http://127.0.0.1:{port}/", token=token, log=log)
            _wait_for_answer(process, hub)
            yield hub
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"the hub did not stop when it was asked to:\n{log.read_text()}") from None


def start(folder, config, **arguments):
    """Start a hub from the text of a configuration, as a service manager does."""
    (folder / "jupyterhub_config.py").write_text(config)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)} | {
        "HOME": str(folder),
        # The users' servers are started by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "jupyterhub", "--config", "jupyterhub_config.py"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, **arguments)


def living(folder):
    """Return the commands of the processes that were started with this folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def find_proxy():
    """Return the program configurable-http-proxy, or None."""
    return shutil.which(os.environ.get("CONFIGURABLE_HTTP_PROXY") or "configurable-http-proxy")


def _wait_for_answer(process, hub):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError):
            if hub.request("GET", "hub/api/").status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the hub did not start:\n{hub.log.read_text()}")


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _decoded(body):
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
