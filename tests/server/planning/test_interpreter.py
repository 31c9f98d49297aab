"""An interpreter tells its folders, editable installs among them, and cannot be made to run a stranger's code."""

import os
import subprocess
import sys
import venv

import pytest
from support.errors import refused

from openshell_kernel.errors import LaunchError
from openshell_kernel.server.planning import interpreter


@pytest.fixture
def environment(tmp_path):
    """A virtual environment with an editable install of either kind."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    command = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    for name in ("by_path", "by_finder"):
        (tmp_path / name).mkdir()
    with open(f"{site}/by_path.pth", "w") as stream:
        stream.write(f"{tmp_path}/by_path\n")
    with open(f"{site}/__editable___by_finder_finder.py", "w") as stream:
        stream.write(
            f"import sys\nMAPPING = {{'by_finder': {str(tmp_path / 'by_finder')!r}}}\nNAMESPACES = {{}}\n"
            "class Finder:\n    @classmethod\n    def find_spec(cls, name, path=None, target=None): return None\n"
            "def install(): sys.meta_path.append(Finder)\n"
        )
    with open(f"{site}/by_finder.pth", "w") as stream:
        stream.write("import __editable___by_finder_finder; __editable___by_finder_finder.install()\n")
    return tmp_path, str(python), site


def test_prefixes_import_path_and_editable_installs_are_told(environment):
    base, python, site = environment
    found = interpreter.inspect(python, {})
    assert str(base / "venv") in found.prefixes
    assert sys.base_prefix in found.prefixes
    assert {site, str(base / "by_path")} <= set(found.import_path)
    assert found.editable == (str(base / "by_finder"),)


def test_a_sitecustomize_that_is_a_link_is_told_by_where_it_leads(environment):
    """As Debian's, which leads from /usr/lib to /etc."""
    base, python, site = environment
    (base / "elsewhere.py").write_text("ran = True\n")
    os.symlink(base / "elsewhere.py", f"{site}/sitecustomize.py")
    system = interpreter.inspect(sys.executable, {}).customize
    # Where the machine's Python has one of its own, as Debian's has, that comes first.
    assert interpreter.inspect(python, {}).customize == (system or (str(base / "elsewhere.py"),))
    assert not any(os.path.islink(path) for path in system)


def test_it_is_asked_again_once_something_was_installed(environment):
    base, python, site = environment
    interpreter.inspect(python, {})
    (base / "later").mkdir()
    with open(f"{site}/later.pth", "w") as stream:
        stream.write(f"{base}/later\n")
    assert str(base / "later") in interpreter.inspect(python, {}).import_path


def test_neither_the_working_directory_nor_pythonpath_is_imported(environment, tmp_path, monkeypatch):
    _, python, _ = environment
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    interpreter.inspect(python, {"PYTHONPATH": str(tmp_path)})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/true"])
def test_what_is_no_python_is_told(program):
    with refused(LaunchError, program, "argv", "kernel.json"):
        interpreter.inspect(program, {})


def test_a_child_gets_no_library_path_that_a_sandbox_could_fill(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    libraries = f":lib:/opt/lib;{tmp_path}/mine/lib:{tmp_path}/link:"
    environ = {"LD_LIBRARY_PATH": libraries, "LD_PRELOAD": "/evil.so", "PATH": os.defpath, "SECRET_TOKEN": "x"}
    scrubbed = interpreter.scrubbed(environ, [str(tmp_path / "mine")])
    assert scrubbed == {"LD_LIBRARY_PATH": "/opt/lib", "PATH": os.defpath}
