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
from support import kernels, programs
from support.errors import check_message

from openshell_kernel.server import gateway

BROKEN = "version: 2\n"
UNENFORCEABLE = """\
version: 1
filesystem_policy:
  read_only: [/nowhere]
landlock: {compatibility: hard_requirement}
"""


def connected(connection_file):
    """Return a client of a kernel that is starting. The client takes a kernel for dead that does not answer at once."""
    connection = json.loads(Path(connection_file).read_text())
    port = connection["hb_port"]

    def listening():
        if connection["transport"] == "ipc":
            return os.path.exists(f"{connection['ip']}-{port}")
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

    def __init__(self, user, transport="tcp", wrapper=(), **options):
        self.connection_file, _ = write_connection_file(
            str(user / "kernel.json"), transport=transport, ip="" if transport == "tcp" else str(user / "k"), key=b"key"
        )
        spec = get_kernel_spec("openshell-gpu")
        argv = [
            sys.executable if word == "python" else word.replace("{connection_file}", self.connection_file)
            for word in spec.argv
        ]
        options = {"stderr": subprocess.PIPE, "text": True, **options}
        self.process = subprocess.Popen([*wrapper, *argv], cwd=user / "notebooks", **options)

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
    write_policy(UNENFORCEABLE)
    with open(user / "client-log", "w") as log:
        process = Process(user, stdout=log, stderr=log)
    kernels.eventually(lambda: "/nowhere: No such file" in (user / "client-log").read_text(), "the reason")
    process.process.kill()
    process.process.wait()


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


def answer(process):
    """Return how a start that was refused answers a cell, again and again; the client's log says the same."""
    client = process.client()
    kernel = kernels.Kernel(None, client)
    outputs = [kernel.run("print('run')") for _ in range(2)]
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
        if ":" in line
    )
    client.shutdown()
    _, errors = process.process.communicate(timeout=kernels.SECONDS)
    client.stop_channels()
    assert process.process.returncode == 0
    assert "Traceback" not in errors
    assert outputs[0] == outputs[1]
    assert outputs[0].text == ""
    # Each line in the log is marked as the kernel's.
    assert all(line in errors for line in outputs[0].error.removeprefix("KernelNotStarted: ").splitlines())
    # It is confined itself.
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    assert int(status["CapEff"], 16) == 0
    return outputs[0].error


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        pytest.param("version: 1\nfilesystem: {}\n", ":2:1: filesystem: ", id="a policy that is no policy"),
        pytest.param(UNENFORCEABLE, "/nowhere: ", id="a policy that the launcher refuses"),
    ],
)
def test_a_refused_start_answers_each_cell_with_the_reason_and_leaves_nothing(user, write_policy, policy, reason):
    write_policy(policy)
    assert reason in answer(Process(user))
    kernels.eventually(lambda: not list(Path(tempfile.gettempdir()).glob("openshell-*")), "the removal of its folder")


def test_a_container_that_blocks_memfd_create_does_not_keep_the_reason_from_the_client(user):
    """Which is what plans are handed over by."""
    tests = str(Path(__file__).parents[1])
    process = Process(
        user,
        wrapper=[sys.executable, "-m", "support.without_call", "memfd_create", "EPERM"],
        env={**os.environ, "PYTHONPATH": tests},
    )
    assert "memfd_create" in answer(process)


def test_a_refused_start_ends_with_its_client(user, write_policy):
    write_policy(BROKEN)
    wrapper = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); sys.stdin.read()"
    process = Process(user, wrapper=[sys.executable, "-c", wrapper], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid = int(process.process.stdout.readline())
    process.client().stop_channels()
    assert os.path.exists(f"/proc/{pid}")
    process.process.kill()
    process.process.communicate()
    kernels.eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the stub kernel")


def test_a_connection_that_cannot_be_confined_is_refused_over_that_connection(user):
    check_message(answer(Process(user, transport="ipc")), "'ipc'", "tcp")


def test_without_a_connection_file_only_the_log_can_tell(user):
    command = [sys.executable, "-I", "-m", "openshell_kernel.sandbox.launcher", "-f", str(user / "nowhere.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=kernels.SECONDS)
    assert done.returncode == 1
    assert f"{user / 'nowhere.json'}: " in done.stderr
    assert "Traceback" not in done.stderr


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


def test_under_a_gateway_that_passes_no_policy_the_log_and_the_notices_say_so(user, monkeypatch):
    monkeypatch.setenv(gateway.SIGN, "1")
    process = Process(user)
    client = process.client()
    shown = kernels.Kernel(None, client).record()
    client.shutdown()
    _, log = process.process.communicate(timeout=kernels.SECONDS)
    client.stop_channels()
    (said,) = [notice for notice in shown["effective"]["notices"] if "gateway" in notice]
    assert "OPENSHELL_SANDBOX_POLICY" in said
    assert f"OpenShell: {said}\n" in log


def test_under_a_gateway_that_passes_a_policy_nothing_is_said(user, tmp_path, monkeypatch):
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    monkeypatch.setenv(gateway.SIGN, "1")
    monkeypatch.setenv("OPENSHELL_SANDBOX_POLICY", str(tmp_path / "policy.yaml"))
    process = Process(user)
    client = process.client()
    shown = kernels.Kernel(None, client).record()
    client.shutdown()
    process.process.communicate(timeout=kernels.SECONDS)
    client.stop_channels()
    assert not [notice for notice in shown["effective"]["notices"] if "gateway" in notice]


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mount namespaces need root")
def test_it_holds_the_gpus_that_its_policy_counts_until_it_is_killed(user, tmp_path):
    library = fake.build(tmp_path / "driver")
    fake.configure(library, fake.gpu(0), fake.gpu(3))
    policy = user / "policy.yaml"
    policy.write_text("version: 1\njupyter: {gpu: {count: 1, request: required}}\n")
    script = Path(__file__).with_name("standalone_gpu.py")
    machine = ("-m", "support.gpu_machine", library)
    told, _ = programs.told(*machine, script, user, OPENSHELL_SANDBOX_POLICY=str(policy))
    (gpu,) = told["running"]
    assert told["variable"] == gpu
    assert told["ended"] == []
