"""`jupyter openshell execute`, `papermill` and `nbconvert` start our kernel, whatever notebook, folder and options say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nbformat
import pytest
from support.programs import run

if TYPE_CHECKING:
    from pathlib import Path

LOOK = "print([line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')][0])"
RUNNERS = {
    "execute": ["execute", "--output=out.ipynb", "in.ipynb"],
    "nbconvert": ["nbconvert", "--execute", "--to=notebook", "--output=out.ipynb", "in.ipynb"],
    "papermill": ["papermill", "in.ipynb", "out.ipynb"],
}
METADATA = {
    "another kernel": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "another language": {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}},
    "a kernel of its own": {"kernelspec": {"name": "../notebooks/evil", "display_name": "Evil", "language": "python"}},
    "nothing": {},
}


@pytest.fixture
def home(tmp_path: Path, landlock_abi: int) -> Path:
    """A home with a folder of notebooks."""
    (tmp_path / "home" / "notebooks").mkdir(parents=True)
    return tmp_path / "home"


def write(home: Path, metadata: dict[str, object]) -> None:
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LOOK)], metadata=metadata)
    nbformat.write(document, home / "notebooks" / "in.ipynb")


def privileges(home: Path) -> str:
    """Return what the cell saw of its process: 1 where privileges can no longer be gained."""
    cells = json.loads((home / "notebooks" / "out.ipynb").read_text())["cells"]
    texts = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", [])]
    (line,) = [text for text in texts if text.startswith("NoNewPrivs")]
    return line.split()[1]


@pytest.mark.parametrize(
    ("runner", "metadata"),
    [
        *((runner, "another kernel") for runner in RUNNERS),
        *(("execute", name) for name in list(METADATA)[1:]),
        ("papermill", "nothing"),
    ],
)
def test_a_notebook_is_run_by_our_kernel_whatever_its_metadata_say(home: Path, runner: str, metadata: str):
    write(home, METADATA[metadata])
    done = run(home, "jupyter", "openshell", *RUNNERS[runner])
    assert done.returncode == 0, done.stderr
    assert privileges(home) == "1"


@pytest.mark.parametrize("runner", RUNNERS)
def test_without_the_mode_the_notebook_chooses(home: Path, runner: str):
    write(home, METADATA["another kernel"])
    words = RUNNERS[runner] if runner == "papermill" else ["jupyter", *RUNNERS[runner]]
    done = run(home, *words)
    assert done.returncode == 0, done.stderr
    assert privileges(home) == "0"


@pytest.mark.parametrize("runner", RUNNERS)
def test_no_module_of_the_folder_is_imported(home: Path, runner: str):
    write(home, METADATA["another kernel"])
    for name in ("nbclient", "nbconvert", "papermill", "jinja2", "click", "jupyter_client", "openshell_kernel"):
        (home / "notebooks" / f"{name}.py").write_text(f"open({str(home / 'ran')!r}, 'w').close()\n")
    done = run(home, "jupyter", "openshell", *RUNNERS[runner])
    assert done.returncode == 0, done.stderr
    assert not (home / "ran").exists()


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        ("execute", ["--kernel_name=python3"]),
        ("execute", ["--kernel_name", "python3"]),
        ("execute", ["--NbClientApp.kernel_name=python3"]),
        ("nbconvert", ["--ExecutePreprocessor.kernel_name=python3"]),
        ("nbconvert", ["--NotebookClient.kernel_name=python3"]),
        ("papermill", ["-k", "python3"]),
        ("papermill", ["-kpython3"]),
        ("papermill", ["--kernel=python3"]),
        ("papermill", ["--engine", "nbclient"]),
    ],
)
def test_another_kernel_is_refused(home: Path, runner: str, words: list[str]):
    write(home, METADATA["another kernel"])
    done = run(home, "jupyter", "openshell", *RUNNERS[runner], *words)
    assert done.returncode != 0
    assert not (home / "notebooks" / "out.ipynb").exists()
    assert "openshell-gpu" in done.stderr


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        ("execute", ["--kernel_name=openshell-gpu"]),
        ("nbconvert", ["--ExecutePreprocessor.kernel_name", "openshell-gpu"]),
        ("papermill", ["-k", "openshell-gpu"]),
    ],
)
def test_our_kernel_may_be_named(home: Path, runner: str, words: list[str]):
    write(home, METADATA["another kernel"])
    done = run(home, "jupyter", "openshell", *RUNNERS[runner], *words)
    assert done.returncode == 0, done.stderr
    assert privileges(home) == "1"


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_kernel_of_the_users_that_takes_our_name_is_not_started(home: Path, runner: str):
    """Where there is no virtual environment, the user's own come first."""
    write(home, METADATA["another kernel"])
    spec = {"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Evil"}
    kernel = home / ".local" / "share" / "jupyter" / "kernels" / "openshell-gpu" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({**spec, "language": "python"}))
    done = run(home, "jupyter", "openshell", *RUNNERS[runner], JUPYTER_PREFER_ENV_PATH="0")
    assert (done.returncode, str(kernel.parent) in done.stderr) == (1, True)


@pytest.mark.parametrize("runner", ["execute", "nbconvert"])
def test_configuration_files_choose_no_kernel(home: Path, runner: str):
    write(home, METADATA["another kernel"])
    (home / ".jupyter").mkdir()
    for program in ("jupyter", "jupyter_nbconvert", "jupyter_execute"):
        (home / ".jupyter" / f"{program}_config.py").write_text(
            "c.ExecutePreprocessor.kernel_name = c.NotebookClient.kernel_name = c.NbClientApp.kernel_name = 'python3'\n"
        )
    done = run(home, "jupyter", "openshell", *RUNNERS[runner])
    assert done.returncode == 0, done.stderr
    assert privileges(home) == "1"


def test_parameters_are_written_in_our_kernels_language(home: Path):
    write(home, METADATA["another language"])
    done = run(home, "jupyter", "openshell", *RUNNERS["papermill"], "-p", "name", "value")
    assert done.returncode == 0, done.stderr
    assert 'name = "value"' in (home / "notebooks" / "out.ipynb").read_text().replace("\\", "")


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_exit_status_is_that_of_the_program(home: Path, runner: str):
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1/0")])
    nbformat.write(document, home / "notebooks" / "in.ipynb")
    done = run(home, "jupyter", "openshell", *RUNNERS[runner])
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
