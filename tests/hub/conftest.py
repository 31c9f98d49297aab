"""The hub of docs/jupyterhub_config.py, with users in two groups and in none, one of whom wants out of the sandbox."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.kernels import eventually

from hub import people, running

EXPECT_HUB = "OPENSHELL_EXPECT_HUB"
EXAMPLE = Path(__file__).parents[2] / "docs" / "jupyterhub_config.py"
EXAMPLE_POLICIES = "/etc/openshell"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A running hub, its users by name, and the folders around it."""

    hub: running.Hub
    users: dict
    policies: Path
    data: Path
    escaped: Path
    temporary: str

    def readable(self, name):
        """Return the file that a policy grants and the others do not."""
        return self.data / f"{name}.txt"


@pytest.fixture(scope="session")
def proxy():
    """configurable-http-proxy; where CI says that it is there, a missing one fails instead of skipping."""
    path = running.find_proxy()
    if path is None:
        reason = (
            "no configurable-http-proxy on PATH or in CONFIGURABLE_HTTP_PROXY (npm install configurable-http-proxy)"
        )
        assert os.environ.get(EXPECT_HUB) != "1", f"{EXPECT_HUB} is 1, but there is {reason}"
        pytest.skip(reason)
    return path


@pytest.fixture(scope="package")
def installation(landlock_abi, proxy, tmp_path_factory):
    """A hub in which every user's server runs; it must leave nothing behind."""
    folder = tmp_path_factory.mktemp("hub")
    homes, policies, data, escaped = (folder / name for name in ("homes", "policies", "data", "escaped"))
    for each in (homes, policies, data, escaped):
        each.mkdir()
    for name in people.POLICIES.values():
        (data / f"{name}.txt").write_text(name)
        (policies / f"{name}.yaml").write_text(
            f"version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/usr, /proc, {data / name}.txt]\n"
        )
    for name in people.POLICIES:
        (homes / name / "project").mkdir(parents=True)
    people.furnish(homes / "alice", escaped)
    # Short, because names of sockets are made of it, and not in /tmp, where no private folder is made.
    temporary = tempfile.mkdtemp(prefix="t-", dir="/var/tmp")
    settings = f"""
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.load_groups = {{"students": {{"users": ["alice"]}}, "staff": {{"users": ["bob"]}}}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {str(homes)!r} + "/{{username}}"
c.Spawner.environment = {{"TMPDIR": {temporary!r}}}
c.Spawner.args = ["--ServerApp.allow_root=True"]
"""
    example = EXAMPLE.read_text()
    assert EXAMPLE_POLICIES in example
    config = settings + example.replace(EXAMPLE_POLICIES, str(policies))
    with running.running(folder, config, proxy=proxy) as hub:
        assert hub.request("POST", "hub/api/users", {"usernames": ["carol"]}).status == 201
        for name in people.POLICIES:
            hub.start_server(name)
        users = {name: hub.user(name, homes / name) for name in people.POLICIES}
        yield Installation(hub=hub, users=users, policies=policies, data=data, escaped=escaped, temporary=temporary)
    eventually(lambda: not running.living(folder), "the end of all processes")
    eventually(lambda: not os.listdir(temporary), "the removal of the kernels' private folders")
    shutil.rmtree(temporary)


@pytest.fixture(params=people.POLICIES)
def user(request, installation):
    """Each of the users in turn."""
    return installation.users[request.param]


@pytest.fixture
def alice(installation):
    """The user whose home is full of ways out."""
    return installation.users["alice"]
