"""What a real kernel sees of the server's environment, and the home that it is given instead of the user's."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import ipykernel
import pytest
from jupyter_client.manager import KernelManager
from support import kernels
from support.errors import check_message, refused

from openshell_kernel.errors import ConfigurationError, LaunchError

TOKENS = {
    "JUPYTERHUB_API_TOKEN": "canary-hub-5ad1",
    "JPY_API_TOKEN": "canary-server-5ad1",
    "JUPYTER_TOKEN": "canary-jupyter-5ad1",
    "AWS_SECRET_ACCESS_KEY": "canary-aws-5ad1",
    "NVIDIA_API_KEY": "canary-nvidia-5ad1",
    "MY_DB": "postgresql://canary-db-5ad1",
    "HTTPS_PROXY": "http://me:canary-proxy-5ad1@proxy:3128",
    "LD_PRELOAD_NOT": "canary-loader-5ad1",
}

# Reads whatever this process may, looks for the canary in it, and prints where it was found. The word is put together
# here, because the code of the cell is in the kernel's memory and history too.
SEARCH = """
import glob, os, subprocess, sys
word = ("canary" + "-").encode()
found, read = [], 0
def look(name, content):
    global read
    read += 1
    if word in content:
        found.append(name)
look("os.environ", repr(dict(os.environ)).encode())
look("child", subprocess.run(["env"], capture_output=True).stdout)
look("snapshot", os.pread(int(os.environ["OPENSHELL_SNAPSHOT_FD"]), 1 << 24, 0))
own = f"/proc/{os.getpid()}"
look("own environ", open(f"{own}/environ", "rb").read())
for pattern in ("/proc/*/environ", f"{own}/task/*/environ", "/proc/*/cmdline", CONNECTION):
    for name in glob.glob(pattern):
        try:
            with open(name, "rb") as stream:
                look(name, stream.read())
        except OSError:
            pass
for folder in (os.environ["HOME"], os.environ["TMPDIR"], os.environ["XDG_RUNTIME_DIR"], os.getcwd()):
    for name in glob.glob(folder + "/**", recursive=True, include_hidden=True) if sys.version_info >= (3, 11) else ():
        if os.path.isfile(name) and not name.endswith(".sqlite"):
            with open(name, "rb") as stream:
                look(name, stream.read())
