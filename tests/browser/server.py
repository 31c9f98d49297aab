"""A JupyterLab server with a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from support.programs import FOREIGN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running JupyterLab: where its user lives, where the notebooks are, and how to reach it."""

    home: Path
    notebooks: Path
    url: str
    token: str

    def request(self, method: str, path: str, content: object = None) -> Any:
        """Call the REST API; return the decoded answer, None if it has no content."""
        request = urllib.request.Request(  # noqa: S310 - the address is that of the server started here
            self.url + path,
            method=method,
            headers={"Authorization": f"token {self.token}"},
            data=None if content is None else json.dumps(content).encode(),
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - see above
            return json.loads(answer.read() or "null")

    def end_sessions(self) -> None:
        """Shut down the kernels of all notebooks."""
        for session in self.request("GET", "api/sessions"):
            self.request("DELETE", f"api/sessions/{session['id']}")


@contextlib.contextmanager
def running(
    home: Path, command: Sequence[str] = ("jupyter-lab",), environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Server]:
    """Start JupyterLab for a user whose home is this folder; at the end it must stop when it is asked to.

    It finds the kernels that are installed beside the Python which runs this. `command` is another program beside that
    Python, with its options; `environment` is added to that of this process.
    """
    notebooks, runtime, configuration = home / "notebooks", home / "runtime", home / ".jupyter"
    for folder in (notebooks, runtime, configuration / "labconfig"):
        folder.mkdir(parents=True, exist_ok=True)
    # Its questions about news lie over the page.
    (configuration / "labconfig" / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    token = secrets.token_hex(16)
    program, *options = command
    options.append("--no-browser")
    if os.geteuid() == 0:
        options.append("--allow-root")
    options += [
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={notebooks}",
        f"--IdentityProvider.token={token}",
    ]
    whole = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)} | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(configuration),
        "JUPYTER_DATA_DIR": str(home / ".local" / "share" / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        **environment,
    }
    log = home / "server.log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [os.path.join(os.path.dirname(sys.executable), program), *options],
            cwd=notebooks,
            env=whole,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            url = wait_for_url(process, runtime, log)
            server = Server(home=home, notebooks=notebooks, url=url, token=token)
            wait_for_answer(server, log)
            yield server
        finally:
            stop(process, log)


def wait_for_url(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """Return the address that the server wrote down when it had bound its port."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            # It may be half written.
            with contextlib.suppress(ValueError):
                return str(json.loads(path.read_text())["url"])
        time.sleep(0.05)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


def wait_for_answer(server: Server, log: Path) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError):
            server.request("GET", "api/status")
            return
        time.sleep(0.05)
    raise AssertionError(f"JupyterLab did not answer:\n{log.read_text()}")


def stop(process: subprocess.Popen[bytes], log: Path) -> None:
    """End the server as a service manager does."""
    process.terminate()
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"JupyterLab did not stop when it was asked to:\n{log.read_text()}") from None
