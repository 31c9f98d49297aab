"""Start, interrupt, restart, shutdown, crash: each works, and leaves nothing behind."""

import asyncio
import gc
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import zmq
from jupyter_client.ioloop import AsyncIOLoopKernelManager
from jupyter_client.manager import KernelManager
from jupyter_client.multikernelmanager import AsyncMultiKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from support import kernels
from support.errors import refused
from traitlets.config import Config

import openshell_kernel
from openshell_kernel.errors import ConfigurationError, ConfinementError, PolicyError
from openshell_kernel.policy.loading import InvalidPolicyError
from openshell_kernel.server.process import records

OWN_RECORD = "import os; print(os.pread(int(os.environ['OPENSHELL_SNAPSHOT_FD']), 1 << 24, 0).decode())"


def leftovers():
    """Files of kernels that are still there."""
    runtime = Path(jupyter_runtime_dir())
    # The folder of records stays, and no record in it.
    files = [path for path in runtime.rglob("*") if not path.is_dir()]
    return [*Path(tempfile.gettempdir()).glob("openshell-*"), *files]


@pytest.fixture
def nothing_left(user):
    """After the test no file, process or descriptor of its kernels is left."""
    with kernels.started(cwd=user / "notebooks"):
        pass  # What Jupyter and this package keep open for the whole process is opened now.
    gc.collect()
    before = kernels.descriptors()
    sessions = []
    yield sessions
    gc.collect()
    assert leftovers() == []
    for session in sessions:
        kernels.eventually(lambda session=session: not kernels.processes(session), "the end of the kernel's processes")
    # Another look for GPUs, in a thread of its own, opens some for a moment.
    kernels.eventually(
        lambda: sorted(kernels.descriptors().values()) == sorted(before.values()), f"no descriptors but {before}"
    )


