"""A folder that holds the Python environment, as uv and poetry make it, is the notebook's; the environment is not."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import ipykernel
import pytest
from escapes.conftest import _account
from support import kernels
from support.errors import check_message, refused

import openshell_kernel
from openshell_kernel.errors import PolicyError
from openshell_kernel.server.planning import python_environments

NAME = "of-the-project"
ATTEMPTS = """
import errno, os
E = ENVIRONMENT
FILE = E + "/lib/module.py"
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"
def write(path, flags=0):
    os.close(os.open(path, os.O_WRONLY | flags))
print({
    "write": attempt(write, FILE),
    "truncate": attempt(os.truncate, FILE, 0),
    "create": attempt(write, E + "/lib/new.py", os.O_CREAT),
    "create at the top": attempt(write, E + "/new", os.O_CREAT),
    "make a folder": attempt(os.mkdir, E + "/lib/new"),
    "remove": attempt(os.unlink, FILE),
    "rename in it": attempt(os.rename, FILE, E + "/lib/other.py"),
    "rename into it": attempt(os.rename, "mine.txt", E + "/lib/mine.py"),
    "rename out of it": attempt(os.rename, FILE, "other.py"),
    "link into it": attempt(os.link, "mine.txt", E + "/lib/mine.py"),
    "link out of it": attempt(os.link, FILE, "other.py"),
    "link symbolically in it": attempt(os.symlink, "/etc", E + "/lib/link"),
    "change its mode": attempt(os.chmod, E, 0o777),
    "change a mode": attempt(os.chmod, FILE, 0o777),
    "change times": attempt(os.utime, FILE),
    "change attributes": attempt(os.setxattr, FILE, "user.x", b"x"),
    "rename it": attempt(os.rename, E, os.path.dirname(E) + "/other-env"),
    "rename over it": attempt(os.rename, "folder", E),
    "remove it": attempt(os.rmdir, E),
    "write through /proc": attempt(write, "/proc/self/root" + FILE),
    "write through the working directory": attempt(write, "/proc/self/cwd/" + os.path.relpath(FILE)),
})
"""
AFTERWARDS = "mine.txt", "folder"


@pytest.fixture
def project(user):
    """A folder with notebooks and data, whose environment runs a kernel."""
    folder = user / "work" / "project"
    (folder / "folder").mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    return folder


def environment(path):
    """Make a virtual environment that has the packages of the tests' own."""
    venv.create(path, system_site_packages=True, symlinks=True, with_pip=False)
    site = path / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    (site / "tests.pth").write_text(f"import site; site.addsitedir({str(Path(ipykernel.__file__).parents[1])!r})\n")
    (path / "lib" / "module.py").write_text("x = 1\n")
    return path


def kernelspec(user, python, name=NAME):
    folder = user / ".local" / "share" / "jupyter" / "kernels" / name
    folder.mkdir(parents=True)
    spec = {
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "x",
        "language": "python",
        "metadata": {"kernel_provisioner": {"provisioner_name": "openshell-provisioner"}},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))


def outcomes(kernel, environment):
    return eval(kernel.run(f"ENVIRONMENT = {str(environment)!r}\n{ATTEMPTS}").text, {})  # noqa: S307 - our own repr


@pytest.fixture
def without_mounts(monkeypatch):
    """As where this machine forbids mounts of the kernel's own."""
    monkeypatch.setattr(python_environments, "_possible", set())
    refusing = (sys.executable, "-c", "print('this machine forbids it'); raise SystemExit(1)")
    monkeypatch.setattr(python_environments, "_PROBE", refusing)


