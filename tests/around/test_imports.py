"""No program of Jupyter imports what a notebook has left in the folder where the program is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import pytest
from browser import server
from support.programs import WITHOUT_SHIPPED_CONFIGURATION, run

if TYPE_CHECKING:
    from pathlib import Path

EXPORT = ["jupyter", "nbconvert", "--to=html", "in.ipynb"]
EXECUTE = ["jupyter", "nbconvert", "--execute", "--to=notebook", "in.ipynb"]
OTHERS = {
    "jupyter execute": ["jupyter", "execute", "in.ipynb"],
    "papermill": ["papermill", "in.ipynb", "out.ipynb"],
    "jupyter run": ["jupyter", "run", "--kernel=openshell-gpu", "script.py"],
    "jupyter trust": ["jupyter", "trust", "in.ipynb"],
    "jupyter kernelspec": ["jupyter", "kernelspec", "list"],
}


@pytest.fixture
def home(tmp_path: Path, landlock_abi: int) -> Path:
    """A home with a notebook, and beside it what leaves a trace when it is imported or read as configuration."""
    folder = tmp_path / "home" / "notebooks"
    folder.mkdir(parents=True)
    metadata = {"kernelspec": {"name": "openshell-gpu", "display_name": "OpenShell GPU", "language": "python"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")], metadata=metadata), folder / "in.ipynb"
    )
    trace = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    (folder / "script.py").write_text("1")
    for module in ("openshell_kernel", "ipykernel", "nbconvert", "papermill", "jupyter_client", "sitecustomize"):
        (folder / f"{module}.py").write_text(trace)
    for program in ("jupyter", "jupyter_server", "jupyter_nbconvert", "jupyter_execute", "ipython"):
        (folder / f"{program}_config.py").write_text(trace)
    (folder / "exporter.py").write_text(f"{trace}from nbconvert.exporters.html import HTMLExporter as Exporter\n")
    distribution = folder / "exporter-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: exporter\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text("[nbconvert.exporters]\nhtml = exporter:Exporter\n")
    return tmp_path / "home"


@pytest.mark.parametrize("words", [EXPORT, EXECUTE], ids=["export", "execute"])
def test_nbconvert_imports_nothing_of_its_folder(home: Path, words: list[str]):
    """Neither a module of a name that is looked for, nor what a distribution beside the notebook says it exports."""
    done = run(home, *words)
    assert done.returncode == 0, done.stderr
    assert not (home.parent / "ran").exists()


@pytest.mark.parametrize("words", [EXPORT, EXECUTE], ids=["export", "execute"])
def test_without_the_shipped_configuration_it_does(home: Path, words: list[str]):
    run(home, *words, **WITHOUT_SHIPPED_CONFIGURATION)
    assert (home.parent / "ran").exists()


def test_modules_of_the_users_own_are_imported_from_where_the_user_says(home: Path):
    run(home, *EXPORT, PYTHONPATH=str(home / "notebooks"))
    assert (home.parent / "ran").exists()


@pytest.mark.parametrize("name", OTHERS)
def test_nor_does_another_program(home: Path, name: str):
    done = run(home, *OTHERS[name])
    assert done.returncode == 0, done.stderr
    assert not (home.parent / "ran").exists()


@pytest.mark.parametrize("command", [["jupyter-lab"], ["jupyter-server"], ["jupyter-openshell", "lab"]], ids=" ".join)
def test_nor_does_a_server(home: Path, command: list[str]):
    with server.running(home, command) as jupyter:
        jupyter.request("GET", "api/nbconvert")
        kernel = jupyter.request("POST", "api/kernels", {"name": "openshell-gpu"})
        jupyter.request("DELETE", f"api/kernels/{kernel['id']}")
    assert not (home.parent / "ran").exists()


@pytest.mark.parametrize("value", [":", ".", "relative:/absolute"])
def test_a_variable_that_makes_python_look_there_is_refused(home: Path, value: str):
    """Too late for what Python imports at its start, but not for all that follows."""
    for module in (home / "notebooks").glob("*.py"):
        module.unlink()
    done = run(home, "jupyter-openshell", "execute", "in.ipynb", PYTHONPATH=value)
    assert (done.returncode, "PYTHONPATH" in done.stderr.splitlines()[-1]) == (1, True), done.stderr
