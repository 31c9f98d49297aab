"""What a user of JupyterLab sees when a restart fails, and when a policy beside the notebook is not trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from browser import lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from browser.server import Server

OPENSHELL = "OpenShell GPU"


@pytest.fixture
def near(jupyterlab: Server) -> Iterator[Path]:
    """Where a policy near the notebook belongs; what a test writes there is removed."""
    path = jupyterlab.notebooks / "openshell-policy.yaml"
    yield path
    path.unlink()


@pytest.mark.usefixtures("landlock_abi")
def test_a_failed_restart_is_told_in_the_notebook_until_the_policy_is_trusted(
    page: Page, jupyterlab: Server, near: Path
):
    lab.open_notebook(page, OPENSHELL)
    assert lab.run_cell(page, "1 + 1").text == "2"
    near.write_text("version: 1\nfilesystem_policy: {include_workdir: true}\n")
    lab.restart(page)
    lab.wait_until_idle(page, OPENSHELL)
    refused = lab.run_cell(page, "2 + 2").text
    assert f"jupyter openshell trust {near}" in refused
    subprocess.run(
        [sys.executable, "-m", "openshell_kernel.cli", "trust", str(near)],
        env={**os.environ, "HOME": str(jupyterlab.home)},
        check=True,
        capture_output=True,
    )
    lab.restart(page)
    lab.wait_until_idle(page, OPENSHELL)
    assert lab.run_cell(page, "3 + 3").text == "6"


@pytest.mark.usefixtures("landlock_abi")
def test_an_untrusted_policy_is_explained_in_a_dialog(page: Page, near: Path):
    near.write_text("version: 1\n")
    lab.card(page, OPENSHELL).click()
    text = lab.dialog(page)
    assert "Error Starting Kernel" in text
    assert f"jupyter openshell trust {near}" in text