def test_a_kernel_that_is_shut_down_leaves_nothing(user, nothing_left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        nothing_left.append(kernel.pid)
        kernel.run("import tempfile, os; open(tempfile.mktemp(), 'w'); os.mkdir(tempfile.mktemp(), 0)")
        kernel.run("import subprocess; subprocess.Popen(['sleep', '1000'])")
        assert kernels.processes(kernel.pid)
        assert leftovers()


def test_what_a_kernel_was_given_is_recorded_by_its_server_until_it_ends(user, nothing_left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        nothing_left.append(kernel.pid)
        (record,) = records.running()
        assert (record.pid, record.snapshot["kernel"]["workdir"]) == (kernel.pid, str(user / "notebooks"))
        assert record.snapshot == kernel.json(OWN_RECORD)
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=kernels.SECONDS)
        nothing_left.append(kernel.pid)
        assert [record.pid for record in records.running()] == [kernel.pid]
        folder = str(Path(jupyter_runtime_dir()) / "openshell")
        assert os.listdir(folder) == [f"{record.kernel}.json"]
        assert kernel.run(f"import os; os.listdir({folder!r})").error.startswith("PermissionError")


def test_a_kernel_that_left_folders_deeper_than_any_path_is_restarted_and_leaves_nothing(user, nothing_left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        nothing_left.append(kernel.pid)
        code = "import os\nos.chdir(os.environ['TMPDIR'])\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')"
        assert kernel.run(code).error == ""
        kernel.restart()
        nothing_left.append(kernel.pid)


def test_a_kernel_is_interrupted(user, nothing_left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        nothing_left.append(kernel.pid)
        request = kernel.client.execute("print('waiting'); import time; time.sleep(1000)", stop_on_error=False)
        while kernel.client.get_iopub_msg(timeout=kernels.SECONDS)["msg_type"] != "stream":
            pass
        kernel.manager.interrupt_kernel()
        reply = kernel.client.get_shell_msg(timeout=kernels.SECONDS)
        while reply["parent_header"]["msg_id"] != request:
            reply = kernel.client.get_shell_msg(timeout=kernels.SECONDS)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert kernel.value("1 + 1") == 2


def test_a_restart_reads_the_policy_anew(user, write_policy, nothing_left):
    secret = f"open({str(user / '.ssh' / 'id_ed25519')!r}).read()"
    with kernels.started(cwd=user / "notebooks") as kernel:
        first = kernel.pid
        assert kernel.run(secret).error.startswith("PermissionError")
        write_policy(f"version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [{user}/.ssh]\n")
        kernel.restart()
        assert kernel.value(secret) == "SECRET"
        nothing_left.extend([first, kernel.pid])


def test_a_kernel_that_crashed_is_restarted_confined(user, nothing_left):
    async def crash():
        manager = AsyncIOLoopKernelManager(kernel_name="openshell-gpu")
        await manager.start_kernel(cwd=str(user / "notebooks"))
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=kernels.SECONDS)
            first = manager.provisioner.pid
            nothing_left.append(first)
            os.kill(first, signal.SIGKILL)
            for _ in range(kernels.SECONDS * 10):
                await asyncio.sleep(0.1)
                if manager.provisioner.pid != first and manager.has_kernel:
                    break
            nothing_left.append(manager.provisioner.pid)
            await client.wait_for_ready(timeout=kernels.SECONDS)
            reply = await client.execute_interactive(
                f"open({str(user / '.ssh' / 'id_ed25519')!r})", output_hook=lambda _: None
            )
            return first, manager.provisioner.pid, reply["content"]["ename"]
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    first, second, error = asyncio.run(crash())
    assert first != second
    assert error == "PermissionError"


def test_several_kernels_start_at_once_and_stay_apart(user, nothing_left):
    async def many():
        manager = AsyncMultiKernelManager()
        names = await asyncio.gather(
            *(manager.start_kernel(kernel_name="openshell-gpu", cwd=str(user / "notebooks")) for _ in range(4))
        )
        folders = set()
        for name in names:
            nothing_left.append(manager.get_kernel(name).provisioner.pid)
            client = manager.get_kernel(name).client()
            client.start_channels()
            await client.wait_for_ready(timeout=kernels.SECONDS)
            outputs = []
            await client.execute_interactive("print(__import__('tempfile').gettempdir())", output_hook=outputs.append)
            folders |= {message["content"]["text"] for message in outputs if message["msg_type"] == "stream"}
            client.stop_channels()
        await manager.shutdown_all(now=True)
        return folders

    assert len(asyncio.run(many())) == 4


@pytest.mark.parametrize(
    ("policy", "error", "named"),
    [
        pytest.param(
            "version: 1\nfilesystem_policy:\n  read_write: [PYTHON]\n",
            PolicyError,
            "could change the code that confines it",
            id="a policy that would let the sandbox write the Python environment",
        ),
        *(
            pytest.param(
                f"version: 1\nfilesystem_policy:\n  read_write: [{path}]\n",
                PolicyError,
                "could change the code that confines it",
                id=f"a policy that would let the sandbox write {what}",
            )
            for what, path in (
                ("the programs of the Python environment", "PYTHON/bin"),
                ("a package of it", Path(zmq.__file__).parent),
                ("this package, wherever it is", Path(openshell_kernel.__file__).parent / "server"),
            )
        ),
        pytest.param("version: 2\n", InvalidPolicyError, "policy.yaml:1:10: version", id="an invalid policy"),
        pytest.param(
            "version: 1\nfilesystem_policy:\n  read_only: [/nowhere]\nlandlock: {compatibility: hard_requirement}\n",
            ConfinementError,
            "/nowhere: ",
            id="a policy that cannot be enforced",
        ),
        pytest.param(
            "version: 1\nfilesystem_policy:\n  read_write: [HOME]\n",
            PolicyError,
            "policy.yaml",
            id="a policy that would let the sandbox write it",
        ),
    ],
)
def test_a_start_that_is_refused_tells_why_and_leaves_nothing(user, write_policy, nothing_left, policy, error, named):
    write_policy(policy.replace("HOME", str(user)).replace("PYTHON", sys.prefix))
    manager = KernelManager(kernel_name="openshell-gpu")
    with refused(error, named):
        manager.start_kernel(cwd=str(user / "notebooks"))
    assert not manager.has_kernel


def test_a_refused_restart_can_be_repeated_once_the_policy_is_right(user, write_policy, nothing_left):
    with kernels.started(cwd=user / "notebooks") as kernel:
        nothing_left.append(kernel.pid)
        write_policy("version: 2\n")
        kernel.manager.restart_kernel()
        nothing_left.append(kernel.pid)
        kernel.client.wait_for_ready(timeout=kernels.SECONDS)
        assert "policy.yaml:1:" in kernel.run("1 + 1").error
        write_policy("version: 1\n")
        kernel.manager.restart_kernel()
        nothing_left.append(kernel.pid)
        kernel.client.wait_for_ready(timeout=kernels.SECONDS)
        assert kernel.value("1 + 1") == 2


def test_a_notebook_that_closes_its_own_folders_can_be_restarted(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        kernel.run("import os\nfor name in ('TMPDIR', 'XDG_RUNTIME_DIR'): os.chmod(os.environ[name], 0)")
        kernel.run("os.chmod(os.path.dirname(os.environ['TMPDIR']), 0)")
        kernel.restart(now=True)
        assert kernel.value("__import__('tempfile').TemporaryFile().write(b'x')") == 1


def test_an_unknown_key_in_the_kernelspecs_configuration_is_refused(user):
    manager = KernelManager(kernel_name="openshell-gpu")
    manager.kernel_spec.metadata["kernel_provisioner"]["config"] = {"polcy": "/etc/x.yaml"}
    with refused(ConfigurationError, "'polcy'"):
        manager.start_kernel(cwd=str(user / "notebooks"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("polcy", "/etc/x.yaml"), ("home", "temporary")],
)
def test_a_mistake_in_jupyters_configuration_is_refused_and_told_to_be_there(user, key, value):
    """Traitlets only warns of a key that it does not know: what an operator has pinned would not be."""
    manager = KernelManager(kernel_name="openshell-gpu", config=Config({"OpenShellProvisioner": {key: value}}))
    with refused(ConfigurationError, "c.OpenShellProvisioner", f"'{key}'"):
        manager.start_kernel(cwd=str(user / "notebooks"))


@pytest.mark.parametrize(
    ("configuration", "key"),
    [({"baseline_conflicts": {"mode": "keep"}}, "baseline_conflicts.mode"), ({"gpu_claims": "claims"}, "gpu_claims")],
)
def test_a_mistake_in_a_trait_about_gpus_is_refused_with_its_key(user, configuration, key):
    with (
        refused(ConfigurationError, at=f"OpenShellProvisioner.{key}"),
        kernels.started(cwd=user / "notebooks", configuration=configuration),
    ):
        pass


def test_the_kernel_listens_on_unix_sockets_in_a_private_folder(user):
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.manager.transport == "ipc"
        folder = Path(kernel.manager.ip).parent
        assert oct(folder.stat().st_mode)[-3:] == "700"
        assert oct(folder.parent.stat().st_mode)[-3:] == "700"


def test_tcp_stays_possible(user):
    with kernels.started(cwd=user / "notebooks", configuration={"transport": "tcp"}) as kernel:
        assert kernel.manager.transport == "tcp"
