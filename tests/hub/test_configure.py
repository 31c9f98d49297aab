"""`hub.configure` adds to a hub's configuration, and refuses what would undo it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.serverapp import ServerApp
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets.config import Config

from hub import running
from openshell_kernel.errors import ConfigurationError, PolicyError
from openshell_kernel.policy import sources
from openshell_kernel.server import hub

ABSENT = {"all": "/nonexistent/all.yaml", "staff": "/nonexistent/staff.yaml", "students": "/nonexistent/students.yaml"}


def spawner(c, *groups):
    """Return the spawner that a hub with this configuration uses for a user in these groups."""
    spawner = SimpleLocalProcessSpawner(config=c)
    return SimpleNamespace(
        args=spawner.args,
        environment=spawner.environment,
        disable_user_config=spawner.disable_user_config,
        user=SimpleNamespace(name="alice", groups=[SimpleNamespace(name=name) for name in groups]),
    )


def policy(spawner):
    return spawner.environment[sources.VARIABLE](spawner)


class TestPolicy:
    def test_the_first_group_of_the_configuration_that_the_user_is_in_decides(self):
        c = Config()
        groups = {"staff": ABSENT["staff"], "students": Path(ABSENT["students"])}
        hub.configure(c, policy=ABSENT["all"], group_policies=groups)
        assert policy(spawner(c, "students", "staff")) == ABSENT["staff"]
        assert policy(spawner(c, "students")) == ABSENT["students"]
        assert policy(spawner(c, "guests")) == ABSENT["all"]
        assert policy(spawner(c)) == ABSENT["all"]

    def test_without_a_policy_it_is_the_built_in_one_and_not_the_users(self):
        c = Config()
        hub.configure(c)
        assert policy(spawner(c)) == sources.BUILT_IN_POLICY

    def test_a_file_near_a_notebook_does_not_count_even_when_its_user_trusts_it(self, tmp_path):
        (tmp_path / sources.NEARBY_NAME).write_text("version: 1\n")
        for arguments in ({}, {"policy": sources.BUILT_IN_POLICY}):
            c = Config()
            hub.configure(c, **arguments)
            environ = {sources.VARIABLE: policy(spawner(c, "students"))}
            source = sources.find(environ=environ, nearby=[str(tmp_path)])
            assert (source.kind, source.path) == (sources.SourceKind.ENVIRONMENT, sources.BUILT_IN_POLICY)

    @pytest.mark.parametrize("wrong", ["policy.yaml", "~/policy.yaml", "", Path("policy.yaml")])
    def test_a_relative_path_is_refused(self, wrong):
        with pytest.raises(ConfigurationError, match="is not absolute"):
            hub.configure(Config(), policy=wrong)
        with pytest.raises(ConfigurationError, match=r"group_policies\['staff'\].*is not absolute"):
            hub.configure(Config(), group_policies={"staff": wrong})

    @pytest.mark.parametrize("wrong", [3, b"/etc/openshell/policy.yaml", ["/etc/openshell/policy.yaml"]])
    def test_what_is_not_a_path_is_refused(self, wrong):
        with pytest.raises(ConfigurationError, match="is not the path of a policy file"):
            hub.configure(Config(), policy=wrong)

    @pytest.mark.parametrize("wrong", [["staff"], [], "staff", "", 3, {3: "/x"}, {"": "/x"}])
    def test_what_is_not_a_mapping_of_groups_is_refused(self, wrong):
        with pytest.raises(ConfigurationError, match=r"group_policies: .* is not"):
            hub.configure(Config(), group_policies=wrong)

    def test_a_broken_policy_is_refused(self, tmp_path):
        path = tmp_path / "policy.yaml"
        path.write_text("version: 1\nfilesystem_polizy: {}\n")
        for arguments in ({"policy": path}, {"group_policies": {"staff": path}}):
            with pytest.raises(PolicyError, match=f"{path}:2:1"):
                hub.configure(Config(), **arguments)

    def test_a_broken_policy_stops_the_hub_with_its_place(self, tmp_path):
        (tmp_path / "policy.yaml").write_text("version: 1\nfilesystem_polizy: {}\n")
        config = f"""
