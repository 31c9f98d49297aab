"""A new kernel answers for itself: nothing that lies in its folder or its home runs before the first cell does."""

import contextlib
import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from support import kernels

# Tells of itself beside the notebook, which even a confined kernel may write, and fails as a module that is missing.
CODE = "import os\nos.close(os.open({marker!r} + '/{name}', os.O_CREAT | os.O_WRONLY))\nraise ImportError('a shadow')\n"
FORGERY = "get_ipython().register_magic_function(lambda line: print('FORGED'), 'line', 'policy')\n"
NEVER_PLAIN = {"builtins", "sys", "__future__", "__main__"}
QUESTIONS = ("show", "show --json", "show --yaml", "env", "gpus", "gpus --json", "why /etc/shadow", "")


class Opens:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def folder(user):
    (user / "notebooks" / "ran").mkdir()
    return user / "notebooks"


@pytest.fixture
def ran(folder):
    """Return a function that tells which of the planted files have run."""
    return lambda: sorted(os.listdir(folder / "ran"))


def plant(path, marker):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CODE.format(marker=str(marker), name=path.name))


def shadows():
    """Return the names of all modules that a kernel could import, of Python's own and of the environment's."""
    installed = {name for names in (importlib.metadata.packages_distributions(),) for name in names}
    return sorted(
        name
        for name in {*installed, *sys.stdlib_module_names, "sitecustomize", "usercustomize"} - NEVER_PLAIN
        if name.isidentifier()
    )


def ask_before_the_first_cell(kernel):
    """Ask what Jupyter's clients ask as soon as a kernel is there."""
    client = kernel.client
    client.kernel_info(reply=True, timeout=kernels.SECONDS)
    for code in ("import js", "import numpy as np\nnp.", "from helper import ", "%policy ", "open('", "x.y("):
        client.complete(code, reply=True, timeout=kernels.SECONDS)
        client.inspect(code, reply=True, timeout=kernels.SECONDS)
    # The second starts the debugger's adapter, a Python of its own.
    for command, arguments in (("debugInfo", {}), ("initialize", {"adapterID": "", "pathFormat": "path"})):
        request = {"type": "request", "command": command, "seq": 1, "arguments": arguments}
        message = client.session.msg("debug_request", request)
        client.control_channel.send(message)
        assert client.get_control_msg(timeout=kernels.SECONDS)["content"]["success"]


def test_no_file_in_the_folder_is_imported_by_a_new_kernel_or_its_answers(folder, ran):
    for name in shadows():
        plant(folder / f"{name}.py", folder / "ran")
    for name in ("openshell_kernel/kernel/magics.py", "ruamel/yaml/__init__.py", "ipykernel/kernelapp.py"):
        plant(folder / "second" / name, folder / "ran")
    plant(folder / "ipython_config.py", folder / "ran")
    plant(folder / "profile_default" / "startup" / "first.py", folder / "ran")
    with kernels.started(cwd=folder) as kernel:
        ask_before_the_first_cell(kernel)
        for question in QUESTIONS:
            assert kernel.run(f"%policy {question}").error == "", question
        assert ran() == []
        assert kernel.record()["report"]["layers"]


def test_nor_is_a_package_or_one_without_a_file_of_its_own(folder, ran):
    for name in ("openshell_kernel/__init__.py", "openshell_kernel/errors.py", "ruamel/yaml.py", "ruamel/yaml/x.py"):
        plant(folder / name, folder / "ran")
    with kernels.started(cwd=folder) as kernel:
        assert kernel.run("1 + 1").text == "2"
        assert "version: 1" in kernel.run("%policy show --yaml").text
        assert "can be read" in kernel.run("%policy why /usr").text or "/usr" in kernel.run("%policy why /usr").text
        assert ran() == []


def test_the_same_file_runs_in_a_plain_kernel(folder, ran):
    plant(folder / "ipykernel_launcher.py", folder / "ran")
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(folder), stderr=subprocess.DEVNULL)
    try:
        kernels.eventually(lambda: ran() == ["ipykernel_launcher.py"], "the file of the folder runs")
    finally:
        manager.shutdown_kernel(now=True)


