"""A notebook goes on working after its kernel was restarted or has crashed, with a key that nobody knows from before."""

from __future__ import annotations

import json
import queue
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from support.kernels import eventually

from browser import lab

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from browser.server import Server

OPENSHELL = "OpenShell GPU"


def connection(jupyterlab: Server) -> dict[str, Any]:
    """Return what the only kernel's connection file says."""
    (path,) = (jupyterlab.home / "runtime").glob("kernel-*.json")
    return dict(json.loads(path.read_text()))


def has_another_key(jupyterlab: Server, before: dict[str, Any]) -> bool:
    """Whether Jupyter has written the connection file of another start; in between there is none, or a part of it."""
    try:
        return bool(connection(jupyterlab)["key"] != before["key"])
    except ValueError:
        return False


def state(jupyterlab: Server) -> str:
    (kernel,) = jupyterlab.request("GET", "api/kernels")
    return str(kernel["execution_state"])


def answers(info: dict[str, Any]) -> bool:
    """Whether the kernel runs what is sent with this connection's key."""
    client = BlockingKernelClient()
    client.load_connection_info(info)
    client.start_channels()
    try:
        client.kernel_info()
        client.get_shell_msg(timeout=3)
    except queue.Empty:
        return False
    finally:
        client.stop_channels()
    return True


@pytest.mark.parametrize("how", ["restarted", "crashed"])
def test_a_notebook_goes_on_with_a_new_key(page: Page, jupyterlab: Server, how: str) -> None:
    lab.open_notebook(page, OPENSHELL)
    assert lab.run_cell(page, "x = 1; x").text == "1"
    before = connection(jupyterlab)
    assert answers(before)
    if how == "restarted":
        lab.restart(page)
    else:
        lab.write_cell(page, "import os; os._exit(1)")
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-Dialog-button").click()
    eventually(lambda: has_another_key(jupyterlab, before), "a new key")
    # What the status bar says until a cell is run depends on when Jupyter has connected again.
    assert lab.run_cell(page, "'x' in globals()").text == "False"
    # Jupyter's server sees what the kernel does, as it must to end those that idle.
    eventually(lambda: state(jupyterlab) == "idle", "an idle kernel")
    after = connection(jupyterlab)
    assert {**before, "key": after["key"]} == after
    assert answers(after)
    assert not answers(before)
