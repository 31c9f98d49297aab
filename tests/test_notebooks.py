"""The notebooks that people try first run from top to bottom in the confined kernel."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from fakes import nvml as fake

pytestmark = pytest.mark.kernel

TESTS = Path(__file__).parent
NOTEBOOKS = TESTS.parent / "notebooks"


@pytest.fixture
def execute(tmp_path, tmp_path_factory, monkeypatch, landlock_abi):
    """Return a function that runs a notebook in a folder of its own and returns its outputs."""
    # Where the notebook's private home is kept.
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))

    def run(name):
        shutil.copy(NOTEBOOKS / name, tmp_path)
        document = nbformat.read(tmp_path / name, as_version=4)
        nbclient.NotebookClient(document, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return [output for cell in document.cells for output in cell.get("outputs", [])]

    return run


def printed(outputs):
    return "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)


def test_quickstart_runs_and_shows_what_it_promises(execute):
    outputs = execute("quickstart.ipynb")
    text = printed(outputs)
    assert any("text/html" in output.get("data", {}) for output in outputs)
    assert "written by a confined notebook" in text
    assert "ALLOWED" not in text
    assert text.count("refused: ") == 3
    assert "private: " in text
    assert "Withheld" in text


def test_the_notebook_about_gpus_runs_where_there_is_none(execute):
    text = printed(execute("gpu.ipynb"))
    assert "GPUs  None: " in text
    assert "nothing to check" in text
    assert "write refused" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mount namespaces need root")
def test_the_notebook_about_gpus_shows_selection_and_check_where_there_are_some(tmp_path, landlock_abi):
    library = fake.build(tmp_path / "driver")
    fake.configure(library, fake.gpu(0), fake.gpu(3))
    fake.build_cuda(library, "device /dev/nvidia0 NVIDIA H100", "device /dev/nvidia3 NVIDIA H100")
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nfilesystem_policy: {read_only: [/usr, /proc]}\njupyter: {gpu: {count: 1}}\n")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOKS / "gpu.ipynb", folder)
    script = TESTS / "kernels" / "gpu_notebook.py"
    done = subprocess.run(
        [sys.executable, "-m", "support.gpu_machine", str(library), str(script), str(folder / "gpu.ipynb")],
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "OPENSHELL_SANDBOX_POLICY": str(policy),
            "XDG_DATA_HOME": str(tmp_path / "data"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    text = printed(json.loads(done.stdout))
    assert "1 of 2 GPUs given" in text
    assert "this kernel holds it" in text
    assert text.count("open to this kernel") == 1
    assert text.count("refused (Permission denied)") == 1
    assert "CUDA works here." in text
    assert "promotion" in text


def test_the_notebooks_are_kept_without_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path