print(found, read > 8)
"""
MODE = "__import__('stat').S_IMODE(__import__('os').stat({}).st_mode)"
PLACES = ("HOME", "TMPDIR", "IPYTHONDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")


def search(kernel):
    connection = kernel.manager.connection_file if kernel.manager else "/nothing"
    return kernel.run(f"CONNECTION = {connection!r}\n{SEARCH}").text.strip()


@pytest.fixture
def tokens(user, monkeypatch):
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)


def test_no_token_of_the_server_is_anywhere_in_the_kernel(user, tokens):
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert search(kernel) == "[] True"
        assert "withheld" in kernel.run("%policy show").text
        listed = kernel.run("%policy env").text
    assert all(name in listed for name in TOKENS)
    assert "canary" not in listed


def test_the_search_finds_them_in_a_kernel_that_is_not_confined(user, tokens):
    with kernels.started("python3", cwd=user / "notebooks") as kernel:
        code = SEARCH.replace('look("snapshot", os.pread(int(os.environ["OPENSHELL_SNAPSHOT_FD"]), 1 << 24, 0))', "")
        code = code.replace('os.environ["TMPDIR"], os.environ["XDG_RUNTIME_DIR"]', '"/nothing"').replace(
            "HOME", "TMPDIR"
        )
        assert "/environ'" in kernel.run(f"CONNECTION = '/nothing'\n{code}").text


def test_no_process_of_the_kernel_ever_held_a_token(user, tokens):
    """Not the launcher before the kernel either: it becomes the kernel, and its environment is given to it anew."""
    with kernels.started(cwd=user / "notebooks") as kernel:
        for pid in kernels.processes(kernel.pid):
            assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert b"canary" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_policy_and_the_kernelspec_and_the_operator_add_variables(user, tokens, write_policy):
    write_policy(
        "version: 1\njupyter:\n  environment:\n    pass: [AWS_SECRET_ACCESS_KEY, MY_*]\n    set: {FROM_POLICY: 'p', BOTH: 'p'}\n"
    )
    manager = KernelManager(kernel_name="openshell-gpu")
    manager.kernel_spec.env = {"FROM_SPEC": "s", "COPIED": "${MY_DB}"}
    manager.kernel_spec.metadata["kernel_provisioner"]["config"] = {"environment": {"set": {"BOTH": "o"}}}
    manager.start_kernel(cwd=str(user / "notebooks"))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=kernels.SECONDS)
        kernel = kernels.Kernel(manager, client)
        seen = kernel.value("dict(__import__('os').environ)")
        printed = kernel.run("%policy show --json").text
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert seen["AWS_SECRET_ACCESS_KEY"] == TOKENS["AWS_SECRET_ACCESS_KEY"]
    assert (seen["MY_DB"], seen["COPIED"]) == (TOKENS["MY_DB"],) * 2
    assert (seen["FROM_SPEC"], seen["FROM_POLICY"], seen["BOTH"]) == ("s", "p", "o")
    assert "JUPYTERHUB_API_TOKEN" not in seen
    assert "canary" not in printed
    assert json.loads(printed)["effective"]["declared"]["jupyter"]["environment"]["set"]["FROM_POLICY"] is None


@pytest.mark.parametrize("target", [".ssh", "Documents"])
@pytest.mark.parametrize("variable", ["PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_DIR"])
def test_a_folder_that_a_variable_names_is_granted_and_a_link_in_its_place_is_not(user, monkeypatch, variable, target):
    source = user / "other" / "src"
    source.mkdir(parents=True)
    (source / "mine.py").write_text("x = 1")
    (user / "Documents").mkdir()
    (user / target / "secret").write_text("")
    monkeypatch.setenv(variable, str(source))
    read = f"open({str(source / 'secret')!r})"
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.value(f"open({str(source / 'mine.py')!r}).read()") == "x = 1"
        assert kernel.run(read).error.startswith("FileNotFoundError")
        # Whoever may write the folder above can do this.
        source.rename(user / "other" / "gone")
        source.symlink_to(user / target)
        kernel.restart()
        assert kernel.run(read).error.startswith("PermissionError")
        notices = kernel.record()["effective"]["notices"]
    (told,) = [notice for notice in notices if variable in notice]
    check_message(told, user / target, source)


@pytest.mark.skipif(not os.path.islink("/var/run"), reason="this system has no link there")
def test_a_link_of_the_systems_that_a_variable_names_is_followed(user, monkeypatch):
    monkeypatch.setenv("SSL_CERT_DIR", "/var/run/lock")
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.run("__import__('os').listdir('/var/run/lock')").error == ""


def test_a_mistake_in_the_operators_environment_is_told(user):
    manager = KernelManager(kernel_name="openshell-gpu")
    manager.kernel_spec.metadata["kernel_provisioner"]["config"] = {"environment": {"set": {"A": 1}}}
    with refused(ConfigurationError, at="OpenShellProvisioner.environment.set.A"):
        manager.start_kernel(cwd=str(user / "notebooks"))


class TestHome:
    """Private, warm the next time, and of use to programs."""

    def test_every_folder_that_programs_keep_files_in_is_private(self, user):
        with kernels.started(cwd=user / "notebooks") as kernel:
            environ = kernel.value("dict(__import__('os').environ)")
            assert kernel.value("__import__('os').path.expanduser('~')") == environ["HOME"]
            homes = user / ".local" / "share" / "openshell" / "homes"
            assert os.path.dirname(environ["HOME"]) == str(homes)
            assert os.path.basename(environ["HOME"]).startswith("notebooks-")
            for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR"):
                assert kernel.value(MODE.format(repr(environ[name]))) == 0o700
                # ipykernel adds the sticky bit to the folder of its connection file.
                assert os.stat(os.path.dirname(environ[name])).st_mode & 0o777 == 0o700
            for name in PLACES:
                file = f"{environ[name]}/made"
                assert not kernel.run(
                    f"import os; os.makedirs({environ[name]!r}, exist_ok=True); open({file!r}, 'w')"
                ).error
            assert kernel.run(f"open({str(homes / 'x')!r}, 'w')").error.startswith("PermissionError")
            assert kernel.run(f"import os; os.listdir({str(homes)!r})").error.startswith("PermissionError")
            for each in ("config_dir", "data_dir", "runtime_dir"):
                asked = f"__import__('jupyter_core.paths').paths.jupyter_{each}()"
                assert kernel.value(asked).startswith(environ["HOME"])

    def test_caches_are_there_again_at_the_next_start_and_nothing_else(self, user):
        remember = (
            "import os; open(os.path.expanduser('~/.cache-of-mine'), 'w'); open(os.environ['TMPDIR'] + '/x', 'w')"
        )
        with kernels.started(cwd=user / "notebooks") as kernel:
            kernel.run(remember)
            kernel.run("import matplotlib.font_manager")
            first = kernel.value("(os.environ['HOME'], os.environ['TMPDIR'])")
        with kernels.started(cwd=user / "notebooks") as kernel:
            home, temporary = kernel.value("(__import__('os').environ['HOME'], __import__('os').environ['TMPDIR'])")
            assert kernel.value("__import__('os').path.exists(__import__('os').path.expanduser('~/.cache-of-mine'))")
            assert kernel.value("__import__('glob').glob(__import__('os').environ['MPLCONFIGDIR'] + '/fontlist*')")
            # But a link into the cache, which PyTorch looks for here.
            left = kernel.value(
                f"[entry.name for entry in __import__('os').scandir({temporary!r}) if not entry.is_symlink()]"
            )
            assert left == []
        assert home == first[0]
        assert temporary != first[1]
        assert not os.path.exists(temporary)

    def test_another_folder_has_another_home_that_is_out_of_reach(self, user):
        (user / "other").mkdir()
        with kernels.started(cwd=user / "notebooks") as kernel:
            first = kernel.value("__import__('os').environ['HOME']")
        with kernels.started(cwd=user / "other") as kernel:
            assert kernel.value("__import__('os').environ['HOME']") != first
            assert kernel.run(f"import os; os.listdir({first!r})").error.startswith("PermissionError")

    def test_a_home_is_not_granted_as_a_working_directory(self, user):
        with kernels.started(cwd=user / "notebooks") as kernel:
            first = kernel.value("__import__('os').environ['HOME']")
        with kernels.started(cwd=first) as kernel:
            assert kernel.run("open('x', 'w')").error.startswith("PermissionError")

    def test_one_that_is_not_kept_is_gone_with_the_kernel(self, user, write_policy):
        write_policy("version: 1\njupyter: {home: ephemeral}\n")
        with kernels.started(cwd=user / "notebooks") as kernel:
            home = kernel.value("__import__('os').environ['HOME']")
            assert kernel.run("open(__import__('os').path.expanduser('~/x'), 'w')").error == ""
            assert kernel.record()["effective"]["home"]["kind"] == "ephemeral"
            kernel.restart()
            assert kernel.value("1 + 1") == 2
        assert not os.path.exists(home)
        assert not (user / ".local" / "share" / "openshell" / "homes").exists()

    def test_two_kernels_of_a_folder_share_it_at_once(self, user):
        with kernels.started(cwd=user / "notebooks") as one, kernels.started(cwd=user / "notebooks") as two:
            one.run("open(__import__('os').path.expanduser('~/shared'), 'w').write('1')")
            assert two.value("open(__import__('os').path.expanduser('~/shared')).read()") == "1"
            assert one.value("1") == two.value("1")

    def test_a_link_in_its_place_is_refused(self, user):
        with kernels.started(cwd=user / "notebooks") as kernel:
            home = kernel.value("__import__('os').environ['HOME']")
        os.rename(home, f"{home}-moved")
        os.symlink(user / ".ssh", home)
        with refused(LaunchError, at=home):
            KernelManager(kernel_name="openshell-gpu").start_kernel(cwd=str(user / "notebooks"))

    def test_history_and_completion_work(self, user):
        with kernels.started(cwd=user / "notebooks") as kernel:
            kernel.run("remembered = 1")
            reply = kernel.client.complete("remembe", reply=True, timeout=kernels.SECONDS)
            assert "remembered" in reply["content"]["matches"]
            assert kernel.run("%config HistoryManager.enabled").text == "True"
            assert (
                str(user / ".local" / "share" / "openshell" / "homes")
                in kernel.run("%config HistoryManager.hist_file").text
            )
        with kernels.started(cwd=user / "notebooks") as kernel:
            assert "remembered = 1" in kernel.run("%history -g remembered").text


@pytest.fixture
def with_user_packages(user, tmp_path):
    """A kernelspec whose Python imports the user's own packages, a package that pip can install, and one of the user."""
    environment = tmp_path / "venv"
    venv.create(environment, system_site_packages=True, with_pip=False)
    python = str(environment / "bin" / "python")
    command = [python, "-c", "import site, sys; print(site.getusersitepackages()); print(sys.path[-1])"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    # The packages of the tests' environment, pip and ipykernel among them.
    version = "python{}.{}".format(*sys.version_info)
    packages = Path(ipykernel.__file__).parents[1]
    line = f"import site; site.addsitedir({str(packages)!r})\n"
    (environment / "lib" / version / "site-packages" / "tests.pth").write_text(line)
    os.makedirs(told[0])
    (Path(told[0]) / "of_the_user.py").write_text("x = 'of the user'\n")
    project = user / "notebooks" / "package"
    project.mkdir()
    wheel = project / "of_the_notebook-1-py3-none-any.whl"
    make = (
        "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1], 'w'); z.writestr('of_the_notebook.py', 'x = 1\\n'); "
        "d = 'of_the_notebook-1.dist-info'; "
        "z.writestr(d + '/METADATA', 'Metadata-Version: 2.1\\nName: of-the-notebook\\nVersion: 1\\n'); "
        "z.writestr(d + '/WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'); "
        "z.writestr(d + '/RECORD', '')"
    )
    subprocess.run([sys.executable, "-c", make, wheel], check=True)
    spec = user / ".local" / "share" / "jupyter" / "kernels" / "with-user-packages"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "x",
                "language": "python",
                "metadata": {"kernel_provisioner": {"provisioner_name": "openshell-provisioner"}},
            }
        )
    )
    return "with-user-packages", str(wheel), Path(told[0])


