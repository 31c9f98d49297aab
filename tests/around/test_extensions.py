"""A server extension that starts programs is off in confined-only mode and in a hub, unless the operator names it."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import server
from hub import running
from hub.conftest import proxy as proxy  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTENSION = "engines"
OFF = f"not confined: {EXTENSION}, jupyter_lsp. To allow one: jupyter openshell lab --allow-extension NAME"
HUB = """
from openshell_kernel.server import hub
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.load_groups = {"everybody": {"users": ["alice"]}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = HOME
c.Spawner.environment = ENVIRONMENT
c.Spawner.args = ["--ServerApp.allow_root=True"]
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What makes a server find the extension, enabled as a package enables its own."""
    code, configuration = tmp_path / "code", tmp_path / "etc" / "jupyter_server_config.d"
    code.mkdir()
    configuration.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("engines.py"), code)
    settings = {"ServerApp": {"jpserver_extensions": {EXTENSION: True}}}
    (configuration / "engines.json").write_text(json.dumps(settings))
    return {
        "PYTHONPATH": str(code),
        "JUPYTER_CONFIG_PATH": str(configuration.parent),
        "ENGINE_RAN": str(tmp_path / "ran"),
    }


def status(jupyter: server.Server) -> int:
    """Ask for an engine; return the answer's status."""
    try:
        jupyter.request("POST", EXTENSION, {})
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 201


@pytest.mark.parametrize(
    ("command", "runs"),
    [
        pytest.param(["jupyter-lab"], True, id="without the mode"),
        pytest.param(["jupyter-openshell", "lab"], False, id="lab"),
        pytest.param(["jupyter-openshell", "server"], False, id="server"),
        pytest.param(["jupyter-openshell", "lab", f"--ServerApp.jpserver_extensions={EXTENSION}=True"], False, id="on"),
        pytest.param(["jupyter-openshell", "lab", "--allow-extension", EXTENSION], True, id="allowed"),
    ],
)
def test_a_request_starts_an_engine_only_where_the_operator_allows_it(
    tmp_path: Path, environment: dict[str, str], command: list[str], runs: bool
):
    with server.running(tmp_path / "home", command, environment) as jupyter:
        assert status(jupyter) == (201 if runs else 404)
    assert (tmp_path / "ran").exists() is runs
    log = (tmp_path / "home" / "server.log").read_text()
    assert (OFF in log) is not runs


@pytest.fixture(params=["as any hub", "off", "allowed"])
def configured(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """The last statement of a hub's configuration, and whether a user's server then starts engines."""
    statements = {
        "as any hub": ("", True),
        "off": ("hub.configure(c)", False),
        "allowed": (f"hub.configure(c, extensions=[{EXTENSION!r}])", True),
    }
    return statements[request.param]


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that is not in /tmp and has a short name: of it, names of sockets are made."""
    folder = tempfile.mkdtemp(prefix="t-", dir="/var/tmp")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)


def test_a_hubs_users_start_an_engine_only_where_the_operator_allows_it(
    tmp_path: Path, environment: dict[str, str], configured: tuple[str, bool], proxy: str
):
    """Each user's server decides, wherever it runs: it alone knows which extensions there are."""
    statement, runs = configured
    (tmp_path / "homes" / "alice").mkdir(parents=True)
    with short_folder() as temporary:
        settings = HUB.replace("HOME", repr(str(tmp_path / "homes") + "/{username}"))
        settings = settings.replace("ENVIRONMENT", repr({**environment, "TMPDIR": str(temporary)}))
        with running.running(tmp_path, settings + statement, proxy=proxy) as hub:
            hub.start_server("alice")
            alice = hub.user("alice", tmp_path / "homes" / "alice")
            answer = alice.request("POST", EXTENSION, {})
            assert answer.status == (201 if runs else 404)
    assert (tmp_path / "ran").exists() is runs
    assert (OFF in (tmp_path / "hub.log").read_text()) is not runs
