"""A client that ignores provisioners runs the kernelspec's argv as it stands, and gets the same confined kernel."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fakes import nvml as fake
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.kernelspec import get_kernel_spec
from support import kernels


def connected(connection_file):
    """Return a client of a kernel that is starting. The client takes a kernel for dead that does not answer at once."""
    port = json.loads(Path(connection_file).read_text())["hb_port"]

    def listening():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    kernels.eventually(listening, "a kernel that listens")
    client = BlockingKernelClient(connection_file=connection_file)
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=kernels.SECONDS)
    return client


class Process:
    """The kernel as such a client runs it: argv with the connection file filled in, and signals to the process."""

    def __init__(self, user, transport="tcp", **options):
        self.connection_file, _ = write_connection_file(
            str(user / "kernel.json"), transport=transport, ip="" if transport == "tcp" else str(user / "k"), key=b"key"
        )
        spec = get_kernel_spec("openshell-gpu")
        argv = [
            sys.executable if word == "python" else word.replace("{connection_file}", self.connection_file)
            for word in spec.argv
        ]
        options = {"stderr": subprocess.PIPE, "text": True, **options}
        self.process = subprocess.Popen(argv, cwd=user / "notebooks", **options)

    def client(self):
        return connected(self.connection_file)


@pytest.fixture
def process(user):
    process = Process(user)
    yield process
    process.process.kill()
    process.process.communicate()


def test_it_is_confined_like_any_other_and_leaves_nothing(user, process):
    client = process.client()
    kernel = kernels.Kernel(None, client)
    assert kernel.run(f"open({str(user / '.ssh' / 'id_ed25519')!r})").error.startswith("PermissionError")
    assert kernel.run("open('result', 'w').write('x')").error == ""
    assert "Enforced" in kernel.run("%policy show").text
    assert list(Path(tempfile.gettempdir()).glob("openshell-*"))
    client.shutdown()
    assert process.process.wait(kernels.SECONDS) == 0
    client.stop_channels()
    kernels.eventually(lambda: not list(Path(tempfile.gettempdir()).glob("openshell-*")), "the removal of its folder")


REWRITE = """
import os, stat
def attempt(fd):
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode) and "client" in os.readlink(f"/proc/self/fd/{fd}"):
            os.ftruncate(fd, 0)
            return True
    except OSError:
        pass
print([fd for fd in range(256) if attempt(fd)])
"""


@pytest.mark.parametrize("apart", [False, True], ids=["one file for both", "two files"])
def test_a_kernel_cannot_rewrite_the_clients_log_and_its_output_comes_there(user, apart):
    logs = [user / "client-out", user / "client-err"] if apart else [user / "client-log"]
    for log in logs:
        log.write_text("the client's own words\n")
    (user / "client-in").write_text("for the client")
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(log, "a+")) for log in logs]
        stdin = stack.enter_context(open(user / "client-in", "r+"))
        process = Process(user, stdin=stdin, stdout=files[0], stderr=files[-1])
    client = process.client()
    kernel = kernels.Kernel(None, client)
    try:
        assert kernel.run(REWRITE).text == "[]\n"
        assert kernel.value("__import__('os').read(0, 100)") == b""
        kernel.run("import os; os.system('echo to stdout; echo to stderr >&2')")
        for log, words in ((logs[0], "to stdout\n"), (logs[-1], "to stderr\n")):
            kernels.eventually(lambda log=log, words=words: words in log.read_text(), words)
            assert log.read_text().startswith("the client's own words\n")
    finally:
        client.shutdown()
        assert process.process.wait(kernels.SECONDS) == 0
        client.stop_channels()
    assert (user / "client-in").read_text() == "for the client"


def test_a_refusal_comes_into_the_clients_log(user, write_policy):
    write_policy(
        "version: 1\nfilesystem_policy: {read_only: [/nowhere]}\nlandlock: {compatibility: hard_requirement}\n"
    )
    with open(user / "client-log", "w") as log:
        process = Process(user, stdout=log, stderr=log)
    assert process.process.wait(kernels.SECONDS) == 1
    kernels.eventually(lambda: "/nowhere: No such file" in (user / "client-log").read_text(), "the reason")


def test_a_kill_leaves_nothing_either(process):
    client = process.client()
    client.stop_channels()
    process.process.send_signal(signal.SIGKILL)
    process.process.wait()
    kernels.eventually(lambda: not list(Path(tempfile.gettempdir()).glob("openshell-*")), "the removal of its folder")


def test_an_interrupt_reaches_the_kernel(process):
    client = process.client()
    client.execute("print('waiting'); import time; time.sleep(1000)")
    while client.get_iopub_msg(timeout=kernels.SECONDS)["msg_type"] != "stream":
        pass
    process.process.send_signal(signal.SIGINT)
    assert client.get_shell_msg(timeout=kernels.SECONDS)["content"]["ename"] == "KeyboardInterrupt"
    client.stop_channels()


def refused(process):
    _, errors = process.process.communicate(timeout=kernels.SECONDS)
    assert process.process.returncode == 1
    assert "the kernel was not started" in errors
    assert "Traceback" not in errors
    return errors


def test_a_bad_policy_is_refused_in_words(user, write_policy):
    write_policy("version: 1\nfilesystem: {}\n")
    assert "did you mean filesystem_policy?" in refused(Process(user))


def test_a_policy_that_cannot_be_enforced_is_refused_in_words(user, write_policy):
    write_policy(
        "version: 1\nfilesystem_policy: {read_only: [/nowhere]}\nlandlock: {compatibility: hard_requirement}\n"
    )
    assert "/nowhere: No such file or directory" in refused(Process(user))
    kernels.eventually(lambda: not list(Path(tempfile.gettempdir()).glob("openshell-*")), "the removal of its folder")


def test_a_connection_that_cannot_be_confined_is_refused_in_words(user):
    assert "use tcp" in refused(Process(user, transport="ipc"))


def test_it_follows_the_configuration_of_its_kernelspec(user):
    policy = user / "strict.yaml"
    policy.write_text("version: 1\nfilesystem_policy: {}\n")
    spec = user / "kernelspec"
    spec.mkdir()
    (spec / "kernel.json").write_text(
        json.dumps({"metadata": {"kernel_provisioner": {"config": {"policy": str(policy)}}}})
    )
    connection_file, _ = write_connection_file(str(user / "kernel.json"), key=b"key")
    argv = [
        sys.executable,
        "-I",
        "-m",
        "openshell_kernel.sandbox.launcher",
        "--kernelspec",
        str(spec),
        "-f",
        connection_file,
    ]
    process = subprocess.Popen(argv, cwd=user / "notebooks", env={**os.environ})
    try:
        client = connected(connection_file)
        assert kernels.Kernel(None, client).run("open('x', 'w')").error.startswith("PermissionError")
        client.stop_channels()
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mount namespaces need root")
def test_it_holds_the_gpus_that_its_policy_counts_until_it_is_killed(user, tmp_path):
    library = fake.build(tmp_path / "driver")
    fake.configure(library, fake.gpu(0), fake.gpu(3))
    policy = user / "policy.yaml"
    policy.write_text("version: 1\njupyter: {gpu: {count: 1, request: required}}\n")
    tests = Path(__file__).parents[1]
    script = str(tests / "kernels" / "standalone_gpu.py")
    done = subprocess.run(
        [sys.executable, "-m", "support.gpu_machine", str(library), script, str(user)],
        env={**os.environ, "PYTHONPATH": str(tests), "OPENSHELL_SANDBOX_POLICY": str(policy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (gpu,) = told["running"]
    assert told["variable"] == gpu
    assert told["ended"] == []
