"""A folder is granted without being asked only if nothing that unconfined programs obey lies in it."""

import json
import os
import pwd

import pytest
from support.errors import check_message
from support.interpreters import python_in

from openshell_kernel.policy.effective import READ_RIGHTS, WRITE_RIGHTS, Access, Origin, Rule
from openshell_kernel.server.planning import protected_paths
from openshell_kernel.server.planning.interpreter import Interpreter


@pytest.fixture
def home(tmp_path):
    for name in ("home/notebooks", "home/.ssh/sub", "venv/lib", "src/package", "linked", "policies"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/to-secrets").symlink_to(tmp_path / "home/.ssh")
    (tmp_path / "home/to-root").symlink_to("/")
    return tmp_path / "home"


def refusal(home, folder):
    base = home.parent
    python = python_in(base, "src")
    protected = protected_paths.protected([python], [str(base / "policies/policy.yaml")], home=str(home))
    return protected_paths.why_not_write(os.path.join(base, folder), protected, home=str(home))


@pytest.mark.parametrize("folder", ["home/notebooks", "linked", "src/package"])
def test_a_folder_of_its_own_is_safe(home, folder):
    assert refusal(home, folder) == ""


@pytest.mark.parametrize(
    ("folder", "named"),
    [
        pytest.param("/", "", id="the root"),
        pytest.param("home", "", id="the home directory"),
        pytest.param(".", "", id="a parent of the home directory"),
        pytest.param("home/.ssh", "home/.ssh", id="a folder of credentials"),
        pytest.param("home/.ssh/sub", "home/.ssh", id="a folder inside one"),
        pytest.param("home/to-secrets", "home/.ssh", id="a link to one"),
        pytest.param("home/to-root", "", id="a link to the root"),
        pytest.param("venv", "venv", id="the Python environment"),
        pytest.param("venv/lib", "venv", id="a folder inside the Python environment"),
        pytest.param("src", "src", id="a folder that Python imports from"),
        pytest.param("policies", "policies", id="the folder of the policy"),
        pytest.param("missing", "", id="a folder that does not exist"),
    ],
)
def test_an_unsafe_folder_is_refused_and_what_is_at_stake_is_named(home, folder, named):
    reason = refusal(home, folder)
    assert reason
    assert named in reason


def test_a_folder_that_all_users_share_is_not_granted(home):
    shared = home.parent / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert refusal(home, "shared")
    (shared / "own").mkdir()
    assert refusal(home, "shared/own") == ""


def account(name, number, home):
    return pwd.struct_passwd((name, "x", number, number, "", str(home), "/bin/sh"))


@pytest.mark.parametrize(
    ("folder", "number", "refused"),
    [
        pytest.param("homes/alice", 1000, True, id="somebody's home"),
        pytest.param("homes/alice", 200_000, True, id="that of a user of a directory service"),
        pytest.param("homes/alice", 0, True, id="root's, where HOME leads elsewhere"),
        pytest.param("homes", 1000, True, id="a folder of homes"),
        pytest.param("to-alice", 1000, True, id="a link to one"),
        pytest.param("homes/alice/notebooks", 1000, False, id="a folder in one"),
        pytest.param("homes/alice", 33, False, id="a folder that a service calls its home"),
        pytest.param("homes/alice", 65534, False, id="the home of nobody"),
    ],
)
def test_the_home_of_another_account_is_not_granted(home, folder, number, refused):
    base = home.parent
    (base / "homes" / "alice" / "notebooks").mkdir(parents=True)
    (base / "to-alice").symlink_to("homes/alice")
    known = [account("ghost", 1001, "/"), account("odd", 1002, ""), account("alice", number, base / "homes" / "alice")]
    reason = protected_paths.why_not_write(str(base / folder), (), home=str(home), accounts=lambda: known)
    assert bool(reason) is refused
    assert not refused or f"{base}/homes/alice" in reason


@pytest.mark.parametrize("name", [".ssh", ".aws", ".gnupg", ".kube", ".netrc", ".docker/config.json", ".config/gcloud"])
def test_a_folder_with_credentials_in_it_is_not_granted_whosever_it_is(home, name):
    folder = home.parent / "linked"
    (folder / name).mkdir(parents=True)
    assert str(folder / name) in refusal(home, "linked")


@pytest.mark.parametrize("name", [".npmrc", ".docker/Dockerfile", ".vscode/settings.json"])
def test_settings_that_projects_have_too_tell_nothing(home, name):
    path = home.parent / "linked" / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert refusal(home, "linked") == ""


def test_a_credential_that_does_not_exist_yet_is_protected_too(home):
    assert not (home / ".aws").exists()
    assert refusal(home, "home")
    (home / ".aws").mkdir()
    assert ".aws" in refusal(home, "home/.aws")


def kernelspec(folder, *command):
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "x"}))