def test_modules_beside_the_notebook_are_imported_by_cells_as_in_a_plain_kernel(folder):
    (folder / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "papermill.py").write_text("mine = True\n")
    (folder / "json.py").write_text("mine = True\n")
    (folder / "part").mkdir()
    (folder / "part" / "of.py").write_text("x = 3\n")
    cells = (
        "import helper, papermill, part.of; print(helper.double(2), papermill.mine, part.of.x)",
        "import json; print(hasattr(json, 'mine'))",
        "import multiprocessing as mp; print(mp.get_context(HOW).Pool(1).map(helper.double, [4]))",
        "import sys; print(sys.path.index(''), '' in sys.path, sys.flags.isolated, sys.flags.safe_path if sys.version_info >= (3, 11) else 0)",
        "import os.path; print(os.path.basename(sys.argv[0]), sys.argv[1], len(sys.argv) >= 3)",
        "open('script.py', 'w').write('import helper, sys; print(helper.double(5), sys.argv, __name__)')",
        "%run script.py a b",
        "!{sys.executable} script.py c",
        "print(__name__, sys.modules['__main__'].__dict__ is globals())",
        "class Own: pass\nimport pickle; print(type(pickle.loads(pickle.dumps(Own()))) is Own)",
    )
    said = {}
    for name in ("python3", "openshell-gpu"):
        with kernels.started(name, cwd=folder) as kernel:
            said[name] = [kernel.run(cell.replace("HOW", "'spawn'")) for cell in cells]
            said[name] += [kernel.run(cells[2].replace("HOW", "'forkserver'"))]
    assert [output.text for output in said["openshell-gpu"]] == [output.text for output in said["python3"]]
    assert [output.error for output in said["openshell-gpu"]] == [""] * (len(cells) + 1)
    assert said["openshell-gpu"][0].text == "4 True 3\n"


@pytest.fixture
def home(user, folder):
    """The private home of the folder's kernels, as an earlier kernel may have left it."""
    with kernels.started(cwd=folder) as kernel:
        return Path(kernel.value("__import__('os').environ['HOME']"))


def test_nothing_that_ipython_would_run_from_the_home_runs_before_the_first_cell(folder, home, ran):
    profile = home / ".ipython" / "profile_default"
    places = ("startup/first.py", "startup/second.ipy", "ipython_config.py", "ipython_kernel_config.py")
    for place in places:
        (profile / place).parent.mkdir(parents=True, exist_ok=True)
        (profile / place).write_text(f"open({str(folder / 'ran')!r} + '/home', 'w')\n{FORGERY}")
    (profile / "ipython_kernel_config.json").write_text(
        '{"IPKernelApp": {"exec_lines": ["open(\'ran/json\', \'w\')"]}}'
    )
    plant(home / ".ipython" / "extensions" / "openshell_kernel" / "__init__.py", folder / "ran")
    (profile / "db").mkdir(exist_ok=True)
    (profile / "db" / "rootmodules_cache").write_bytes(pickle.dumps(Opens(str(folder / "ran" / "cache"))))
    with kernels.started(cwd=folder) as kernel:
        ask_before_the_first_cell(kernel)
        assert "FORGED" not in kernel.run("%policy show").text
        assert ran() == []


def test_the_same_files_run_where_a_plain_kernel_has_that_home(folder, home, ran, monkeypatch):
    startup = home / ".ipython" / "profile_default" / "startup" / "first.py"
    startup.parent.mkdir(parents=True, exist_ok=True)
    startup.write_text(f"open({str(folder / 'ran')!r} + '/home', 'w')\n{FORGERY}")
    monkeypatch.setenv("IPYTHONDIR", str(home / ".ipython"))
    with kernels.started("python3", cwd=folder) as kernel:
        assert kernel.run("%policy show").text == "FORGED\n"
        assert ran() == ["home"]


def test_history_and_stored_variables_are_there_again(folder):
    with kernels.started(cwd=folder) as kernel:
        kernel.run("kept = [1, 2]")
        assert kernel.run("%store kept").error == ""
    with kernels.started(cwd=folder) as kernel:
        assert "kept = [1, 2]" in kernel.run("%history -g kept =").text
        assert "kept" in kernel.run("%store").text
        kernel.run("%store -r kept")
        assert kernel.value("kept") == [1, 2]


