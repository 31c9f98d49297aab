"""In confined-only mode nothing that a notebook, a request or a configuration file says starts an unconfined kernel."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from browser import lab, server
from browser.conftest import chromium as chromium  # noqa: PLC0414 - a fixture
from playwright.sync_api import expect
from support.programs import run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CONFINED = "NoNewPrivs:\\t1"
UNCONFINED = "NoNewPrivs:\\t0"
LOOK = "[line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')][0]"
# All that configuration could do to switch the mode off, in the classes that count most.
CONFIGURATION = """
c.ServerApp.kernel_spec_manager_class = "jupyter_client.kernelspec.KernelSpecManager"
c.ServerApp.kernel_manager_class = "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager"
c.ServerApp.terminals_enabled = True
c.ServerApp.jpserver_extensions = {"jupyter_lsp": True, "jupyter_server_terminals": True}
c.LabApp.extension_manager = "pypi"
for name in ("MultiKernelManager", "AsyncMappingKernelManager", "HomeboundKernelManager", "ConfinedOnlyKernelManager"):
    c[name].default_kernel_name = "python3"
c.ConfinedOnlyKernelManager.allowed_extensions = ["jupyter_lsp"]
for name in ("Exporter", "LatexExporter", "PDFExporter", "WebPDFExporter", "QtPDFExporter", "QtPNGExporter"):
    c[name].enabled = True
c.ExecutePreprocessor.enabled = True
c.TemplateExporter.extra_template_basedirs = [FOLDER]
"""
TEMPLATE = "{{ cycler.__init__.__globals__.os.close(cycler.__init__.__globals__.os.open('RAN', 64)) }}"


def furnish(home: Path) -> None:
    """Give the user configuration and kernels of their own, which are not confined, and notebooks that want them."""
    spec = {"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Evil"}
    for name in ("openshell-gpu", "evil"):
        kernel = home / ".local" / "share" / "jupyter" / "kernels" / name / "kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({**spec, "language": "python"}))
    (home / ".jupyter").mkdir()
    for program in ("jupyter", "jupyter_server", "jupyter_lab"):
        text = CONFIGURATION.replace("FOLDER", repr(str(home / "notebooks")))
        (home / ".jupyter" / f"{program}_config.py").write_text(text)
    (home / "notebooks" / "lab").mkdir(parents=True)
    (home / "notebooks" / "lab" / "index.html.j2").write_text(TEMPLATE.replace("RAN", str(home / "ran")))
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LOOK)], metadata=metadata)
    nbformat.write(document, home / "notebooks" / "python3.ipynb")


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """JupyterLab in confined-only mode, for a user who has configured all that would switch it off."""
    home = tmp_path_factory.mktemp("confined") / "home"
    furnish(home)
    with server.running(home, ["jupyter-openshell", "lab"]) as running:
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """JupyterLab as it is without the mode."""
    home = tmp_path_factory.mktemp("plain") / "home"
    furnish(home)
    for path in (home / ".jupyter").iterdir():
        path.unlink()
    with server.running(home) as running:
        yield running


def refused(jupyter: server.Server, method: str, path: str, content: object = None) -> int:
    """Make a request that must fail; return its status."""
    with pytest.raises(urllib.error.HTTPError) as error:
        jupyter.request(method, path, content)
    error.value.close()
    return error.value.code


@pytest.mark.parametrize("name", ["python3", "evil", "nonexistent"])
def test_a_request_starts_no_unconfined_kernel(confined: server.Server, name: str):
    assert refused(confined, "POST", "api/kernels", {"name": name}) == 404
    session = {"path": "x.ipynb", "name": "x.ipynb", "type": "notebook", "kernel": {"name": name}}
    assert refused(confined, "POST", "api/sessions", session) >= 400
    assert confined.request("GET", "api/kernels") == []


def test_without_the_mode_a_request_starts_one(plain: server.Server):
    kernel = plain.request("POST", "api/kernels", {"name": "python3"})
    plain.request("DELETE", f"api/kernels/{kernel['id']}")
    assert plain.request("POST", "api/terminals", {})["name"]


def test_the_only_kernel_is_ours_and_not_the_users_of_the_same_name(confined: server.Server, landlock_abi: int):
    listed = confined.request("GET", "api/kernelspecs")
    assert (listed["default"], list(listed["kernelspecs"])) == ("openshell-gpu", ["openshell-gpu"])
    assert listed["kernelspecs"]["openshell-gpu"]["spec"]["display_name"] == "OpenShell GPU"
    kernel = confined.request("POST", "api/kernels", {})
    assert kernel["name"] == "openshell-gpu"
    assert confined.request("DELETE", f"api/kernels/{kernel['id']}") is None


def test_terminals_and_language_servers_are_off(confined: server.Server):
    assert refused(confined, "POST", "api/terminals", {}) == 404
    assert refused(confined, "GET", "lsp/status") == 404


def test_jupyterlab_installs_nothing(confined: server.Server):
    page = urllib.request.urlopen(  # noqa: S310 - the server started here
        f"{confined.url}lab?token={confined.token}", timeout=server.SECONDS
    )
    with page:
        found = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page.read().decode(), re.DOTALL)
    assert found
    assert json.loads(found[1])["extensionManager"]["can_install"] is False


def test_no_export_starts_a_program(confined: server.Server, plain: server.Server):
    everywhere = set(plain.request("GET", "api/nbconvert"))
    assert everywhere - set(confined.request("GET", "api/nbconvert")) == {"latex", "pdf", "webpdf", "qtpdf", "qtpng"}
    for form in ("latex", "pdf", "webpdf", "qtpdf", "qtpng"):
        assert refused(confined, "GET", f"nbconvert/{form}/python3.ipynb") == 500


def test_a_notebook_names_no_export_that_starts_a_program(confined: server.Server):
    """Exported as a script, a notebook says what it is to become."""
    metadata = {"language_info": {"name": "python", "nbconvert_exporter": "pdf"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=metadata), confined.notebooks / "pdf.ipynb")
    assert refused(confined, "GET", "nbconvert/script/pdf.ipynb") == 500
    assert "disabled in configuration" in (confined.home / "server.log").read_text().rpartition("pdf.ipynb")[0]


def test_an_export_executes_nothing_and_takes_no_template_of_the_folder(confined: server.Server):
    with urllib.request.urlopen(  # noqa: S310 - as above
        f"{confined.url}nbconvert/html/python3.ipynb?token={confined.token}", timeout=server.SECONDS
    ) as answer:
        assert "NoNewPrivs:" not in answer.read().decode()
    assert not (confined.home / "ran").exists()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A browser that has not been here before."""
    page = chromium.new_page()
    page.set_default_timeout(lab.MILLISECONDS)
    yield page
    page.close()