def test_the_programs_of_all_kernelspecs_and_their_environments_are_not_granted(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(home.parent / "share"))
    monkeypatch.setenv("IPYTHONDIR", str(home.parent / "ipython"))
    project, own, scripts = (home / name for name in ("project", "project/own", "scripts"))
    for folder in (project / ".venv/bin", own, scripts):
        folder.mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to("/usr/bin/env")
    assert [refusal(home, folder) for folder in (project, own, scripts)] == ["", "", ""]
    kernelspec(home.parent / "share/kernels/mine", str(project / ".venv/bin/python"), "-m", "ipykernel_launcher")
    kernelspec(home.parent / "ipython/kernels/other", "bash", str(scripts / "start.sh"), "{connection_file}")
    (home.parent / "share/kernels/damaged").mkdir()
    (home.parent / "share/kernels/damaged/kernel.json").write_text("[]")
    assert f"{project}/.venv/bin/python" in refusal(home, project)
    assert f"{scripts}/start.sh" in refusal(home, scripts)
    assert refusal(home, own) == ""
    (project / ".venv/pyvenv.cfg").touch()
    (project / ".venv/lib").mkdir()
    assert f"{project}/.venv" in refusal(home, project / ".venv/lib")


@pytest.mark.parametrize("name", ["PATH", "PYTHONPATH", "LD_LIBRARY_PATH"])
def test_where_unconfined_programs_find_code_is_not_granted(home, monkeypatch, name):
    (home / "project" / "code" / "inner").mkdir(parents=True)
    assert refusal(home, "home/project") == ""
    monkeypatch.setenv(name, f"relative::{home}/project/code:{os.environ.get(name, '')}")
    for folder in ("project", "project/code"):
        assert f"{home}/project/code" in refusal(home, home / folder)
    assert refusal(home, "home/project/code/inner") == ""
    # A package that is imported from there is code as well.
    (home / "project" / "code" / "inner" / "__init__.py").touch()
    assert f"{home}/project/code" in refusal(home, home / "project/code/inner")


def test_where_the_user_installs_packages_is_not_granted(home, monkeypatch):
    (home / "project" / "base" / "lib").mkdir(parents=True)
    monkeypatch.setenv("PYTHONUSERBASE", f"{home}/project/base")
    for folder in ("project", "project/base/lib"):
        assert f"{home}/project/base" in refusal(home, home / folder)


def exposed(home, path, access, origin=Origin.POLICY):
    rights = READ_RIGHTS if access is Access.READ_ONLY else WRITE_RIGHTS
    rule = Rule(path=str(path), access=access, rights=rights, origin=origin, reason="")
    return "\n".join(protected_paths.exposures([rule], protected_paths.protected((), (), home=str(home))))


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("path", [".ssh", ".ssh/sub", "", "to-secrets", "notebooks/src"])
def test_a_rule_of_the_policy_that_opens_credentials_is_told_with_both_names(home, path, access):
    (home / "notebooks" / "src").symlink_to("../.ssh/sub")
    text = exposed(home, home / path, access)
    check_message(text, access.value, home / path, home / ".ssh")


@pytest.mark.parametrize("access", list(Access))
def test_a_rule_that_opens_nothing_is_not_told(home, access):
    assert exposed(home, home / "notebooks", access) == ""


