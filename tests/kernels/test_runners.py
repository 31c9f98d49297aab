"""The tools that run notebooks without a person work with the kernel as they do with python3."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from support import kernels
from support.errors import check_message

from openshell_kernel.policy import unenforced

KERNELSPEC = Path(__file__).parents[2] / "kernelspec" / "openshell-gpu" / "kernel.json"
CODE = """\
open("written.txt", "w").write("x")
try:
    open(SECRET)
except PermissionError:
    print("refused")
"""


@pytest.fixture
def notebook(user):
    code = CODE.replace("SECRET", repr(str(user / ".ssh" / "id_ed25519")))
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    document.metadata["kernelspec"] = {"name": "openshell-gpu", "display_name": "OpenShell GPU"}
    path = user / "notebooks" / "in.ipynb"
    nbformat.write(document, path)
    return path


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["jupyter", "execute", "--output=out.ipynb", "in.ipynb"], id="jupyter execute"),
        pytest.param(
            ["jupyter", "nbconvert", "--execute", "--to=notebook", "--output=out.ipynb", "in.ipynb"], id="nbconvert"
        ),
        pytest.param(["papermill", "-k", "openshell-gpu", "in.ipynb", "out.ipynb"], id="papermill"),
    ],
)
def test_a_runner_executes_a_notebook_confined(user, notebook, words):
    program = os.path.join(os.path.dirname(sys.executable), words[0])
    done = subprocess.run(
        [program, *words[1:]], cwd=notebook.parent, capture_output=True, text=True, timeout=kernels.SECONDS * 2
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((notebook.parent / "out.ipynb").read_text())["cells"]
    texts = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", [])]
    assert "refused\n" in texts
    assert (notebook.parent / "written.txt").exists()


LINK = """\
import os
if os.path.lexists("out.ipynb"):
    os.unlink("out.ipynb")
os.symlink(PROFILE, "out.ipynb")
"""


@pytest.mark.parametrize(("folder", "written"), [(".", False), ("notebooks", True)])
def test_a_link_in_the_place_of_the_output_leads_a_runner_only_where_it_is_owned_up_to(user, notebook, folder, written):
    (user / ".profile").write_text("mine")
    document = nbformat.read(notebook, as_version=4)
    document.cells[0].source = LINK.replace("PROFILE", repr(str(user / ".profile")))
    nbformat.write(document, notebook)
    words = ["papermill", "--cwd", str(notebook.parent), str(notebook), str(user / folder / "out.ipynb")]
    program = os.path.join(os.path.dirname(sys.executable), words[0])
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=kernels.SECONDS * 2)
    assert done.returncode == 0, done.stderr
    assert ((user / ".profile").read_text() != "mine") is written
    (listed,) = [item.why for item in unenforced.ALWAYS if item.what == "symbolic links in the working directory"]
    check_message(listed, "papermill", "nbconvert")


def test_jupyter_run_executes_a_script_confined(user):
    (user / "notebooks" / "script.py").write_text(CODE.replace("SECRET", repr(str(user / ".ssh" / "id_ed25519"))))
    program = os.path.join(os.path.dirname(sys.executable), "jupyter")
    command = [program, "run", "--kernel=openshell-gpu", "script.py"]
    done = subprocess.run(command, cwd=user / "notebooks", capture_output=True, text=True, timeout=kernels.SECONDS * 2)
    assert (done.returncode, "refused" in done.stdout) == (0, True), done.stderr


RUNNERS = pytest.mark.parametrize(
    "words",
    [
        pytest.param(["jupyter", "execute", "in.ipynb"], id="jupyter execute"),
        pytest.param(["jupyter", "nbconvert", "--execute", "--to=notebook", "in.ipynb"], id="nbconvert"),
        pytest.param(["papermill", "in.ipynb", "out.ipynb"], id="papermill"),
    ],
)


def failure(notebook, words):
    """Return what a runner says when it fails, which it must, and without a stand-in for the kernel."""
    program = os.path.join(os.path.dirname(sys.executable), words[0])
    done = subprocess.run(
        [program, *words[1:]], cwd=notebook.parent, capture_output=True, text=True, timeout=kernels.SECONDS * 2
    )
    assert done.returncode != 0
    assert "KernelNotStarted" not in done.stderr
    return done.stderr


@RUNNERS
def test_a_runner_tells_why_a_start_was_refused(notebook, write_policy, words):
    write_policy("version: 1\nfilesystem: {}\n")
    refused = failure(notebook, words)
    assert "policy.yaml:2:1: filesystem: " in refused


@RUNNERS
def test_a_runner_fails_where_the_kernelspec_requires_a_policy_and_there_is_none_of_the_operators(
    user, notebook, write_policy, monkeypatch, words
):
    write_policy("version: 1\n")
    spec = user / "jupyter" / "kernels" / "openshell-gpu" / "kernel.json"
    spec.parent.mkdir(parents=True)
    written = json.loads(KERNELSPEC.read_text())
    written["metadata"]["kernel_provisioner"]["config"] = {"require_policy": True}
    spec.write_text(json.dumps(written))
    monkeypatch.setenv("JUPYTER_PATH", str(user / "jupyter"))
    assert "PolicyError: require_policy: " in failure(notebook, words)