class TestWithMounts:
    def test_the_folder_is_writable_and_nothing_of_the_environment_is(self, user, project):
        kernelspec(user, environment(project / ".venv") / "bin" / "python")
        with kernels.started(NAME, cwd=project) as kernel:
            assert kernel.value("__import__('sys').prefix") == f"{project}/.venv"
            for code in ("open('new.txt', 'w')", "open('mine.txt', 'a')", "import os; os.mkdir('new')",
                         "os.rename('new.txt', 'folder/moved.txt')", "os.rmdir('new')"):  # fmt: skip
                assert kernel.run(code).error == ""
            told = outcomes(kernel, project / ".venv")
            assert [how for how, outcome in told.items() if outcome not in ("EROFS", "EXDEV", "EBUSY")] == []
            assert kernel.record()["effective"]["kept"] == [f"{project}/.venv"]
            assert f"{project}/.venv" in kernel.shown()
            why = kernel.run(f"%policy why {project}/.venv/lib/module.py").text
            assert f"{project}/.venv" in why.replace(f"{project}/.venv/lib/module.py", "")
        assert (project / ".venv" / "lib" / "module.py").read_text() == "x = 1\n"

    def test_a_second_kernel_and_a_restart_find_the_same(self, user, project):
        kernelspec(user, environment(project / ".venv") / "bin" / "python")
        with kernels.started(NAME, cwd=project) as one, kernels.started(NAME, cwd=project) as two:
            for kernel in (one, two):
                kernel.run("import os; os.rename(os.getcwd() + '/.venv', os.getcwd() + '/x')")
            one.restart()
            assert set(outcomes(one, project / ".venv").values()) <= {"EROFS", "EXDEV", "EBUSY"}

    def test_an_environment_deeper_in_the_folder_cannot_be_moved_with_what_is_above_it(self, user, project):
        kernelspec(user, environment(project / "tools" / "deep" / "env") / "bin" / "python")
        with kernels.started(NAME, cwd=project) as kernel:
            for folder in ("tools", "tools/deep"):
                moved = kernel.run(f"import os; os.rename({folder!r}, {folder + '-moved'!r})").error
                assert "Device or resource busy" in moved
            assert kernel.run("open('tools/new', 'w'); open('tools/deep/new', 'w')").error == ""
            told = outcomes(kernel, project / "tools" / "deep" / "env")
            assert set(told.values()) <= {"EROFS", "EXDEV", "EBUSY"}

    def test_two_environments_and_one_of_conda_are_all_kept(self, user, project):
        kernelspec(user, environment(project / ".venv") / "bin" / "python")
        other = environment(project / "env")
        (other / "pyvenv.cfg").rename(other / "pyvenv.cfg.gone")
        (other / "conda-meta").mkdir()
        kernelspec(user, other / "bin" / "python", "other")
        with kernels.started(NAME, cwd=project) as kernel:
            for path in (".venv", "env"):
                assert set(outcomes(kernel, project / path).values()) <= {"EROFS", "EXDEV", "EBUSY"}

    def test_a_neighbour_with_which_an_installer_shares_files_is_kept_too(self, user, project):
        kernelspec(user, environment(project / ".venv") / "bin" / "python")
        other = environment(project / "env")
        (other / "lib" / "module.py").unlink()
        os.link(project / ".venv" / "lib" / "module.py", other / "lib" / "module.py")
        with kernels.started(NAME, cwd=project) as kernel:
            assert "Read-only file system" in kernel.run("open('env/lib/module.py', 'w')").error

    def test_a_policy_that_lists_the_folder_itself_starts(self, user, project, write_policy):
        kernelspec(user, environment(project / ".venv") / "bin" / "python")
        write_policy(
            f"version: 1\nfilesystem_policy: {{include_workdir: false, read_write: [{project.parent}]}}\n"
            "landlock: {compatibility: hard_requirement}\n"
        )
        with kernels.started(NAME, cwd=user / "notebooks") as kernel:
            assert kernel.run(f"import os; os.chdir({str(project)!r}); open('new.txt', 'w')").error == ""
            assert set(outcomes(kernel, project / ".venv").values()) <= {"EROFS", "EXDEV", "EBUSY"}
            moved = kernel.run(f"os.rename({str(project)!r}, {str(project) + '-moved'!r})").error
            assert "Device or resource busy" in moved


def test_a_kernel_that_is_not_confined_can_do_all_of_it(user, project):
    environment(project / ".venv")
    with kernels.started("python3", cwd=project) as kernel:
        told = outcomes(kernel, project / ".venv")
    assert (told["write"], told["create"], told["change its mode"], told["rename it"]) == ("ok",) * 4


@pytest.mark.usefixtures("without_mounts")
class TestWithoutMounts:
    def test_what_lies_beside_the_environment_is_writable_and_it_is_told_what_is_missing(self, user, project):
        kernelspec(user, environment(project / ".venv") / "bin" / "python")
        with kernels.started(NAME, cwd=project) as kernel:
            for code in ("open('mine.txt', 'a')", "open('folder/new.txt', 'w')", "open('.venv/lib/module.py').read()"):
                assert kernel.run(code).error == ""
            assert kernel.run("open('new.txt', 'w')").error.startswith("PermissionError")
            for change in ("open('.venv/lib/module.py', 'w')", "__import__('os').rename('.venv', 'x')",
                           "__import__('os').link('.venv/lib/module.py', 'folder/module.py')",
                           "__import__('os').rename('.venv/lib/module.py', 'folder/module.py')"):  # fmt: skip
                assert kernel.run(change).error.startswith(("PermissionError", "OSError: [Errno 18]")), change
            text = kernel.shown()
        check_message(text, project, "this machine forbids it")

    def test_a_folder_above_the_environment_is_treated_so_too(self, user, project):
        kernelspec(user, environment(project / "tools" / "env") / "bin" / "python")
        (project / "tools" / "script.py").write_text("")
        with kernels.started(NAME, cwd=project) as kernel:
            assert kernel.run("open('tools/script.py', 'a')").error == ""
            for change in ("os.rename('tools', 'x')", "os.rename('tools/env', 'x')", "open('tools/new', 'w')"):
                assert kernel.run(f"import os; {change}").error.startswith("PermissionError")

    def test_a_policy_that_lists_the_folder_itself_is_refused_as_ever(self, user, project, write_policy):
        kernelspec(user, environment(project / ".venv") / "bin" / "python")
        write_policy(f"version: 1\nfilesystem_policy: {{include_workdir: true, read_write: [{project}]}}\n")
        with (
            refused(PolicyError, project, "this machine forbids it"),
            kernels.started(NAME, cwd=project),
        ):
            pass


