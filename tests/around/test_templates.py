"""A template that a notebook leaves in the folder where Jupyter was started is code: no export runs it."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import nbformat
import pytest
from browser import lab, server
from browser.conftest import chromium as chromium  # noqa: PLC0414 - a fixture
from playwright.sync_api import expect
from support.programs import WITHOUT_SHIPPED_CONFIGURATION, run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

# Jinja hands out Python's modules.
TEMPLATE = "{{ cycler.__init__.__globals__.os.close(cycler.__init__.__globals__.os.open('RAN', 64)) }}"
FORMATS = {"html": "lab/index.html.j2", "markdown": "markdown/index.md.j2", "script": "script/script.j2"}
CELL = """\
import os
os.makedirs("lab", exist_ok=True)
open("lab/index.html.j2", "w").write(TEMPLATE)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a notebook and a folder of notebooks, in which templates lie that leave a trace when they run."""
    notebooks = tmp_path / "home" / "notebooks"
    for template in FORMATS.values():
        (notebooks / template).parent.mkdir(parents=True)
        (notebooks / template).write_text(TEMPLATE.replace("RAN", str(tmp_path / "ran")))
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python"}, "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=metadata), notebooks / "x.ipynb")
    return tmp_path / "home"


def convert(home: Path, *options: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Export the notebook in the folder where it lies."""
    return run(home, "jupyter-nbconvert", *options, str(home / "notebooks" / "x.ipynb"), cwd=cwd, **environment)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("environment", "runs"), [({}, False), (WITHOUT_SHIPPED_CONFIGURATION, True)], ids=["as shipped", "without"]
)
def test_nbconvert_runs_no_template_of_its_folder(home: Path, form: str, environment: dict[str, str], runs: bool):
    done = convert(home, "--to", form, **environment)
    assert done.returncode == 0, done.stderr
    assert (home.parent / "ran").exists() is runs


@pytest.mark.parametrize("file", ["jupyter_nbconvert_config.py", "jupyter_nbconvert_config.json"])
def test_templates_that_the_user_has_configured_still_count(home: Path, tmp_path: Path, file: str):
    """Also in a virtual environment, whose configuration counts more than the user's."""
    settings = {
        "py": f"c.TemplateExporter.extra_template_basedirs = [{str(home / 'notebooks')!r}]",
        "json": json.dumps({"TemplateExporter": {"extra_template_basedirs": [str(home / "notebooks")]}}),
    }
    (home / ".jupyter").mkdir()
    (home / ".jupyter" / file).write_text(settings[file.rpartition(".")[2]])
    assert convert(home, "--to", "html", cwd=tmp_path).returncode == 0
    assert (tmp_path / "ran").exists()


@pytest.fixture(params=["as shipped", "without"])
def jupyterlab(request: pytest.FixtureRequest, home: Path) -> Iterator[server.Server]:
    """JupyterLab, started in the notebooks' folder; and the same without the configuration that is shipped."""
    environment = WITHOUT_SHIPPED_CONFIGURATION if request.param == "without" else {}
    with server.running(home, environment=environment) as running:
        yield running


def test_opening_a_notebook_runs_no_template_that_a_confined_cell_has_written(
    chromium: Browser, jupyterlab: server.Server, home: Path, request: pytest.FixtureRequest, landlock_abi: int
):
    """An image in a Markdown cell is enough to have the server export the notebook that it names."""
    (home / "notebooks" / "lab" / "index.html.j2").unlink()
    image = nbformat.v4.new_markdown_cell("![](/nbconvert/html/x.ipynb)")
    nbformat.write(nbformat.v4.new_notebook(cells=[image]), home / "notebooks" / "opened.ipynb")
    page = chromium.new_page()
    page.set_default_timeout(lab.MILLISECONDS)
    traffic = lab.Traffic(page)
    lab.open_lab(page, jupyterlab)
    lab.open_notebook(page, "OpenShell GPU")
    source = CELL.replace("TEMPLATE", repr(TEMPLATE.replace("RAN", str(home.parent / "ran"))))
    assert "Error" not in lab.run_cell(page, source).text
    with page.expect_response("**/nbconvert/html/x.ipynb*") as exported:
        page.goto(f"{jupyterlab.url}lab/tree/opened.ipynb?reset&token={jupyterlab.token}")
    assert exported.value.status == 200
    expect(page.locator("#jp-main-statusbar")).to_be_visible()
    traffic.wait_until_quiet()
    page.close()
    jupyterlab.end_sessions()
    assert (home.parent / "ran").exists() is ("without" in request.node.name)


def test_export_as_runs_no_template(jupyterlab: server.Server, home: Path, request: pytest.FixtureRequest):
    """What "Save and Export Notebook As" opens."""
    for form in FORMATS:
        address = f"{jupyterlab.url}nbconvert/{form}/x.ipynb?download=true&token={jupyterlab.token}"
        with urllib.request.urlopen(address, timeout=server.SECONDS) as answer:  # noqa: S310 - the server started here
            assert answer.status == 200
    assert (home.parent / "ran").exists() is ("without" in request.node.name)