def open_notebook(page: Page, jupyter: server.Server, notebook: str) -> None:
    page.goto(f"{jupyter.url}lab/tree/{notebook}?reset&token={jupyter.token}")


def test_a_notebook_that_names_an_unconfined_kernel_is_opened_with_ours_once_a_person_agrees(
    page: Page, confined: server.Server, landlock_abi: int
):
    traffic = lab.Traffic(page)
    open_notebook(page, confined, "python3.ipynb")
    assert "Select Kernel" in lab.dialog(page)
    assert confined.request("GET", "api/kernels") == []
    options: Any = page.locator(".jp-Dialog select option").all_inner_texts()
    assert not [text for text in options if "Python 3" in text or "Evil" in text]
    page.locator(".jp-Dialog-button.jp-mod-accept").click()
    lab.wait_until_idle(page, "OpenShell GPU")
    page.locator(".jp-Notebook:visible .jp-CodeCell").last.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output").first).to_contain_text(CONFINED)
    traffic.wait_until_quiet()
    confined.end_sessions()


def test_without_the_mode_it_is_opened_unconfined(page: Page, plain: server.Server):
    traffic = lab.Traffic(page)
    open_notebook(page, plain, "python3.ipynb")
    lab.wait_until_idle(page, "Python 3 (ipykernel)")
    page.locator(".jp-Notebook:visible .jp-CodeCell").last.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output").first).to_contain_text(UNCONFINED)
    traffic.wait_until_quiet()
    plain.end_sessions()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ServerApp.terminals_enabled=True"], "contradicts confined-only mode"),
        (["--ServerApp.kernel_spec_manager_class", "x"], "contradicts confined-only mode"),
        (["--gateway-url=http://127.0.0.1:1"], "remove gateway_url"),
        (["--ServerApp.allow_external_kernels=True"], "remove ServerApp.allow_external_kernels"),
        (["--HTMLExporter.extra_template_basedirs=."], "make it absolute"),
        (["--allow-extension=no name"], "is not the name of a server extension"),
    ],
)
@pytest.mark.parametrize("program", ["lab", "server"])
def test_an_option_that_would_switch_it_off_is_refused(tmp_path: Path, program: str, words: list[str], message: str):
    done = openshell(tmp_path, program, "--no-browser", "--allow-root", *words)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("program", ["lab", "notebook", "server", "execute", "papermill", "nbconvert"])
def test_help_says_what_the_command_adds_and_where_the_rest_is_explained(tmp_path: Path, program: str):
    done = openshell(tmp_path, program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{program} --help`" in done.stdout


@pytest.mark.parametrize(("program", "command"), [("lab", "build"), ("server", "list")])
def test_a_subcommand_that_starts_no_server_is_refused(tmp_path: Path, program: str, command: str):
    done = openshell(tmp_path, program, command)
    assert (done.returncode, f"run `jupyter {program} {command}`" in done.stderr) == (1, True)


def openshell(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `jupyter openshell` to its end."""
    return run(home, "jupyter-openshell", *words, cwd=home, **environment)
