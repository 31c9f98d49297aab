"""One request leads to one plan, for a kernel and for a program that does not talk to Jupyter."""

import asyncio
import os
import sys

import pytest
from support.errors import refused

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server.dirs.private_dir import PrivateDir
from openshell_kernel.server.planning.loading import load_policy, trusted_environment
from openshell_kernel.server.planning.pipeline import make_plan
from openshell_kernel.server.planning.request import Connection, KernelRequest
from openshell_kernel.server.settings import Settings


@pytest.fixture
def private():
    folder = PrivateDir()
    yield folder
    folder.remove()


@pytest.fixture
def request_for(tmp_path, private, monkeypatch):
    """Return a function that makes a request for a command in an empty folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPENSHELL_SANDBOX_POLICY", raising=False)
    (tmp_path / "home" / "notebooks").mkdir(parents=True)

    def made(*command, **changes):
        settings = Settings(home="ephemeral")
        loaded = load_policy(settings, folder=str(tmp_path / "home" / "notebooks"), root=None)
        return KernelRequest(
            loaded=loaded,
            settings=settings,
            trusted=trusted_environment(loaded),
            command=command,
            environment=dict(os.environ),
            private=private,
            **changes,
        )

    return made


def planned(request):
    return asyncio.run(make_plan(request))


def test_a_program_without_a_connection_runs_as_it_is_and_is_given_no_sockets(request_for, private):
    plan = planned(request_for(sys.executable, "-c", "pass")).plan
    paths = {rule.path for rule in planned(request_for(sys.executable, "-c", "pass")).effective.rules}
    assert plan.argv == (sys.executable, "-c", "pass")
    assert str(private.temporary) in paths
    assert str(private.sockets) not in paths


def test_a_kernel_is_given_its_sockets_and_reads_a_copy_of_an_encrypted_connections_file(
    request_for, private, tmp_path
):
    file = tmp_path / "kernel-1.json"
    file.write_text("{}")
    command = (sys.executable, "-m", "ipykernel_launcher", "-f", str(file))
    made = planned(request_for(*command, connection=Connection(file=str(file), encrypted=True)))
    paths = {rule.path for rule in made.effective.rules}
    copy = str(private.path / file.name)
    assert {str(private.sockets), copy} <= paths
    assert copy in made.plan.argv
    assert str(file) not in made.plan.argv


def test_only_an_open_connection_is_told_of(request_for, tmp_path):
    file = tmp_path / "kernel-1.json"
    file.write_text("{}")

    def left_open(connection):
        effective = planned(request_for(sys.executable, "-c", "pass", connection=connection)).effective
        return {each.what for each in effective.unenforced}

    encrypted, bare = (left_open(Connection(file=str(file), encrypted=value)) for value in (True, False))
    assert len(bare - encrypted) == 1
    assert left_open(None) == encrypted


def test_a_program_that_is_not_there_is_refused_before_anything_is_asked(request_for):
    with refused(ConfigurationError, at="no-such-program"):
        planned(request_for("no-such-program"))
