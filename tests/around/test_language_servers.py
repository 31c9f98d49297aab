"""Language servers come from where they are installed, and not from the folder where Jupyter was started."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import websocket
from browser import server
from support.kernels import eventually
from support.programs import WITHOUT_SHIPPED_CONFIGURATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODE_MODULE = "node_modules/bash-language-server/out/cli.js"
PYTHON_MODULE = "import os, sys; os.close(os.open({!r}, os.O_CREAT)); sys.stdin.read()"


@pytest.fixture(params=["as shipped", "without"])
def shipped(request: pytest.FixtureRequest) -> bool:
    """Whether the server has the configuration that is shipped with the package."""
    return request.param == "as shipped"


@pytest.fixture
def jupyterlab(tmp_path: Path, shipped: bool) -> Iterator[server.Server]:
    """JupyterLab with a language server that is installed, in a folder with what takes the place of two."""
    if shutil.which("node") is None:
        pytest.skip("no node on PATH")
    notebooks, installed = tmp_path / "home" / "notebooks", tmp_path / "installed" / "pylsp"
    for script in ("out/cli.js", "bin/main.js"):
        program = notebooks / "node_modules" / "bash-language-server" / script
        program.parent.mkdir(parents=True)
        program.write_text(f"require('fs').writeFileSync({str(tmp_path / 'node_modules ran')!r}, '')")
    (notebooks / "pylsp.py").write_text(PYTHON_MODULE.format(str(tmp_path / "pylsp of the folder ran")))
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    (installed / "__main__.py").write_text(PYTHON_MODULE.format(str(tmp_path / "pylsp ran")))
    environment = {"PYTHONPATH": str(installed.parent), **({} if shipped else WITHOUT_SHIPPED_CONFIGURATION)}
    options = ["--ServerApp.jpserver_extensions=jupyter_lsp=True"]
    with server.running(tmp_path / "home", ["jupyter-lab", *options], environment) as running:
        yield running


def connect(jupyterlab: server.Server, name: str) -> contextlib.AbstractContextManager[object]:
    """Open the connection at which a language server is started."""
    address = jupyterlab.url.replace("http://", "ws://", 1)
    header = [f"Authorization: token {jupyterlab.token}"]
    return contextlib.closing(websocket.create_connection(f"{address}lsp/ws/{name}", server.SECONDS, header=header))


def test_no_program_of_the_folder_becomes_a_language_server(jupyterlab: server.Server, shipped: bool, tmp_path: Path):
    eventually(lambda: "pylsp" in jupyterlab.request("GET", "lsp/status")["sessions"], "the list of language servers")
    assert ("bash-language-server" in jupyterlab.request("GET", "lsp/status")["sessions"]) is not shipped
    with connect(jupyterlab, "pylsp"), connect(jupyterlab, "bash-language-server"):
        started = ["pylsp ran"] if shipped else ["node_modules ran", "pylsp of the folder ran"]
        eventually(lambda: all((tmp_path / name).exists() for name in started), "the language servers")
        time.sleep(1)
    assert sorted(name for name in os.listdir(tmp_path) if name.endswith("ran")) == started


def test_what_the_user_has_configured_stays(tmp_path: Path):
    """A folder that is named on purpose, even if Jupyter was started there."""
    program = tmp_path / "home" / "notebooks" / NODE_MODULE
    program.parent.mkdir(parents=True)
    program.write_text("")
    options = [
        "--ServerApp.jpserver_extensions=jupyter_lsp=True",
        f"--LanguageServerManager.node_roots={tmp_path / 'home' / 'notebooks'}",
    ]
    with server.running(tmp_path / "home", ["jupyter-lab", *options]) as running:
        eventually(
            lambda: "bash-language-server" in running.request("GET", "lsp/status")["sessions"], "the language server"
        )
