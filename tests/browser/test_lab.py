"""What a user of JupyterLab sees of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from browser import lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from browser.server import Server

OPENSHELL = "OpenShell GPU"
PYTHON = "Python 3 (ipykernel)"
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.fixture(scope="module")
def key(jupyterlab: Server) -> Path:
    """A key in the user's home, as SSH keeps it."""
    path = jupyterlab.home / ".ssh" / "id_ed25519"
    path.parent.mkdir(mode=0o700)
    path.write_text(PRIVATE_KEY)
    return path


@pytest.fixture
def user_policy(jupyterlab: Server) -> Iterator[Path]:
    """Where the user's own policy belongs; what a test writes there is removed."""
    path = jupyterlab.home / ".config" / "openshell" / "policy.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
    path.unlink()


def test_the_launcher_offers_the_kernel_with_its_logo(page: Page):
    logo = lab.card(page, OPENSHELL).locator("img")
    expect(logo).to_be_visible()
    # The browser knows a width once it has loaded and understood the picture.
    expect(logo).to_have_js_property("complete", value=True)
    assert logo.evaluate("picture => picture.naturalWidth") > 0
    assert "/kernelspecs/openshell-gpu/logo-" in (logo.get_attribute("src") or "")


@pytest.mark.usefixtures("landlock_abi")
def test_a_notebook_shows_that_and_how_it_is_confined(page: Page, jupyterlab: Server):
    lab.open_notebook(page, OPENSHELL)
    output = lab.run_cell(page, "%policy show")
    view = output.area.locator('.jp-OutputArea-output[data-mime-type="text/html"]')
    expect(view).to_be_visible()
    assert output.text.splitlines()[0] == "Enforced"
    expect(view.get_by_role("cell", name=str(jupyterlab.notebooks), exact=True)).to_be_visible()


@pytest.mark.usefixtures("landlock_abi")
def test_a_notebook_writes_in_its_folder(page: Page, jupyterlab: Server):
    lab.open_notebook(page, OPENSHELL)
    output = lab.run_cell(page, "import pathlib\npathlib.Path('result.txt').write_text('made in the sandbox')")
    assert output.text == "19"
    assert (jupyterlab.notebooks / "result.txt").read_text() == "made in the sandbox"


@pytest.mark.usefixtures("landlock_abi")
def test_a_notebook_is_refused_its_users_key(page: Page, key: Path):
    lab.open_notebook(page, OPENSHELL)
    output = lab.run_cell(page, f"open('{key}').read()")
    assert f"PermissionError: [Errno 13] Permission denied: '{key}'" in output.text
    assert PRIVATE_KEY not in output.text


def test_an_unconfined_notebook_reads_the_same_key(page: Page, key: Path):
    """So the refusal is the sandbox's doing, not the file's."""
    lab.open_notebook(page, PYTHON)
    assert PRIVATE_KEY in lab.run_cell(page, f"open('{key}').read()").text


def test_a_broken_policy_is_explained_in_a_dialog_and_nothing_starts(page: Page, jupyterlab: Server, user_policy: Path):
    user_policy.write_text("version: 1\nfilesystem_policy:\n  read_onyl: [/usr]\nlandlok: {}\n")
    lab.card(page, OPENSHELL).click()
    header, *text = lab.dialog(page).splitlines()
    assert header == "Error Starting Kernel"
    assert text.count(f"{user_policy}:") == 1
    assert [line for line in text if line.startswith("3:3: ") and "read_only" in line]
    assert [line for line in text if line.startswith("4:1: ") and "landlock" in line]
    assert jupyterlab.request("GET", "api/kernels") == []


@pytest.mark.usefixtures("landlock_abi")
def test_completion_offers_what_the_magic_can_do(page: Page):
    lab.open_notebook(page, OPENSHELL)
    assert {"show", "why"} <= set(lab.completions(page, "%policy "))
