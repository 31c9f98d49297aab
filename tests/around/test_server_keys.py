"""A notebook does not read what lets somebody into its own server, where that lies in the notebooks' folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from browser import server
from jupyter_client.blocking import BlockingKernelClient
from support import kernels

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "cookie": (["--ServerApp.cookie_secret_file=NOTEBOOKS/secret"], {}),
    "token": ([], {"JUPYTER_TOKEN_FILE": "NOTEBOOKS/secret"}),
    "relative": ([], {"JUPYTER_TOKEN_FILE": "secret"}),
}


def read(jupyter: server.Server, name: str) -> kernels.Output:
    kernel_id = jupyter.request("POST", "api/kernels", {"name": name, "path": ""})["id"]
    client = BlockingKernelClient(connection_file=str(jupyter.home / "runtime" / f"kernel-{kernel_id}.json"))
    client.load_connection_file()
    client.start_channels()
    # Beside other tests a kernel may be silent for longer than a second before it is ready.
    client.hb_channel.time_to_dead = kernels.SECONDS
    client.wait_for_ready(timeout=kernels.SECONDS)
    output = kernels.Kernel(None, client).run("print(len(open('secret').read()) > 8)")
    client.stop_channels()
    jupyter.request("DELETE", f"api/kernels/{kernel_id}")
    return output


@pytest.mark.parametrize("file", FILES)
def test_a_notebook_reads_no_key_of_its_server(tmp_path: Path, landlock_abi: int, file: str):
    home = tmp_path / "home"
    notebooks = home / "notebooks"
    notebooks.mkdir(parents=True)
    if file != "cookie":
        (notebooks / "secret").write_text("a token that is long enough")
    options, environment = FILES[file]
    options = [option.replace("NOTEBOOKS", str(notebooks)) for option in options]
    environment = {name: value.replace("NOTEBOOKS", str(notebooks)) for name, value in environment.items()}
    with server.running(home, ["jupyter-server", *options], environment) as jupyter:
        assert os.path.exists(notebooks / "secret")
        assert read(jupyter, "python3").text == "True\n"
        assert "PermissionError" in read(jupyter, "openshell-gpu").error
    assert "keys of this Jupyter server" in (home / "server.log").read_text()
