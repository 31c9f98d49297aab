"""A notebook that is exported as a script names neither the code that does so nor where the script is written."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import nbformat
import pytest
from browser import server
from support.programs import WITHOUT_SHIPPED_CONFIGURATION, run

if TYPE_CHECKING:
    from pathlib import Path

# To import it is to run tests, which it looks for in the working directory, or to end the process.
CODE = "unittest.__main__.x"
# To import it is to become the program that the command line of `jupyter` names, `jupyter lab` for example.
PLAIN_JUPYTER = "jupyter_core.__main__.x"
# After the name of the notebook, in whose folder the notebook can make one that is called `in.`.
ELSEWHERE = "./../../.bashrc"
LATEX = "#!/bin/sh\n: > RAN\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a folder of notebooks."""
    (tmp_path / "home" / "notebooks" / "in.").mkdir(parents=True)
    return tmp_path / "home"


def write(home: Path, **language: str) -> None:
    cells = [nbformat.v4.new_code_cell("touch owned")]
    document = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "other", **language}})
    nbformat.write(document, home / "notebooks" / "in.ipynb")


SCRIPT = {
    "jupyter": ["jupyter-nbconvert", "--to=script", "in.ipynb"],
    "openshell": ["jupyter-openshell", "nbconvert", "--to=script", "in.ipynb"],
}


@pytest.mark.parametrize("program", SCRIPT)
def test_no_file_outside_of_the_folder_is_written(home: Path, program: str):
    write(home, file_extension=ELSEWHERE)
    done = run(home, *SCRIPT[program])
    assert (done.returncode, (home / ".bashrc").exists()) == (1, False)
    assert "language_info.file_extension" in done.stderr


def test_without_the_shipped_configuration_one_is(home: Path):
    write(home, file_extension=ELSEWHERE)
    run(home, *SCRIPT["jupyter"], **WITHOUT_SHIPPED_CONFIGURATION)
    assert (home / ".bashrc").read_text().strip() == "touch owned"


@pytest.mark.parametrize("program", SCRIPT)
def test_no_code_is_imported_that_the_notebook_names(home: Path, program: str):
    write(home, nbconvert_exporter=CODE)
    done = run(home, *SCRIPT[program])
    assert (done.returncode, "usage:" in done.stderr) == (1, False)
    assert "language_info.nbconvert_exporter" in done.stderr


def test_without_the_shipped_configuration_it_is(home: Path):
    write(home, nbconvert_exporter=CODE)
    assert "usage:" in run(home, *SCRIPT["jupyter"], **WITHOUT_SHIPPED_CONFIGURATION).stderr


@pytest.mark.parametrize("language", [{"nbconvert_exporter": "python"}, {"file_extension": ".c++"}, {}])
def test_what_kernels_say_of_their_languages_still_counts(home: Path, language: dict[str, str]):
    write(home, **language)
    assert run(home, *SCRIPT["jupyter"]).returncode == 0
    written = {path.suffix for path in (home / "notebooks").iterdir() if path.is_file()} - {".ipynb"}
    assert written == {language.get("file_extension", ".py" if language else ".txt")}


@pytest.mark.parametrize("exporter", ["pdf", "PDF"])
@pytest.mark.parametrize("program", SCRIPT)
def test_a_confined_export_starts_no_program_that_the_notebook_names(home: Path, program: str, exporter: str):
    (home / "xelatex").write_text(LATEX.replace("RAN", str(home / "ran")))
    (home / "xelatex").chmod(0o755)
    write(home, nbconvert_exporter=exporter)
    for name in ("pandoc", "inkscape", "bibtex"):
        (home / name).symlink_to("xelatex")
    done = run(home, *SCRIPT[program], PATH=f"{home}:{os.environ['PATH']}")
    assert (done.returncode, (home / "ran").exists()) == (1, program == "jupyter"), done.stderr


@pytest.mark.parametrize("command", [["jupyter-openshell", "lab"], ["jupyter-lab"]], ids=" ".join)
@pytest.mark.parametrize("exporter", [CODE, PLAIN_JUPYTER])
def test_a_server_imports_no_code_that_a_notebook_names(home: Path, command: list[str], exporter: str):
    """It would end the server, or make a confined-only one one that is not: an image in a notebook's text is enough."""
    write(home, nbconvert_exporter=exporter)
    with server.running(home, command) as jupyter:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(  # noqa: S310 - the server started here
                f"{jupyter.url}nbconvert/script/in.ipynb?token={jupyter.token}", timeout=server.SECONDS
            )
        error.value.close()
        assert error.value.code == 500
        assert jupyter.request("GET", "api/kernels") == []
    assert "language_info.nbconvert_exporter" in (home / "server.log").read_text()


def test_the_mode_does_not_depend_on_the_extension_which_users_can_switch_off(home: Path):
    write(home, nbconvert_exporter=PLAIN_JUPYTER)
    (home / ".jupyter").mkdir()
    (home / ".jupyter" / "jupyter_server_config.py").write_text(
        "c.ServerApp.jpserver_extensions = {'openshell_kernel.server.extension': False}\n"
    )
    with server.running(home, ["jupyter-openshell", "lab"]) as jupyter:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(  # noqa: S310 - as above
                f"{jupyter.url}nbconvert/script/in.ipynb?token={jupyter.token}", timeout=server.SECONDS
            )
        error.value.close()
        assert jupyter.request("GET", "api/kernels") == []


@pytest.mark.parametrize(
    ("runner", "name"),
    [
        ("nbconvert", "--config=evil.ipynb"),
        ("execute", "--NbClientApp.config_file=evil.ipynb"),
    ],
)
def test_a_file_gives_no_options_where_a_person_names_all_notebooks(home: Path, runner: str, name: str):
    write(home)
    (home / "notebooks" / "evil.py").write_text(f"open({str(home / 'ran')!r}, 'w').close()\n")
    (home / "notebooks" / name).write_text("{}")
    words = [*(["--to=html"] if runner == "nbconvert" else []), name, "in.ipynb"]
    done = run(home, "jupyter-openshell", runner, *words)
    assert (done.returncode, (home / "ran").exists()) == (1, False)
    assert name in done.stderr


def test_without_the_mode_such_a_file_does(home: Path):
    write(home)
    (home / "notebooks" / "evil.py").write_text(f"open({str(home / 'ran')!r}, 'w').close()\n")
    run(home, "jupyter-nbconvert", "--to=html", "--config=evil.ipynb", "in.ipynb")
    assert (home / "ran").exists()
