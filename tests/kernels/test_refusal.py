"""A restart that fails is explained in the notebook, until one succeeds; and a server with failed starts still stops."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import venv
from pathlib import Path

import pytest
from browser import server
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.ioloop import AsyncIOLoopKernelManager
from jupyter_client.manager import KernelManager
from jupyter_client.multikernelmanager import AsyncMultiKernelManager
from support import kernels
from support.errors import refused

from openshell_kernel.errors import ConfigurationError, ConfinementError, PolicyError

BROKEN = "version: 2\n"
UNENFORCEABLE = """\
version: 1
filesystem_policy:
  read_only: [/nowhere]
landlock: {compatibility: hard_requirement}
"""


def refuse_restart(kernel, write_policy, policy=BROKEN):
    """Restart a kernel under a policy with which it cannot start."""
    write_policy(policy)
    kernel.restart()


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        pytest.param(BROKEN, "policy.yaml:1:10: version", id="a policy that is refused before the launch"),
        pytest.param(UNENFORCEABLE, "/nowhere: ", id="a policy that the launcher refuses"),
    ],
)
def test_every_cell_is_answered_with_the_reason_until_a_restart_succeeds(user, write_policy, policy, reason):
    with kernels.started(cwd=user / "notebooks") as kernel:
        refuse_restart(kernel, write_policy, policy)
        for _ in range(2):
            output = kernel.run("print('run')")
            assert output.error.startswith("KernelNotRestarted: ")
            assert reason in output.error
            assert "run" not in output.text
        write_policy("version: 1\n")
        kernel.restart()
        assert kernel.value("1 + 1") == 2


def test_an_environment_in_a_folder_that_network_policies_bring_is_refused_with_what_helps(user, write_policy):
    write_policy("version: 1\nnetwork_policies: {api: {endpoints: [{host: example.org, port: 443}]}}\n")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        venv.create(folder, with_pip=False)
        manager = KernelManager(kernel_name="openshell-gpu")
        manager.kernel_spec.argv[0] = f"{folder}/bin/python"
        with refused(PolicyError, "/tmp", "proxy baseline", "network_policies"):
            manager.start_kernel(cwd=str(user / "notebooks"))


def test_a_policy_with_a_second_name_in_a_folder_that_the_sandbox_writes_is_refused_until_it_has_one(
    user, write_policy
):
    policy = write_policy("version: 1\nfilesystem_policy: {include_workdir: true}\n")
    os.link(policy, user / "notebooks" / "mine.yaml")
    with refused(PolicyError, policy) as caught:
        KernelManager(kernel_name="openshell-gpu").start_kernel(cwd=str(user / "notebooks"))
    remedy = str(caught.value).rpartition(": ")[2].replace("NEW", str(user / "new"))
    subprocess.run(["sh", "-c", remedy], check=True)
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.value("open('mine.yaml', 'w').write('version: 2')") == 10
        kernel.restart()
        assert kernel.value("1 + 1") == 2


def test_a_workdir_that_is_gone_is_told_too(user):
    """Whatever the launcher meets, also what no policy says."""
    folder = user / "notebooks" / "gone"
    folder.mkdir()
    with kernels.started(cwd=folder) as kernel:
        folder.rmdir()
        kernel.restart()
        assert str(folder) in kernel.run("1").error


def test_refusals_can_follow_each_other(user, write_policy):
    with kernels.started(cwd=user / "notebooks") as kernel:
        refuse_restart(kernel, write_policy)
        refuse_restart(kernel, write_policy, UNENFORCEABLE)
        assert "/nowhere" in kernel.run("1").error


def test_it_tells_over_tcp_too(user, write_policy):
    with kernels.started(cwd=user / "notebooks", configuration={"transport": "tcp"}) as kernel:
        refuse_restart(kernel, write_policy)
        assert "version" in kernel.run("1").error


def test_it_answers_the_questions_of_a_notebook_and_leaves_its_metadata_alone(user, write_policy):
    with kernels.started(cwd=user / "notebooks") as kernel:
        client = kernel.client

        def ask(question, *arguments):
            request = question(*arguments)
            while True:
                reply = client.get_shell_msg(timeout=kernels.SECONDS)
                if reply["parent_header"].get("msg_id") == request:
                    return reply["content"]

        before = ask(client.kernel_info)["language_info"]
        refuse_restart(kernel, write_policy)
        info = ask(client.kernel_info)
        assert info["status"] == "ok"
        assert {**before, "codemirror_mode": {"name": "ipython", "version": 3}} == info["language_info"]
        assert "version" in info["banner"]
        assert ask(client.complete, "pri", 3)["matches"] == []
        assert ask(client.inspect, "print", 3)["found"] is False
        assert ask(client.history)["history"] == []
        assert ask(client.comm_info)["comms"] == {}
        assert ask(client.is_complete, "1")["status"] == "unknown"


def test_a_message_without_the_connections_key_is_not_answered(user, write_policy):
    with kernels.started(cwd=user / "notebooks") as kernel:
        refuse_restart(kernel, write_policy)
        stranger = BlockingKernelClient()
        stranger.load_connection_info({**kernel.manager.get_connection_info(), "key": b"guessed"})
        stranger.start_channels()
        try:
            stranger.kernel_info()
            assert "version" in kernel.run("1").error  # It is alive, and was not misled.
            assert not stranger.shell_channel.msg_ready()
        finally:
            stranger.stop_channels()


def test_an_interrupt_does_not_end_it_and_a_shutdown_leaves_nothing(user, write_policy):
    with kernels.started(cwd=user / "notebooks") as kernel:
        private = Path(kernel.manager.ip).parent.parent
        connection_file = Path(kernel.manager.connection_file)
        refuse_restart(kernel, write_policy)
        pid = kernel.pid
        kernel.manager.interrupt_kernel()
        assert "version" in kernel.run("1").error
        assert kernel.pid == pid
        kernel.manager.shutdown_kernel()
        assert not kernel.manager.has_kernel
    assert not kernels.processes(pid)
    assert not private.exists()
    assert not connection_file.exists()


def test_it_ends_with_the_server_that_was_killed(user, write_policy):
    """Nobody would ever ask it to end."""
    policy = write_policy("version: 1\n")
    command = [sys.executable, str(Path(__file__).with_name("killed_server.py")), str(user / "notebooks"), str(policy)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        try:
            pid = int(killed.stdout.readline())
            assert kernels.processes(pid)
        finally:
            killed.kill()
    kernels.eventually(lambda: not kernels.processes(pid), "the end of the stub kernel")


def test_it_is_confined_and_knows_no_variable_of_the_servers(user, write_policy, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "SECRET")
    with kernels.started(cwd=user / "notebooks") as kernel:
        refuse_restart(kernel, write_policy)
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{kernel.pid}/status").read_text().splitlines() if ":" in line
        )
        variables = Path(f"/proc/{kernel.pid}/environ").read_bytes()
        command = Path(f"/proc/{kernel.pid}/cmdline").read_bytes()
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) == 0
    assert status["Seccomp"].strip() == "2"
    assert b"SECRET" not in variables
    assert b"openshell_kernel.server.stub.kernel" in command


def test_a_kernel_that_crashed_and_cannot_be_restarted_tells_why(user, write_policy):
    async def crash():
        manager = AsyncIOLoopKernelManager(kernel_name="openshell-gpu")
        await manager.start_kernel(cwd=str(user / "notebooks"))
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=kernels.SECONDS)
            first = manager.provisioner.pid
            write_policy(BROKEN)
            os.kill(first, signal.SIGKILL)
            for _ in range(kernels.SECONDS * 10):
                await asyncio.sleep(0.1)
                if manager.provisioner.pid != first and manager.has_kernel:
                    break
            client.stop_channels()
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=kernels.SECONDS)
            reply = await client.execute_interactive("1", output_hook=lambda _: None)
            return reply["content"]
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    content = asyncio.run(crash())
    assert content["ename"] == "KernelNotRestarted"
    assert "version" in content["evalue"]


def test_a_failed_first_start_is_an_error_and_the_server_forgets_it(user, write_policy):
    async def attempts():
        manager = AsyncMultiKernelManager()
        good = await manager.start_kernel(kernel_name="openshell-gpu", cwd=str(user / "notebooks"))
        for policy in (BROKEN, UNENFORCEABLE):
            write_policy(policy)
            with pytest.raises((PolicyError, ConfinementError)):
                await manager.start_kernel(kernel_name="openshell-gpu", cwd=str(user / "notebooks"))
        assert manager.list_kernel_ids() == [good]
        await manager.shutdown_all(now=True)
        return manager.list_kernel_ids(), dict(manager._pending_kernels)  # noqa: SLF001 - what must not pile up

    assert asyncio.run(attempts()) == ([], {})


def test_a_wrong_kernelspec_leaves_no_start_pending(user, tmp_path, monkeypatch):
    spec = tmp_path / "kernels" / "wrong"
    spec.mkdir(parents=True)
    provisioner = {"provisioner_name": "openshell-provisioner", "config": {"polcy": "/etc/x.yaml"}}
    spec.joinpath("kernel.json").write_text(
        json.dumps({"argv": ["true"], "display_name": "Wrong", "metadata": {"kernel_provisioner": provisioner}})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    async def attempt():
        manager = AsyncMultiKernelManager()
        with refused(ConfigurationError, "'polcy'"):
            await manager.start_kernel(kernel_name="wrong", cwd=str(user / "notebooks"))
        return dict(manager._pending_kernels)  # noqa: SLF001 - what must not pile up

    assert asyncio.run(attempt()) == {}


def ask(running, path, body):
    """Ask a server for something; return what it answers, be it an error."""
    try:
        return running.request("POST", path, body)
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read())


def start(running, name):
    """Open a notebook; return its session, or what the server answers instead."""
    session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "openshell-gpu"}}
    return ask(running, "api/sessions", session)


def test_a_server_with_a_running_kernel_and_failed_starts_stops_on_sigterm(user):
    """`server.running` ends the server so, and fails where it does not stop."""
    with server.running(user / "lab") as running:
        kernel = start(running, "a.ipynb")["kernel"]["id"]
        policy = user / "lab" / ".config" / "openshell" / "policy.yaml"
        policy.parent.mkdir(parents=True)
        for text, reason in ((BROKEN, "version"), (UNENFORCEABLE, "/nowhere")):
            policy.write_text(text)
            assert reason in start(running, "b.ipynb")["message"]
        # And with one kernel that was refused its restart.
        assert running.request("POST", f"api/kernels/{kernel}/restart")["id"] == kernel


def test_a_refusal_carries_its_reason_to_whoever_starts_a_kernel_or_a_notebook(user):
    """JupyterLab starts notebooks, consoles, and other programs kernels alone."""
    lab = user / "lab"
    wrong = {"provisioner_name": "openshell-provisioner", "config": {"polcy": "/100%.yaml"}}
    spec = lab / ".local" / "share" / "jupyter" / "kernels" / "wrong" / "kernel.json"
    policy = lab / ".config" / "openshell" / "policy.yaml"
    with server.running(lab) as running:
        spec.parent.mkdir(parents=True)
        spec.write_text(
            json.dumps(
                {"argv": ["true"], "display_name": "", "language": "", "metadata": {"kernel_provisioner": wrong}}
            )
        )
        answer = ask(running, "api/kernels", {"name": "wrong"})
        assert "'polcy'" in answer["message"]
        policy.parent.mkdir(parents=True)
        for text, reason in ((BROKEN, "policy.yaml:1:10: version: "), (UNENFORCEABLE, "/nowhere: ")):
            policy.write_text(text)
            answer = ask(running, "api/kernels", {"name": "openshell-gpu"})
            assert reason in answer["message"]
            assert not answer.get("traceback")
            assert answer["message"] == start(running, "a.ipynb")["message"]
        assert running.request("GET", "api/kernels") == []


def test_the_policy_error_of_a_first_start_is_raised(user, write_policy):
    write_policy(BROKEN)
    manager = KernelManager(kernel_name="openshell-gpu")
    with pytest.raises(PolicyError):
        manager.start_kernel(cwd=str(user / "notebooks"))
    assert not manager.has_kernel