from openshell_kernel.server import hub
c = get_config()
hub.configure(c, policy={str(tmp_path / "policy.yaml")!r})
"""
        log = tmp_path / "hub.log"
        with log.open("wb") as stream, running.start(tmp_path, config, stdout=stream, stderr=stream) as process:
            assert process.wait(running.SECONDS) != 0
        assert f"PolicyError: {tmp_path}/policy.yaml:2:1" in log.read_text()
        assert not (tmp_path / "jupyterhub.sqlite").exists()


class TestOtherSettings:
    def test_the_servers_do_not_import_the_users_own_packages(self):
        c = Config()
        hub.configure(c)
        assert spawner(c).environment["PYTHONNOUSERSITE"] == "1"

    def test_what_was_set_before_stays(self):
        c = Config()
        c.Spawner.args = ["--debug"]
        c.Spawner.environment = {"NAME": "value"}
        hub.configure(c)
        result = spawner(c)
        assert result.args[0] == "--debug"
        assert result.environment["NAME"] == "value"
        assert policy(result) == sources.BUILT_IN_POLICY

    @pytest.mark.parametrize("added", [True, False])
    def test_an_option_that_was_set_before_is_not_given_twice(self, added):
        """A server that gets it twice does not start."""
        c = Config()
        if added:
            c.Spawner.args.append("--ServerApp.terminals_enabled=False")
        else:
            c.Spawner.args = ["--ServerApp.terminals_enabled=False"]
        hub.configure(c)
        assert len([arg for arg in spawner(c).args if "terminals_enabled" in arg]) == 1
        assert policy(spawner(c)) == sources.BUILT_IN_POLICY

    @pytest.mark.parametrize("arg", ["--ServerApp.terminals_enabled=True", "--ServerApp.terminals_enabled"])
    def test_an_option_that_contradicts_is_refused(self, arg):
        c = Config()
        c.Spawner.args = [arg, "True"]
        with pytest.raises(ConfigurationError, match=r"contradicts hub\.configure, which sets .*; remove it"):
            hub.configure(c)

    def test_the_servers_extensions_stay_and_language_servers_do_not(self):
        c = Config()
        name = "--ServerApp.jpserver_extensions"
        c.Spawner.args = [f"{name}=mine=True", f"{name}=jupyter_lsp=True"]
        hub.configure(c)
        server = ServerApp()
        server.parse_command_line(spawner(c).args)
        assert server.jpserver_extensions == {"mine": True, "jupyter_lsp": False}

    def test_args_of_a_kind_of_spawner_stop_its_servers(self):
        c = Config()
        hub.configure(c)
        c.SimpleLocalProcessSpawner.args = ["--debug"]
        with pytest.raises(ConfigurationError, match="unconfined"):
            policy(spawner(c))

    def test_args_that_are_set_afterwards_stop_the_servers(self):
        c = Config()
        hub.configure(c)
        c.Spawner.args = ["--debug"]
        with pytest.raises(ConfigurationError, match=r"call that last in jupyterhub_config\.py"):
            policy(spawner(c))

    def test_user_configuration_that_is_allowed_again_stops_the_servers(self):
        c = Config()
        hub.configure(c)
        c.LocalProcessSpawner.disable_user_config = False
        with pytest.raises(ConfigurationError, match="unconfined"):
            policy(spawner(c))

    def test_an_environment_of_a_kind_of_spawner_is_refused(self):
        c = Config()
        c.KubeSpawner.environment = {"NAME": "value"}
        with pytest.raises(ConfigurationError, match=r"write it as c\.Spawner\.environment"):
            hub.configure(c)

    def test_settings_that_only_the_users_servers_read_are_refused_in_the_hubs_configuration(self):
        c = Config()
        c.OpenShellProvisioner.baseline_conflicts = {"mode": "reject_all"}
        with pytest.raises(ConfigurationError, match=r"add '--OpenShellProvisioner\.baseline_conflicts=\.\.\.' to"):
            hub.configure(c)
