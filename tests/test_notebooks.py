"""The notebooks that people try first run from top to bottom in the confined kernel."""

import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.usefixtures("landlock_abi")
def test_quickstart_runs_and_shows_what_it_promises(tmp_path, tmp_path_factory, monkeypatch):
    # Where the notebook's private home is kept.
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
    shutil.copy(NOTEBOOKS / "quickstart.ipynb", tmp_path)
    document = nbformat.read(tmp_path / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(document, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in document.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert any("text/html" in output.get("data", {}) for output in outputs)
    assert "written by a confined notebook" in text
    assert "ALLOWED" not in text
    assert text.count("refused: ") == 3
    assert "private: " in text
    assert "Withheld" in text


def test_the_notebooks_are_kept_without_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path
