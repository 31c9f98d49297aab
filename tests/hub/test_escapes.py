"""Through the REST API and the files of a home, a hub's user gets no unconfined code and no other policy."""

import json
import os
import re

import pytest
import websocket
from support.errors import check_message

UNCONFINED = ("python3", "evil", "nonexistent")
# Jinja hands out Python's modules.
TEMPLATE = "{{ cycler.__init__.__globals__.os.close(cycler.__init__.__globals__.os.open('%s', 64)) }}"


@pytest.fixture(autouse=True)
def _nothing_escapes(installation):
    """Nothing that a test does leaves one of the traces of unconfined code."""
    yield
    assert os.listdir(installation.escaped) == []


@pytest.mark.parametrize("name", UNCONFINED)
def test_an_unconfined_kernel_is_refused(alice, name):
    before = alice.kernels()
    refused = alice.request("POST", "api/kernels", {"name": name})
    assert refused.status == 404
    check_message(refused.body["message"], at=name)
    assert alice.kernels() == before


@pytest.mark.parametrize("name", UNCONFINED)
def test_a_notebook_with_an_unconfined_kernel_is_refused(alice, name):
    before = alice.kernels()
    body = {"path": "n.ipynb", "name": "n.ipynb", "type": "notebook", "kernel": {"name": name}}
    refused = alice.request("POST", "api/sessions", body)
    assert refused.status == 501
    assert name in refused.body["message"]
    assert alice.kernels() == before


def test_a_notebook_cannot_change_to_an_unconfined_kernel(alice):
    alice.start_session("project/changing.ipynb", name="openshell-gpu")
    [session] = [s for s in alice.request("GET", "api/sessions").body if s["name"] == "changing.ipynb"]
    assert alice.request("PATCH", f"api/sessions/{session['id']}", {"kernel": {"name": "python3"}}).status >= 400
    assert set(alice.kernels()) == {"openshell-gpu"}


def test_a_users_own_kernelspecs_do_not_count(alice):
    assert (alice.home / ".local/share/jupyter/kernels/evil/kernel.json").exists()
    assert (alice.home / ".local/share/jupyter/kernels/openshell-gpu/kernel.json").exists()
    assert alice.request("GET", "api/kernelspecs/evil").status == 404
    kernel = alice.start_kernel(name="openshell-gpu")
    assert alice.run(kernel, f"open({str(alice.home / 'x')!r}, 'w')").error.startswith("PermissionError")


def test_a_users_own_configuration_of_jupyter_is_not_run(alice):
    assert (alice.home / ".jupyter/jupyter_server_config.py").exists()
    assert alice.request("GET", "api/status").status == 200


def test_a_users_own_policy_does_not_count(alice):
    assert f"read_write: [{alice.home}]" in (alice.home / ".config/openshell/policy.yaml").read_text()
    kernel = alice.start_kernel(name="openshell-gpu")
    assert alice.run(kernel, f"open({str(alice.home / 'x')!r}, 'w')").error.startswith("PermissionError: [Errno 13]")


@pytest.mark.parametrize("path", [".jupyter", ".local", ".ipython", ".config"])
def test_the_contents_api_does_not_write_configuration(alice, path):
    assert alice.write(f"{path}/x.py", "").status >= 400
    assert not (alice.home / path / "x.py").exists()


def test_no_token_of_the_server_or_the_hub_reaches_a_kernel(alice):
    kernel = alice.start_kernel(name="openshell-gpu")
    names = alice.run(kernel, "import os; print(sorted(os.environ))").text
    assert "'HOME'" in names
    assert "TOKEN" not in names
    assert "JUPYTERHUB" not in names
    assert "JUPYTERHUB_API_TOKEN" in alice.run(kernel, "%policy env").text


def test_there_are_no_terminals(alice):
    assert alice.request("POST", "api/terminals", {}).status == 404
    assert alice.request("GET", "api/terminals").status == 404


@pytest.mark.parametrize("name", ["evil", "bash-language-server"])
def test_no_language_server_starts(alice, name):
    """jupyter_lsp takes them from node_modules in the home folder, and from what PUT /api/config writes."""
    with pytest.raises(websocket.WebSocketBadStatusException, match="404"), alice.connect(f"lsp/ws/{name}"):
        pass


@pytest.mark.parametrize("template", ["lab/index.html.j2", "index.html.j2", "script/script.j2"])
def test_a_template_in_the_home_folder_does_not_run(installation, alice, template):
    assert alice.write(template, TEMPLATE % (installation.escaped / "template")).status in (200, 201)
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    alice.request("PUT", "api/contents/exported.ipynb", {"type": "notebook", "content": notebook})
    for form in ("html", "script", "markdown"):
        assert alice.request("GET", f"nbconvert/{form}/exported.ipynb").status == 200
    assert alice.request("DELETE", f"api/contents/{template}").status == 204


def test_jupyterlab_does_not_install_extensions(alice):
    page = alice.request("GET", "lab").body
    settings = json.loads(re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert settings["extensionManager"]["name"] == "read-only"
    assert settings["extensionManager"]["can_install"] is False


@pytest.mark.parametrize("path", ["../../data", "/../../data/", "project/link", "project/link/n.ipynb"])
def test_a_folder_outside_the_users_files_is_not_granted_as_the_notebooks(installation, alice, path):
    """The kernel may make a symbolic link, and the API takes `..`."""
    kernel = alice.start_session("project/linking.ipynb", name="openshell-gpu")
    link = "import os; os.path.islink('link') or os.symlink({!r}, 'link')"
    assert not alice.run(kernel, link.format(str(installation.data))).error
    kernel = alice.start_kernel(name="openshell-gpu", path=path)
    staff = str(installation.readable("staff"))
    assert alice.run(kernel, f"open({staff!r})").error.startswith("PermissionError: [Errno 13]")