def test_pip_installs_into_the_home_and_the_users_own_packages_stay_importable(user, with_user_packages):
    name, wheel, site = with_user_packages
    with kernels.started(name, cwd=user / "notebooks") as kernel:
        assert kernel.value("__import__('of_the_user').x") == "of the user"
        output = kernel.run(f"%pip install --user --no-index --no-deps {wheel}")
        assert "Successfully installed of-the-notebook-1" in output.text
    with kernels.started(name, cwd=user / "notebooks") as kernel:
        assert kernel.value("__import__('of_the_notebook').__file__").startswith(
            kernel.value("__import__('os').environ['HOME']")
        )
        assert kernel.value("__import__('of_the_user').x") == "of the user"
        assert kernel.run(f"open({str(site / 'evil.pth')!r}, 'w')").error.startswith("PermissionError")
    assert not (site / "of_the_notebook.py").exists()


def test_code_among_the_users_own_packages_does_not_run_before_confinement(user, with_user_packages):
    name, _, site = with_user_packages
    probe = user / "ran"
    (site / "x.pth").write_text(f"import os; os.path.exists({str(user)!r}) and open({str(probe)!r}, 'w')\n")
    (site / "usercustomize.py").write_text(f"open({str(probe)!r}, 'w')\n")
    with kernels.started(name, cwd=user / "notebooks") as kernel:
        assert kernel.value("1 + 1") == 2
    assert not probe.exists()


