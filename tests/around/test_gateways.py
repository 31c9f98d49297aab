"""A gateway that starts kernels for others: its operator's policy counts, or it is said that it does not."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import websocket
from support import channels, kernels
from support.errors import check_message

EXPECT = "OPENSHELL_EXPECT_GATEWAY"
ENTERPRISE = "OPENSHELL_ENTERPRISE_GATEWAY"
GRANTING = "version: 1\nfilesystem_policy: {{read_only: [/usr, /proc, {}]}}\n"
BROKEN = "version: 2\n"
KERNELSPEC = Path(__file__).parents[2] / "kernelspec" / "openshell-gpu" / "kernel.json"


def program(name):
    """Return a gateway's program; where CI says that it is there, a missing one fails instead of skipping."""
    named = os.environ.get(ENTERPRISE) if name == "jupyter-enterprisegateway" else None
    path = shutil.which(named or name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        reason = (
            f"no {name}: pip install it, Enterprise Gateway into an environment of its own which {ENTERPRISE} names"
        )
        assert os.environ.get(EXPECT) != "1", f"{EXPECT} is 1, but there is {reason}"
        pytest.skip(reason)
    return path


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A running gateway, and what its clients do there."""

    url: str
    log: Path
    process: subprocess.Popen

    def request(self, method, path, body=None):
        """Return the status and the decoded body of an answer, be it an error."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)  # noqa: S310 - the gateway started here
        try:
            with urllib.request.urlopen(request, timeout=kernels.SECONDS) as answer:  # noqa: S310 - as above
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def start(self):
        """Start a kernel; it must succeed. Return its identifier."""
        # Enterprise Gateway does not start kernels for root.
        body = {"name": "openshell-gpu", "env": {"KERNEL_USERNAME": "alice", "KERNEL_GATEWAY": ""}}
        status, kernel = self.request("POST", "api/kernels", body)
        assert status == 201, kernel
        return kernel["id"]

    def run(self, kernel, code):
        """Run a cell; return what it gave."""
        url = f"{self.url}api/kernels/{kernel}/channels".replace("http://", "ws://", 1)
        with contextlib.closing(websocket.create_connection(url, timeout=kernels.SECONDS)) as connection:
            return channels.run(connection, code)


@contextlib.contextmanager
def running(words, folder, **environment):
    """Run a gateway as an operator does, with this in its environment besides."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "gateway.log"
    command = [*words, "--ip=127.0.0.1", f"--port={port}", "--port_retries=0"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder / "notebooks", env={**os.environ, **environment}, stdout=stream, stderr=stream
        )
    gateway = Gateway(url=f"http://127.0.0.1:{port}/", log=log, process=process)

    def answers():
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError):
            return gateway.request("GET", "api")[0] == 200

    try:
        kernels.eventually(answers, "a gateway that answers")
        yield gateway
    finally:
        process.terminate()
        process.wait(kernels.SECONDS)


@pytest.fixture
def install(user, monkeypatch):
    """Return a function that installs our kernelspec for the gateway, with this configuration of the provisioner."""
    monkeypatch.setenv("JUPYTER_PATH", str(user / "jupyter"))

    def write(**configuration):
        spec = json.loads(KERNELSPEC.read_text())
        spec["argv"][0] = sys.executable
        spec["metadata"]["kernel_provisioner"]["config"] = configuration
        folder = user / "jupyter" / "kernels" / "openshell-gpu"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.json").write_text(json.dumps(spec))

    return write


@pytest.fixture
def data(user):
    """A file that only the operator's policy grants."""
    path = user / "data.txt"
    path.write_text("granted")
    return path


@pytest.fixture
def policy(user, data):
    """The operator's policy."""
    path = user / "operator.yaml"
    path.write_text(GRANTING.format(data))
    return path


@pytest.fixture
def enterprise(landlock_abi):
    """The command of Enterprise Gateway, which knows no provisioners and gives kernels an environment of its own."""
    return [program("jupyter-enterprisegateway")]


@pytest.fixture
def kernel_gateway(landlock_abi):
    """The command of Kernel Gateway, which starts kernels by their provisioners."""
    return [program("jupyter-kernelgateway")]


def notices(gateway, kernel):
    """Return what `%policy show` says beside the rules."""
    return json.loads(gateway.run(kernel, "%policy show --json").text)["effective"]["notices"]


def read(path):
    return f"print(open({str(path)!r}).read())"


def test_that_the_policy_of_enterprise_gateways_environment_does_not_count_is_said(
    enterprise, user, install, policy, data
):
    install()
    with running(enterprise, user, OPENSHELL_SANDBOX_POLICY=str(policy)) as gateway:
        kernel = gateway.start()
        said = "\n".join(notices(gateway, kernel))
        assert gateway.run(kernel, read(data)).error.startswith("PermissionError")
        gateway.request("DELETE", f"api/kernels/{kernel}")
    for text in (said, gateway.log.read_text()):
        assert "OPENSHELL_SANDBOX_POLICY" in text


def test_the_policy_that_the_kernelspec_names_counts_under_enterprise_gateway(enterprise, user, install, policy, data):
    install(policy=str(policy), require_policy=True)
    with running(enterprise, user) as gateway:
        kernel = gateway.start()
        assert gateway.run(kernel, read(data)).text == "granted\n"
        assert not [notice for notice in notices(gateway, kernel) if "gateway" in notice]
        gateway.request("DELETE", f"api/kernels/{kernel}")


def test_where_a_policy_is_required_enterprise_gateways_clients_are_told_that_it_is_missing(
    enterprise, user, install, policy
):
    """Once the client was answered 201, and then waited for ever."""
    install(require_policy=True)
    with running(enterprise, user, OPENSHELL_SANDBOX_POLICY=str(policy)) as gateway:
        kernel = gateway.start()
        output = gateway.run(kernel, "print('run')")
        gateway.request("DELETE", f"api/kernels/{kernel}")
    check_message(output.error, "metadata.kernel_provisioner.config", at="KernelNotStarted: require_policy")
    assert output.text == ""
    assert output.error.removeprefix("KernelNotStarted: ") in gateway.log.read_text()


def test_a_start_that_was_refused_under_enterprise_gateway_succeeds_when_it_is_restarted_after_repair(
    enterprise, user, install, policy
):
    good = policy.read_text()
    policy.write_text(BROKEN)
    install(policy=str(policy))
    with running(enterprise, user) as gateway:
        kernel = gateway.start()
        assert ":1:10: version: " in gateway.run(kernel, "1").error
        policy.write_text(good)
        assert gateway.request("POST", f"api/kernels/{kernel}/restart")[0] == 200
        assert gateway.run(kernel, "print('run')").text == "run\n"
        gateway.request("DELETE", f"api/kernels/{kernel}")


def test_the_policy_of_kernel_gateways_environment_counts_and_a_refusal_carries_its_reason(
    kernel_gateway, user, install, policy, data
):
    install(require_policy=True)
    with running(kernel_gateway, user, OPENSHELL_SANDBOX_POLICY=str(policy)) as gateway:
        kernel = gateway.start()
        assert gateway.run(kernel, read(data)).text == "granted\n"
        policy.write_text(BROKEN)
        status, refused = gateway.request("POST", "api/kernels", {"name": "openshell-gpu"})
        assert (status, "1:10: version: " in refused["message"]) == (500, True)
        gateway.request("DELETE", f"api/kernels/{kernel}")
    with running(kernel_gateway, user) as gateway:
        status, refused = gateway.request("POST", "api/kernels", {"name": "openshell-gpu"})
        assert (status, "require_policy: " in refused["message"]) == (500, True)
