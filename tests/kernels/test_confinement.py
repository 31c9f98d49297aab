"""A real OpenShell GPU kernel does its work and reaches nothing else; a plain kernel does, which shows the difference."""

import logging
import os
import sys

import pytest
from jupyter_client.manager import KernelManager
from support import kernels
from support.errors import check_message

MINIMAL = "version: 1\nfilesystem_policy: {include_workdir: false}\n"


@pytest.fixture
def kernel(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        yield kernel


def test_a_notebook_works_in_its_folder_and_cannot_read_a_key(kernel, user):
    kernel.run("open('result.txt', 'w').write('done')")
    assert (user / "notebooks" / "result.txt").read_text() == "done"
    secret = f"open({str(user / '.ssh' / 'id_ed25519')!r}).read()"
    assert kernel.run(secret).error.startswith("PermissionError: [Errno 13]")
    with kernels.started("python3", cwd=user / "notebooks") as plain:
        assert plain.value(secret) == "SECRET"


def test_a_notebook_moves_and_links_files_from_one_folder_to_another(kernel, user):
    kernel.run("import os; os.mkdir('cache'); open('new', 'w').write('x')")
    assert kernel.run("os.replace('new', 'cache/file'); os.link('cache/file', 'again')").error == ""
    assert (user / "notebooks" / "again").samefile(user / "notebooks" / "cache" / "file")
    assert kernel.run("import tempfile; os.mkdir(tempfile.gettempdir() + '/a')").error == ""
    moved = "path = tempfile.mkstemp()[1]; os.replace(path, tempfile.gettempdir() + '/a/b')"
    assert kernel.run(moved).error == ""


def test_completion_of_paths_offers_no_names_of_python_where_folders_cannot_be_listed(kernel, user):
    def offered(typed):
        message = kernel.client.complete(typed, reply=True, timeout=kernels.SECONDS)
        return message["content"]["matches"]

    assert kernel.run("import os; os.listdir('/')").error.startswith("PermissionError")
    assert offered("%policy why /us") == ["/usr/"]
    assert offered(f"%policy why {user}/.ss") == [f"{user}/.ss"]


def test_a_subprocess_is_confined_too(kernel, user):
    assert "Permission denied" in kernel.run(f"!cat {user}/.ssh/id_ed25519").text


def test_a_module_of_the_notebooks_folder_does_not_run_before_confinement(user):
    for name in ("json", "landlock", "sitecustomize", "usercustomize", "openshell_kernel"):
        code = f"open({str(user / 'ran')!r}, 'w').write({name!r})\n"
        (user / "notebooks" / f"{name}.py").write_text(code)
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.value("1 + 1") == 2
    assert not (user / "ran").exists()


def test_descriptors_of_the_server_do_not_reach_the_kernel(user):
    fd = os.open(user / ".ssh" / "id_ed25519", os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        with kernels.started(cwd=user / "notebooks") as kernel:
            links = kernel.value(
                "[__import__('os').readlink(f'/proc/self/fd/{fd}') "
                "for fd in __import__('os').listdir('/proc/self/fd') if __import__('os').path.islink(f'/proc/self/fd/{fd}')]"
            )
    finally:
        os.close(fd)
    assert not [link for link in links if str(user / ".ssh") in link]


def test_the_record_of_the_sandbox_cannot_be_changed(kernel):
    code = """
import os
fd = int(os.environ["OPENSHELL_SNAPSHOT_FD"])
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
results = [attempt(os.pwrite, fd, b"x", 0), attempt(os.ftruncate, fd, 0)]
try:
    other = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
except OSError as error:
    results.append(error.errno)
else:
    results.append(attempt(os.pwrite, other, b"x", 0))
print(results)
"""
    refusals = eval(kernel.run(code).text, {})  # noqa: S307 - a repr that the test asked for
    assert all(refusals), refusals


class TestMinimalPolicy:
    """The runtime baseline alone carries everyday work."""

    @pytest.fixture
    def kernel(self, user, write_policy):
        write_policy(MINIMAL)
        with kernels.started(cwd=user / "notebooks") as kernel:
            yield kernel

    def test_the_folder_is_not_granted(self, kernel):
        assert kernel.run("open('x', 'w')").error.startswith("PermissionError")

    def test_shell_commands_run(self, kernel):
        assert "local" in kernel.run("!ls /usr").text

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_multiprocessing_works(self, kernel, method):
        code = f"""
import multiprocessing
context = multiprocessing.get_context({method!r})
with context.Pool(2) as pool:
    print(pool.map(abs, [-1, -2]))
with context.Manager() as manager:
    print(list(manager.list([1])))
"""
        output = kernel.run(code)
        assert (output.error, output.text) == ("", "[1, 2]\n[1]\n")

    def test_matplotlib_draws_inline(self, kernel):
        output = kernel.run("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")
        assert (output.error, "image/png" in output.data) == ("", True)

    def test_temporary_files_work(self, kernel):
        assert kernel.run("import tempfile; tempfile.NamedTemporaryFile().write(b'x')").error == ""

    def test_completion_works(self, kernel):
        kernel.run("import os")
        reply = kernel.client.complete("os.listd", reply=True, timeout=kernels.SECONDS)
        assert "listdir" in str(reply["content"]["matches"])
        reply = kernel.client.complete("%policy sh", reply=True, timeout=kernels.SECONDS)
        assert "show" in reply["content"]["matches"]

    def test_pseudo_terminals_work(self, kernel):
        assert kernel.run("import pty; a, b = pty.openpty(); import os; print(os.get_terminal_size(b))").error == ""

    def test_asyncio_subprocesses_and_pip_work(self, kernel):
        code = f"""
import asyncio
process = await asyncio.create_subprocess_exec({sys.executable!r}, "-m", "pip", "--version", stdout=-1)
print((await process.communicate())[0].decode())
"""
        assert kernel.run(code).text.startswith("pip ")


def test_a_shutdown_ends_the_kernels_children_although_the_policy_does_not_name_proc_and_logs_no_trace(
    user, write_policy, capfd
):
    write_policy(MINIMAL)
    manager = KernelManager(kernel_name="openshell-gpu")
    manager.start_kernel(cwd=str(user / "notebooks"))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=kernels.SECONDS)
    kernel = kernels.Kernel(manager, client)
    # Jupyter interrupts a kernel before it shuts it down.
    uninterrupted = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    code = f"import signal, subprocess\nsubprocess.Popen(['sleep', '1000'], preexec_fn=lambda: {uninterrupted})"
    assert kernel.run(code).error == ""
    assert kernel.run("import os; os._exit(0) if os.fork() == 0 else os.wait()").error == ""
    session = kernel.pid
    assert len(kernels.processes(session)) == 2
    manager.shutdown_kernel()
    client.stop_channels()
    kernels.eventually(lambda: not kernels.processes(session), "the end of the kernel's processes")
    assert "Traceback" not in capfd.readouterr().err


def test_the_home_directory_as_working_directory_is_not_granted_and_the_kernel_says_so(user):
    with kernels.started(cwd=user) as kernel:
        output = kernel.run("open('x', 'w')")
        assert output.error.startswith("PermissionError")
        assert str(user) in output.text
        assert kernel.run("open('.ssh/id_ed25519')").error.startswith("PermissionError")
        (skipped,) = kernel.record()["effective"]["skipped"]
    assert (skipped["path"], skipped["origin"]) == (str(user), "workdir")
    assert "include_workdir" not in skipped["why"]


def test_a_policy_that_does_not_include_the_notebooks_folder_says_so_with_the_line_to_add(user, write_policy):
    write_policy("version: 1\nfilesystem_policy: {read_only: [/usr, /proc]}\n")
    with kernels.started(cwd=user / "notebooks") as kernel:
        output = kernel.run("open('x', 'w')")
        assert output.error.startswith("PermissionError")
        assert f"{user}/notebooks" in output.text
        assert "include_workdir: true" in kernel.shown()
    write_policy("version: 1\nfilesystem_policy: {read_only: [/usr, /proc], include_workdir: true}\n")
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.run("open('x', 'w')").error == ""


def test_python_can_read_the_sitecustomize_that_it_imports(kernel):
    """Debian's is a link into /etc; %autoreload reads the source of every module, and so does Python without a cache."""
    code = "import sys\nfor module in filter(None, [sys.modules.get('sitecustomize')]): open(module.__file__).read()"
    assert kernel.run(code).error == ""


def test_the_log_tells_the_policy_and_what_of_it_was_not_granted(user, write_policy, caplog):
    """Who runs notebooks without looking at them does not see %policy show."""
    listed = "include_workdir: false, read_only: [/usr, /proc, /nowhere/data]"
    path = write_policy(f"version: 1\nfilesystem_policy: {{{listed}}}\n")
    with caplog.at_level(logging.INFO), kernels.started(cwd=user / "notebooks"):
        logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [text for level, text in logged if level == "INFO" and str(path) in text]
    (warned,) = [text for level, text in logged if level == "WARNING"]
    check_message(warned, "/nowhere/data", at="OpenShell")


@pytest.mark.parametrize("place", [".ssh", ".config/jupyter", ".local/share/jupyter/kernels"])
def test_a_working_directory_among_settings_or_credentials_is_not_granted(user, place):
    (user / place).mkdir(parents=True, exist_ok=True)
    with kernels.started(cwd=user / place) as kernel:
        assert kernel.run("open('x', 'w')").error.startswith("PermissionError")


def test_a_working_directory_that_holds_the_python_environment_is_not_granted(user):
    with kernels.started(cwd=os.path.dirname(sys.prefix)) as kernel:
        assert kernel.run("open('x', 'w')").error.startswith("PermissionError")


def test_the_home_directory_of_another_account_is_not_granted_although_this_user_may_write_it(user, monkeypatch):
    other = user / "alice"
    (other / ".ssh").mkdir(parents=True)
    (other / ".bashrc").write_text("")
    monkeypatch.setenv("HOME", str(user / "notebooks"))
    with kernels.started(cwd=other) as kernel:
        assert kernel.run("open('.bashrc', 'a')").error.startswith("PermissionError")
        (skipped,) = kernel.record()["effective"]["skipped"]
    assert f"{other}/.ssh" in skipped["why"]