def test_a_client_that_ignores_provisioners_gets_the_same_and_leaves_no_token_behind(user, tokens):
    from kernels.test_standalone import Process  # noqa: PLC0415 - its tests are not this module's

    process = Process(user)
    try:
        client = process.client()
        kernel = kernels.Kernel(None, client)
        assert search(kernel) == "[] True"
        janitors = [
            pid
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if b"openshell_kernel.server.process.janitor" in _content(f"/proc/{pid}/cmdline")
            and tempfile.gettempdir().encode() in _content(f"/proc/{pid}/cmdline")
        ]
        assert len(janitors) == 1
        assert b"canary" not in _content(f"/proc/{janitors[0]}/environ")
        client.stop_channels()
    finally:
        process.process.kill()
        process.process.communicate()


def _content(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


@pytest.fixture
def programs_out_of_reach(user, monkeypatch):
    """A `python` that comes first on the server's PATH, in a folder that no notebook may read."""
    folder = user / "bin"
    folder.mkdir()
    (folder / "python").write_text("#!/bin/sh\necho another\n")
    (folder / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/nonexistent/bin:/usr/bin:/bin")
    return folder


PROGRAMS = "!python -c 'import sys; print(sys.prefix)'\n!command -v pip\n!ls /usr > /dev/null && echo listed"


def test_commands_of_the_kernels_own_environment_are_found_first(user, programs_out_of_reach):
    with kernels.started(cwd=user / "notebooks") as kernel:
        prefix, pip, listed = kernel.run(PROGRAMS).text.split()
        assert (prefix, pip, listed) == (sys.prefix, f"{sys.prefix}/bin/pip", "listed")
        for folder in kernel.value("__import__('os').environ['PATH']").split(":"):
            assert kernel.value(f"bool(__import__('os').listdir({folder!r}))")


def test_a_kernel_of_another_environment_finds_that_ones_programs(user, with_user_packages):
    with kernels.started(with_user_packages[0], cwd=user / "notebooks") as kernel:
        prefix = kernel.value("__import__('sys').prefix")
        assert prefix != sys.prefix
        assert kernel.run("!python -c 'import sys; print(sys.prefix)'").text.split() == [prefix]


def test_without_the_sandbox_the_servers_path_decides(user, programs_out_of_reach):
    with kernels.started("python3", cwd=user / "notebooks") as kernel:
        assert kernel.run("!python -c 1").text.split() == ["another"]


def test_a_path_that_the_policy_sets_stays_as_it_is(user, write_policy):
    write_policy("version: 1\njupyter: {environment: {set: {PATH: '/opt/tools:/usr/bin'}}}\n")
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.value("__import__('os').environ['PATH']") == "/opt/tools:/usr/bin"