def test_a_link_to_an_environment_cannot_be_exchanged(user, project):
    elsewhere = environment(user / "elsewhere" / "venv")
    (project / ".venv").symlink_to(elsewhere)
    kernelspec(user, project / ".venv" / "bin" / "python")
    with kernels.started(NAME, cwd=project) as kernel:
        assert kernel.run("open('mine.txt', 'a')").error == ""
        assert kernel.run("import os; os.unlink('.venv')").error.startswith("PermissionError")
        assert kernel.run("import os; os.rename('.venv', 'x')").error.startswith("PermissionError")
        notices = kernel.record()["effective"]["notices"]
    assert [notice for notice in notices if f"{project}/.venv" in notice]


@pytest.mark.parametrize("secret", [".ssh/id", "jupyter_server_config.py"])
def test_whatever_else_keeps_a_folder_from_a_notebook_still_does(user, project, secret, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(project))
    kernelspec(user, environment(project / ".venv") / "bin" / "python")
    (project / secret).parent.mkdir(exist_ok=True)
    (project / secret).write_text("c.IdentityProvider.token = 'x'")
    with kernels.started(NAME, cwd=project) as kernel:
        assert kernel.run("open('mine.txt', 'a')").error.startswith("PermissionError")


def test_an_environment_that_runs_the_server_itself_is_kept(user, project):
    """As `project/.venv/bin/jupyter execute` does, started in the project, whose launcher runs from it as well."""
    env = environment(project / ".venv")
    shutil.copytree(
        Path(sys.prefix, "share/jupyter/kernels/openshell-gpu"), env / "share/jupyter/kernels/openshell-gpu"
    )
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    code = f"ENVIRONMENT = {str(env)!r}\n{ATTEMPTS}\nopen('made', 'w')"
    notebook = {"cells": [cell | {"source": code}], "metadata": {"kernelspec": {"name": "openshell-gpu"}}}
    (project / "a.ipynb").write_text(json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 5}))
    main = "from nbclient.cli import NbClientApp; NbClientApp.launch_instance(['--inplace', 'a.ipynb'])"
    command = [env / "bin" / "python", "-I", "-c", main]
    environ = {name: value for name, value in os.environ.items() if name != "PATH"}
    environ["PATH"] = f"{env}/bin:/usr/bin:/bin"
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (project / "made").exists()
    (output, *_) = json.loads((project / "a.ipynb").read_text())["cells"][0]["outputs"]
    assert set(eval("".join(output["text"]), {}).values()) <= {"EROFS", "EXDEV", "EBUSY"}  # noqa: S307 - our own repr


def test_a_package_that_is_installed_there_starts_with_the_policy_that_it_brings(user, project):
    """As a project has it whose own environment holds Jupyter and this package."""
    site = environment(project / ".venv") / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    shutil.copytree(Path(openshell_kernel.__file__).parent, site / "openshell_kernel")
    spec = Path("share/jupyter/kernels/openshell-gpu")
    shutil.copytree(sys.prefix / spec, project / ".venv" / spec)
    code = (
        "import os, openshell_kernel as package; print(os.path.dirname(package.__file__)); open('new.txt', 'w')\n"
        "open(os.path.dirname(package.__file__) + '/policy/default.yaml', 'a')"
    )
    script = Path(__file__).parents[1] / "kernels" / "start_and_tell.py"
    done = subprocess.run(
        [project / ".venv" / "bin" / "python", script, "{}", str(project), code],
        env={**os.environ, "PYTHONPATH": str(script.parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["text"].strip() == str(site / "openshell_kernel"), told
    assert told["error_in_cell"].startswith("OSError: [Errno 30]")


def test_an_ordinary_user_is_given_the_same_by_a_user_namespace():
    python, uid = _account("ordinary")
    base = Path(tempfile.mkdtemp(prefix="openshell-project-", dir="/var/tmp"))
    try:
        base.chmod(0o755)
        shutil.copytree(Path(__file__).parents[1] / "support", base / "code" / "support")
        shutil.copy(Path(__file__).with_name("in_a_project.py"), base / "code")
        for name in ("home", "tmp"):
            (base / name).mkdir()
            os.chown(base / name, uid, uid)
        environ = {"HOME": str(base / "home"), "TMPDIR": str(base / "tmp"), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        command = [python, base / "code" / "in_a_project.py", base / "home", ATTEMPTS]
        options = {"user": uid, "group": uid, "extra_groups": []} if uid != os.getuid() else {}
        done = subprocess.run(command, cwd=base, env=environ, capture_output=True, text=True, timeout=120, **options)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
    finally:
        shutil.rmtree(base)
    assert set(told["attempts"].values()) <= {"EROFS", "EXDEV", "EBUSY"}
    assert (told["new"], told["user"], told["command"]) == ("", True, "works")
    assert "user namespace" in told["shown"]
    sets = dict(line.split(":\t") for line in told["status"].splitlines() if line.startswith("Cap"))
    assert {int(value, 16) for value in sets.values()} == {0}
