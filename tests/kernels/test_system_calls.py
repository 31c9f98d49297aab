"""The filter of system calls, inside real kernels: everyday work goes on, and what is refused says so."""

import importlib.util
import os
import shutil

import pytest
from support import kernels


def needs(package):
    """Skip where a package is not installed; where the machine is said to have it, fail."""
    if importlib.util.find_spec(package) is None:
        reason = f"{package} is not installed"
        assert os.environ.get(f"OPENSHELL_EXPECT_{package.upper()}") != "1", reason
        pytest.skip(reason)


@pytest.fixture
def kernel(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        yield kernel


def printed(kernel, code):
    output = kernel.run(code)
    assert output.error == "", output.text
    return output.text


def test_the_filter_is_in_force_and_policy_show_says_what_it_covers(kernel, user):
    mode = "next(line.split()[1] for line in open('/proc/self/status') if line.startswith('Seccomp:'))"
    assert kernel.value(mode) == "2"
    assert "io_uring" not in kernel.shown()
    verbose = " ".join(kernel.run("%policy show --verbose").text.split())
    assert "[x] seccomp: " in verbose
    assert "io_uring" in verbose
    with kernels.started("python3", cwd=user / "notebooks") as plain:
        assert plain.value(mode) == "0"


class Debugger:
    """Speaks the Debug Adapter Protocol over a kernel's control channel, as JupyterLab does."""

    def __init__(self, client):
        self.client = client
        self.sequence = 0

    def ask(self, command, **arguments):
        self.sequence += 1
        content = {"type": "request", "seq": self.sequence, "command": command, "arguments": arguments}
        message = self.client.session.msg("debug_request", content)
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=kernels.SECONDS)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                assert reply["content"]["success"], reply["content"]
                return reply["content"].get("body") or {}

    def event(self, name):
        while True:
            message = self.client.get_iopub_msg(timeout=kernels.SECONDS)
            if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
                return message["content"]["body"]


def test_the_debugger_stops_at_a_breakpoint_and_shows_a_variable(kernel):
    code = "answer = 6\nanswer = answer * 7\nanswer\n"
    debugger = Debugger(kernel.client)
    debugger.ask("initialize", clientID="test", adapterID="", pathFormat="path", linesStartAt1=True)
    debugger.ask("attach")
    path = debugger.ask("dumpCell", code=code)["sourcePath"]
    debugger.ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": 2}], lines=[2])
    debugger.ask("configurationDone")
    request = kernel.client.execute(code)
    thread = debugger.event("stopped")["threadId"]
    frame = debugger.ask("stackTrace", threadId=thread)["stackFrames"][0]
    assert frame["line"] == 2
    scope = debugger.ask("scopes", frameId=frame["id"])["scopes"][0]
    variables = debugger.ask("variables", variablesReference=scope["variablesReference"])["variables"]
    assert {item["name"]: item["value"] for item in variables}["answer"] == "6"
    debugger.ask("continue", threadId=thread)
    while True:
        reply = kernel.client.get_shell_msg(timeout=kernels.SECONDS)
        if reply["parent_header"].get("msg_id") == request:
            break
    assert reply["content"]["status"] == "ok"
    debugger.ask("disconnect", restart=False, terminateDebuggee=False)
    assert kernel.value("answer") == 42


def test_a_dialogue_with_a_program_on_a_terminal_works(kernel):
    needs("pexpect")
    code = """
import pexpect
child = pexpect.spawn("cat", encoding="utf-8", timeout=30)
child.sendline("hello")
child.expect("hello")
child.setwinsize(40, 100)
child.sendeof()
child.expect(pexpect.EOF)
print("done")
"""
    assert printed(kernel, code) == "done\n"


def test_asyncio_runs_a_shell_and_threads_of_a_pool(kernel):
    code = """
import asyncio
process = await asyncio.create_subprocess_shell("cat", stdin=-1, stdout=-1)
text, _ = await process.communicate(b"piped ")
print(text.decode() + await asyncio.to_thread(lambda: "threaded"))
"""
    assert printed(kernel, code) == "piped threaded\n"


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_gpg_which_forbids_core_dumps_itself_goes_on(kernel):
    output = kernel.run("!gpg --batch --list-keys && echo listed").text
    assert output.endswith("listed\r\n"), output


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="ssh-agent is not installed")
def test_ssh_agent_which_does_so_too_can_be_reached(kernel):
    output = kernel.run("!eval $(ssh-agent -s) && ssh-add -l; ssh-agent -k").text
    assert "The agent has no identities." in output


def test_a_shell_that_sets_the_limit_on_core_dumps_goes_on(kernel):
    assert kernel.run("!sh -ec 'ulimit -c 0; echo fine'").text == "fine\r\n"


def test_locks_and_queues_of_multiprocessing_work(kernel):
    code = """
import multiprocessing
queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
def put():
    with lock:
        queue.put("put")
process = multiprocessing.get_context("fork").Process(target=put)
process.start()
print(queue.get(timeout=30))
process.join()
"""
    assert printed(kernel, code) == "put\n"


def test_numba_compiles_and_runs_in_parallel(kernel):
    needs("numba")
    code = """
import numba, numpy
@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for i in numba.prange(values.size):
        result += values[i]
    return result
print(total(numpy.ones(1000)))
"""
    assert printed(kernel, code) == "1000.0\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pytorch_trains_on_the_cpu_and_loads_data_in_processes(kernel, user, method):
    needs("torch")
    (user / "notebooks" / "numbers_to_load.py").write_text(
        "import torch\n"
        "class Numbers(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 8\n"
        "    def __getitem__(self, i): return torch.full((2,), float(i))\n"
    )
    code = f"""
import torch, numbers_to_load
loader = torch.utils.data.DataLoader(numbers_to_load.Numbers(), num_workers=2, multiprocessing_context={method!r})
weight = torch.ones(2, requires_grad=True)
sum((weight * batch).sum() for batch in loader).backward()
print(weight.grad.tolist())
"""
    assert printed(kernel, code) == "[28.0, 28.0]\n"
