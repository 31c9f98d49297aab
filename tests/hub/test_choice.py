"""In a real hub: who is in no mapped group gets no server, and GPUs are as the user's choice in a form allows."""

import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from support.errors import check_message

from hub import running

CONFIG = """
from openshell_kernel.server import hub

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.load_groups = {{"staff": {{"users": ["bob"]}}}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {folder!r} + "/homes/{{username}}"
c.Spawner.environment = {{"TMPDIR": {temporary!r}}}
c.Spawner.args = ["--ServerApp.allow_root=True"]
hub.configure(
    c,
    group_policies={{"staff": {policy!r}, "stuff": {policy!r}}},
    unmatched="refuse",
    gpus=lambda spawner: {{"request": "required", "count": 1000}} if spawner.user_options.get("gpu") else {{"request": "none"}},
)
"""
POLICY = "version: 1\njupyter: {gpu: {request: auto}}\n"


@pytest.fixture(scope="module")
def hub(landlock_abi, proxy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("choice")
    for name in ("bob", "dave"):
        (folder / "homes" / name).mkdir(parents=True)
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    with tempfile.TemporaryDirectory(prefix="t-", dir="/var/tmp", ignore_cleanup_errors=True) as temporary:
        config = CONFIG.format(folder=str(folder), temporary=temporary, policy=str(policy))
        with running.running(folder, config, proxy=proxy) as hub:
            assert hub.request("POST", "hub/api/users", {"usernames": ["dave"]}).status == 201
            yield hub


def test_who_is_in_no_mapped_group_gets_no_server_and_is_told_why(hub):
    refused = hub.request("POST", "hub/api/users/dave/server", {})
    assert refused.status == 500
    check_message(refused.body["message"], "dave", "staff", "stuff")
    assert hub.request("GET", "hub/api/users/dave").body["servers"] == {}


def test_who_asks_in_a_browser_is_told_too(hub):
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    page = browser.open(f"{hub.url}hub/login").read().decode()
    form = {"username": "dave", "password": "", "_xsrf": re.search(r'name="_xsrf" value="([^"]*)"', page)[1]}
    with pytest.raises(urllib.error.HTTPError) as caught:
        # From the login it leads on to the server, which is started then.
        browser.open(f"{hub.url}hub/login?next=%2Fhub%2Fspawn", urllib.parse.urlencode(form).encode())
    with caught.value as error:
        check_message(error.read().decode(), "dave", "staff", "stuff")


def test_gpus_are_as_the_user_chose_and_not_as_the_policy_says(hub):
    """No machine has that many."""
    hub.start_server("bob", gpu=True)
    bob = hub.user("bob", Path(hub.log).parent / "homes" / "bob")
    refused = bob.request("POST", "api/kernels", {"name": "openshell-gpu"})
    assert refused.status == 500
    assert "jupyter.gpu" in refused.body["message"]


def test_the_log_warns_of_a_group_that_the_hub_does_not_know_and_of_one_account_for_all(hub):
    hub.request("POST", "hub/api/users/dave/server", {})
    log = hub.log.read_text()
    warned = [line for line in log.splitlines() if line.startswith("[W ")]
    assert len([line for line in warned if "hub.configure" in line and "'stuff'" in line]) == 1
    assert not [line for line in warned if "'staff'" in line]
    assert [line for line in warned if "SimpleLocalProcessSpawner" in line]