@pytest.fixture
def with_user_packages(user, tmp_path):
    """A kernelspec whose Python imports the packages of the user, which a virtual environment's does not by itself."""
    environment = tmp_path / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", environment],
        check=True,
    )
    version = "python{}.{}".format(*sys.version_info)
    ours = Path(importlib.metadata.distribution("ipykernel").locate_file(""))
    line = f"import site; site.addsitedir({str(ours)!r})\n"
    (environment / "lib" / version / "site-packages" / "tests.pth").write_text(line)
    spec = user / ".local" / "share" / "jupyter" / "kernels" / "with-user-packages"
    spec.mkdir(parents=True)
    command = [str(environment / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    provisioner = {"kernel_provisioner": {"provisioner_name": "openshell-provisioner"}}
    described = {"argv": command, "display_name": "x", "language": "python", "metadata": provisioner}
    (spec / "kernel.json").write_text(json.dumps(described))
    return "with-user-packages", Path(".local", "lib", version, "site-packages")


def test_packages_that_pip_installed_into_the_home_are_imported_and_run_nothing_by_themselves(
    folder, home, ran, with_user_packages
):
    name, packages = with_user_packages
    site = home / packages
    site.mkdir(parents=True)
    (site / "of_the_notebook.py").write_text("x = 1\n")
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "editable.py").write_text("x = 2\n")
    hook = f"import os; os.close(os.open({str(folder / 'ran')!r} + '/pth', os.O_CREAT | os.O_WRONLY))\n"
    (site / "editable.pth").write_text(f"{hook}{home / 'elsewhere'}\n")
    for module in ("sitecustomize", "usercustomize", "openshell_kernel", "ipykernel", "ipykernel_launcher", "IPython"):
        plant(site / f"{module}.py", folder / "ran")
    with kernels.started(name, cwd=folder) as kernel:
        ask_before_the_first_cell(kernel)
        assert kernel.run("%policy show").error == ""
        assert ran() == []
        assert kernel.value("(__import__('of_the_notebook').x, __import__('editable').x)") == (1, 2)
        assert ran() == []
        # What a cell starts is as it is everywhere.
        with contextlib.suppress(KeyError):
            kernel.run("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])")
        assert "pth" in ran()


@pytest.mark.parametrize("argv", [("-m", "ipykernel_launcher"), ("-Xfrozen_modules=off", "-m", "ipykernel")])
def test_other_kernelspecs_that_choose_the_provisioner_are_started_so_too(user, folder, ran, argv):
    for module in ("ipykernel_launcher", "ipykernel", "IPython", "zmq"):
        plant(folder / f"{module}.py", folder / "ran")
    spec = user / ".local" / "share" / "jupyter" / "kernels" / "other"
    spec.mkdir(parents=True)
    provisioner = {"kernel_provisioner": {"provisioner_name": "openshell-provisioner"}}
    described = {"argv": [sys.executable, *argv, "-f", "{connection_file}"], "display_name": "x", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps({**described, "metadata": provisioner}))
    with kernels.started("other", cwd=folder) as kernel:
        assert "Enforced" in kernel.run("%policy show").text
        assert ran() == []


def gpu_check(folder, *words):
    command = [str(Path(sys.executable).with_name("jupyter")), "openshell", "gpu-check", "--json", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=kernels.SECONDS * 2)


def test_gpu_check_runs_in_an_empty_folder_with_the_policy_of_this_one(folder, ran, write_policy):
    for name in ("ipykernel_launcher", "ipykernel", "IPython", "openshell_kernel"):
        plant(folder / f"{name}.py", folder / "ran")
    path = write_policy("version: 1\njupyter: {gpu: {request: none}}\n")
    done = gpu_check(folder)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert str(path) in told["policy"]
    assert ("request: none" in told["gpus"], told["given"]) == (True, False)
    assert told["sandbox"].startswith("enforced, Landlock ABI")
    assert ran() == []


def test_gpu_check_takes_the_folders_own_policy_once_that_is_trusted(folder):
    (folder / "openshell-policy.yaml").write_text("version: 1\njupyter: {gpu: {request: none}}\n")
    assert gpu_check(folder).returncode == 4
    program = Path(sys.executable).with_name("jupyter")
    subprocess.run(
        [program, "openshell", "trust", "openshell-policy.yaml"], cwd=folder, check=True, capture_output=True
    )
    done = gpu_check(folder)
    assert f"{folder}/openshell-policy.yaml" in json.loads(done.stdout)["policy"]


LIAR = """\
import sys
del sys.path[0]
from ipykernel.kernelapp import IPKernelApp
app = IPKernelApp.instance()
app.initialize(sys.argv[1:])
said = '{"policy": "FORGED", "gpus": "FORGED", "given": true, "ok": true, "steps": [], "sandbox": "FORGED"}'
app.shell.register_magic_function(lambda line: print(said), "line", "policy")
app.start()
"""


def test_gpu_check_believes_no_kernel_about_its_policy(user, folder):
    spec = user / ".local" / "share" / "jupyter" / "kernels" / "liar"
    spec.mkdir(parents=True)
    provisioner = {"kernel_provisioner": {"provisioner_name": "openshell-provisioner"}}
    command = [sys.executable, "-c", LIAR, "-f", "{connection_file}"]
    described = {"argv": command, "display_name": "x", "language": "python", "metadata": provisioner}
    (spec / "kernel.json").write_text(json.dumps(described))
    with kernels.started("liar", cwd=folder) as kernel:
        assert "FORGED" in kernel.run("%policy show").text
    done = gpu_check(folder, "--kernel", "liar")
    assert done.returncode == 3, done.stderr
    assert "FORGED" not in done.stdout
    assert "built-in policy" in json.loads(done.stdout)["policy"]