def test_what_is_not_there_can_be_made_but_not_read(home):
    assert exposed(home, home / ".aws", Access.READ_ONLY) == ""
    assert str(home / ".aws") in exposed(home, home / ".aws", Access.READ_WRITE)


def test_settings_without_secrets_may_be_read_and_not_changed(home):
    (home / ".bashrc").touch()
    assert exposed(home, home / ".bashrc", Access.READ_ONLY) == ""
    assert str(home / ".bashrc") in exposed(home, home / ".bashrc", Access.READ_WRITE)


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("origin", [Origin.RUNTIME_BASELINE, Origin.PROXY_BASELINE])
def test_of_a_baseline_it_is_told_what_it_holds_and_not_where_it_lies(home, access, origin):
    assert f"the {origin.value}'s {access.value} {home} exposes {home}/.ssh" in exposed(home, home, access, origin)
    assert exposed(home, home / ".ssh" / "sub", access, origin) == ""


def test_settings_of_jupyter_are_secret_where_a_token_stands_in_them(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(home.parent / "settings"))
    extensions = home.parent / "settings" / "jupyter_server_config.d"
    extensions.mkdir(parents=True)
    (extensions / "lab.json").write_text('{"ServerApp": {"jpserver_extensions": {"jupyterlab": true}}}')
    file = home.parent / "settings" / "jupyter_server_config.py"
    file.write_text("c = get_config()\n# c.IdentityProvider.token = '<generated>'\n")
    folder = home.parent / "settings"
    assert exposed(home, folder, Access.READ_ONLY, Origin.RUNTIME_BASELINE) == ""
    file.write_text("c = get_config()\nc.IdentityProvider.token = 'abc'\n")
    assert f"exposes {file} (settings" in exposed(home, folder, Access.READ_ONLY, Origin.RUNTIME_BASELINE)


@pytest.mark.parametrize("access", list(Access))
def test_a_rule_that_opens_another_kernels_folder_is_told(home, access):
    other = home.parent / "tmp" / "openshell-abcdefgh"
    other.mkdir(parents=True)
    protected = protected_paths.protected((), (), home=str(home), kernels=lambda: [str(other)])
    for origin in (Origin.POLICY, Origin.PROXY_BASELINE):
        rule = Rule(path=str(other.parent), access=access, rights=READ_RIGHTS, origin=origin, reason="")
        (text,) = protected_paths.exposures([rule], protected)
        assert str(other) in text


def test_a_rule_that_opens_much_is_told_in_one_line_and_what_is_there_comes_first(home):
    (line,) = exposed(home, home, Access.READ_WRITE).splitlines()
    listed = [part for part in line.replace(",", " ").split() if part.startswith(f"{home}/")]
    assert listed[0] == str(home / ".ssh")


def test_a_link_on_the_way_to_a_python_is_as_much_as_the_python(home):
    base = home.parent
    (base / "linked" / ".venv").symlink_to(base / "venv")
    python = Interpreter(
        executable=str(base / "linked/.venv/lib"),
        version="3.11.0",
        prefixes=(),
        import_path=(),
        editable=(),
        customize=(),
        user_site="",
    )
    protected = protected_paths.protected([python], [], home=str(home))
    reason = protected_paths.why_not_write(str(base / "linked"), protected, home=str(home))
    assert f"{base}/linked/.venv" in reason


def test_an_environment_that_stays_as_it_is_keeps_no_folder_from_a_notebook_and_a_secret_in_it_does(home):
    project = home / "project"
    (project / ".venv" / "etc").mkdir(parents=True)
    environment = protected_paths.ProtectedPath(path=str(project / ".venv"), what="x", environment=True)
    secret = protected_paths.ProtectedPath(path=str(project / ".venv" / "etc"), what="x", secret=True)

    def refuse(folder, *held):
        return protected_paths.why_not_write(str(folder), held, home=str(home), kept=[str(project / ".venv")])

    assert refuse(project, environment) == ""
    assert secret.path in refuse(project, environment, secret)
    assert environment.path in refuse(project / ".venv" / "etc", environment)
    assert "it is" in refuse(project / ".venv", environment)
