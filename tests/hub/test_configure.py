"""`hub.configure` adds to a hub's configuration, and refuses what would undo it."""

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.serverapp import ServerApp
from jupyterhub import orm
from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner
from support.errors import refused
from traitlets.config import Config

from hub import running
from openshell_kernel.errors import ConfigurationError, PolicyError
from openshell_kernel.policy import sources
from openshell_kernel.server import confined_only, hub
from openshell_kernel.server.settings import GPUS_VARIABLE

ABSENT = {"all": "/nonexistent/all.yaml", "staff": "/nonexistent/staff.yaml", "students": "/nonexistent/students.yaml"}


class Derived(SimpleLocalProcessSpawner):
    """One of an administrator's own."""


IN_CONTAINERS = {"policies_in_containers": True}
ONE_GPU = {"count": 1, "request": "required"}


@pytest.fixture(scope="module")
def database():
    """The hub's database, with the groups that it knows."""
    session = orm.new_session_factory("sqlite:///:memory:")()
    session.add_all([orm.Group(name=name) for name in ("staff", "students", "guests")])
    session.commit()
    yield session
    session.close()
    session.get_bind().dispose()


@pytest.fixture
def spawner(database):
    """Return a function that returns the spawner of a hub with this configuration for a user in these groups."""

    def make(c, *groups, kind=LocalProcessSpawner, **options):
        spawner = kind(config=c)
        spawner.user_options = options
        spawner.user = SimpleNamespace(
            name="alice", db=database, groups=[SimpleNamespace(name=name) for name in groups], settings={}
        )
        return spawner

    return make


@pytest.fixture
def folder():
    """A folder that every user can enter, as /etc is; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="openshell-hub-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def file(folder):
    """A policy that is fit for the users."""
    file = folder / "policy.yaml"
    file.write_text("version: 1\n")
    file.chmod(0o644)
    return file


def policy(spawner):
    return spawner.environment[sources.VARIABLE](spawner)


def gpus(spawner):
    return spawner.environment[GPUS_VARIABLE](spawner)


class TestPolicy:
    def test_the_first_group_of_the_configuration_that_the_user_is_in_decides(self, spawner):
        c = Config()
        groups = {"staff": ABSENT["staff"], "students": Path(ABSENT["students"])}
        hub.configure(c, policy=ABSENT["all"], group_policies=groups, **IN_CONTAINERS)
        assert policy(spawner(c, "students", "staff")) == ABSENT["staff"]
        assert policy(spawner(c, "students")) == ABSENT["students"]
        assert policy(spawner(c, "guests")) == ABSENT["all"]
        assert policy(spawner(c)) == ABSENT["all"]

    def test_without_a_policy_it_is_the_built_in_one_and_not_the_users(self, spawner):
        c = Config()
        hub.configure(c)
        assert policy(spawner(c)) == sources.BUILT_IN

    def test_a_file_near_a_notebook_does_not_count_even_when_its_user_trusts_it(self, spawner, tmp_path):
        (tmp_path / sources.NEARBY_NAME).write_text("version: 1\n")
        c = Config()
        hub.configure(c)
        environ = {sources.VARIABLE: policy(spawner(c, "students"))}
        source = sources.find(environ=environ, nearby=[str(tmp_path)])
        assert (source.path, source.pinned) == (sources.BUILT_IN_POLICY, True)

    @pytest.mark.parametrize("wrong", ["policy.yaml", "~/policy.yaml", "", Path("policy.yaml")])
    def test_a_relative_path_is_refused(self, wrong):
        with refused(ConfigurationError, repr(str(wrong)), at="policy"):
            hub.configure(Config(), policy=wrong)
        with refused(ConfigurationError, repr(str(wrong)), at="group_policies['staff']"):
            hub.configure(Config(), group_policies={"staff": wrong})

    @pytest.mark.parametrize("wrong", [3, b"/etc/openshell/policy.yaml", ["/etc/openshell/policy.yaml"]])
    def test_what_is_not_a_path_is_refused(self, wrong):
        with refused(ConfigurationError, repr(wrong), at="policy"):
            hub.configure(Config(), policy=wrong)

    @pytest.mark.parametrize("wrong", [["staff"], [], "staff", "", 3, {3: "/x"}, {"": "/x"}])
    def test_what_is_not_a_mapping_of_groups_is_refused(self, wrong):
        with refused(ConfigurationError, at="group_policies"):
            hub.configure(Config(), group_policies=wrong)

    def test_a_broken_policy_is_refused(self, file):
        file.write_text("version: 1\nfilesystem_polizy: {}\n")
        for arguments in ({"policy": file}, {"group_policies": {"staff": file}}):
            with pytest.raises(PolicyError, match=f"{file}:2:1: "):
                hub.configure(Config(), **arguments)

    @pytest.mark.hub
    def test_a_broken_policy_stops_the_hub_with_its_place(self, tmp_path, file):
        file.write_text("version: 1\nfilesystem_polizy: {}\n")
        config = f"""
from openshell_kernel.server import confined_only, hub
c = get_config()
hub.configure(c, policy={str(file)!r})
"""
        log = tmp_path / "hub.log"
        with log.open("wb") as stream, running.start(tmp_path, config, stdout=stream, stderr=stream) as process:
            assert process.wait(running.SECONDS) != 0
        assert f"PolicyError: {file}:2:1" in log.read_text()
        assert not (tmp_path / "jupyterhub.sqlite").exists()


class TestFiles:
    """Only root and the hub's own account may have written a policy, and every user has to be able to read it."""

    def check_refused(self, path, *named):
        with refused(ConfigurationError, *named, at=f"group_policies['staff']: {path}"):
            hub.configure(Config(), group_policies={"staff": path})

    def test_one_that_is_fit_is_taken(self, file):
        hub.configure(Config(), policy=file)

    def test_one_that_is_not_there_is_refused_unless_it_is_in_containers(self):
        for arguments in ({"policy": ABSENT["all"]}, {"group_policies": {"staff": ABSENT["all"]}}):
            with refused(ConfigurationError, ABSENT["all"], "policies_in_containers=True"):
                hub.configure(Config(), **arguments)
            hub.configure(Config(), **arguments, **IN_CONTAINERS)

    @pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
    def test_one_that_others_may_write_is_refused(self, file, mode):
        file.chmod(mode)
        self.check_refused(file)

    @pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
    def test_one_in_a_folder_that_others_may_write_is_refused(self, folder, file, mode):
        folder.chmod(mode)
        self.check_refused(file, f"{folder}, ")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_one_that_belongs_to_a_user_is_refused_and_so_is_one_in_a_users_folder(self, folder, file):
        os.chown(file, 1000, 0)
        self.check_refused(file, 1000)
        os.chown(file, 0, 0)
        os.chown(folder, 1000, 0)
        self.check_refused(file, f"{folder} ", 1000)

    def test_one_behind_a_link_in_a_folder_that_others_may_write_is_refused(self, folder, file):
        (folder / "shared").mkdir()
        (folder / "shared").chmod(0o777)
        link = folder / "shared" / "link.yaml"
        link.symlink_to(file)
        self.check_refused(link, f"{folder / 'shared'}, ")

    def test_one_behind_a_link_that_nobody_else_can_change_is_taken(self, folder, file):
        (folder / "relative.yaml").symlink_to(f"../{folder.name}/{file.name}")
        (folder / "absolute.yaml").symlink_to(folder / "relative.yaml")
        hub.configure(Config(), policy=folder / "absolute.yaml")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_one_behind_a_users_link_is_refused(self, folder, file):
        """In a folder with the sticky bit its owner can make it lead elsewhere."""
        (folder / "sticky").mkdir()
        (folder / "sticky").chmod(0o1777)
        link = folder / "sticky" / "link.yaml"
        link.symlink_to(file)
        hub.configure(Config(), policy=link)
        os.lchown(link, 1000, 1000)
        self.check_refused(link, 1000)

    def test_links_that_lead_in_circles_are_refused(self, folder):
        (folder / "circle.yaml").symlink_to("circle.yaml")
        self.check_refused(folder / "circle.yaml")

    @pytest.mark.skipif(os.geteuid() != 0, reason="a hub of an ordinary user may start servers under its own account")
    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_one_that_the_users_cannot_read_is_refused(self, folder, file, what):
        (file if what == "file" else folder).chmod(0o600 if what == "file" else 0o700)
        self.check_refused(file, file if what == "file" else folder, "/etc/openshell")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_one_that_a_group_can_read_is_taken(self, file):
        os.chown(file, 0, 1000)
        file.chmod(0o640)
        hub.configure(Config(), policy=file)

    def test_a_folder_is_no_policy(self, folder):
        self.check_refused(folder)

    @pytest.mark.parametrize("kind", ["simple", "jupyterhub.spawner.SimpleLocalProcessSpawner", Derived])
    def test_where_all_users_have_the_hubs_account_there_is_nothing_to_tell_apart(self, folder, file, kind):
        folder.chmod(0o700)
        c = Config()
        c.JupyterHub.spawner_class = kind
        hub.configure(c, policy=file)


class TestOneAccount:
    @pytest.mark.parametrize(("kind", "warned"), [(LocalProcessSpawner, False), (Derived, True)])
    def test_a_spawner_that_starts_all_servers_under_the_hubs_account_is_warned_of(self, spawner, caplog, kind, warned):
        c = Config()
        hub.configure(c)
        starting = spawner(c, kind=kind)
        starting.log = logging.getLogger("hub")
        policy(starting)
        assert (kind.__name__ in caplog.text) is warned


class TestUnmatched:
    def test_a_user_of_no_mapped_group_gets_no_server_and_is_told_why(self, spawner, file):
        c = Config()
        hub.configure(c, group_policies={"staff": file}, unmatched="refuse")
        assert policy(spawner(c, "staff")) == str(file)
        for groups in ((), ("guests",)):
            with refused(ConfigurationError, "alice", "staff") as caught:
                policy(spawner(c, *groups))
            assert caught.value.jupyterhub_message == str(caught.value)

    @pytest.mark.parametrize(
        "arguments",
        [{"unmatched": "refuse"}, {"unmatched": "refuse", "policy": "/x.yaml"}, {"unmatched": "Refuse"}],
    )
    def test_settings_that_contradict_each_other_are_refused(self, arguments):
        with refused(ConfigurationError, "unmatched", *arguments):
            hub.configure(Config(), **arguments)

    def test_a_group_that_the_hub_does_not_know_is_warned_of_once(self, spawner, file, caplog):
        c = Config()
        hub.configure(c, group_policies={"staff": file, "stuff": file})
        caplog.set_level(logging.WARNING)
        for _ in range(2):
            first = spawner(c, "staff")
            first.log = logging.getLogger("hub")
            policy(first)
        (warning,) = [record.getMessage() for record in caplog.records]
        assert "'stuff'" in warning


class TestFunctions:
    def test_a_function_of_the_spawner_names_the_policy_of_who_is_in_no_mapped_group(self, spawner, folder, file):
        (folder / "small.yaml").write_text("version: 1\n")
        (folder / "small.yaml").chmod(0o644)
        c = Config()
        hub.configure(c, policy=lambda s: folder / f"{s.user_options['size']}.yaml", group_policies={"staff": file})
        assert policy(spawner(c, size="small")) == str(folder / "small.yaml")
        assert policy(spawner(c, "staff", size="small")) == str(file)

    def test_what_it_returns_is_checked_like_any_policy_and_the_user_is_told(self, spawner, file):
        c = Config()
        hub.configure(c, policy=lambda s: s.user_options["path"])
        file.chmod(0o666)
        for path in (str(file), "policy.yaml", None):
            with refused(ConfigurationError, path) as caught:
                policy(spawner(c, path=path))
            assert caught.value.jupyterhub_message == str(caught.value)

    def test_gpus_are_the_same_for_all_or_a_function_of_the_spawner(self, spawner):
        c = Config()
        hub.configure(c, gpus=ONE_GPU)
        assert json.loads(gpus(spawner(c))) == ONE_GPU
        c = Config()
        hub.configure(c, gpus=lambda s: {**ONE_GPU, "count": s.user_options["gpus"]})
        assert json.loads(gpus(spawner(c, gpus=2)))["count"] == 2
        with refused(ConfigurationError, "gpus.count") as caught:
            gpus(spawner(c, gpus=-1))
        assert caught.value.jupyterhub_message

    def test_without_them_the_policy_decides(self, spawner):
        for none in ({}, lambda _: None):
            c = Config()
            hub.configure(c, gpus=none)
            assert gpus(spawner(c)) == ""

    def test_what_the_administrator_has_set_otherwise_stays_where_they_are_not_given(self, spawner):
        c = Config()
        c.Spawner.environment = {GPUS_VARIABLE: "{}"}
        hub.configure(c)
        assert spawner(c).environment[GPUS_VARIABLE] == "{}"

    @pytest.mark.parametrize("wrong", [{"cuont": 1}, {"count": 0}, [1], "all", {"request": "some"}])
    def test_wrong_ones_are_refused(self, wrong):
        with refused(ConfigurationError, "gpus"):
            hub.configure(Config(), gpus=wrong)


class TestOtherSettings:
    def test_the_servers_do_not_import_the_users_own_packages(self, spawner):
        c = Config()
        hub.configure(c)
        assert spawner(c).environment["PYTHONNOUSERSITE"] == "1"

    def test_what_was_set_before_stays(self, spawner):
        c = Config()
        c.Spawner.args = ["--debug"]
        c.Spawner.environment = {"NAME": "value"}
        hub.configure(c)
        result = spawner(c)
        assert result.args[0] == "--debug"
        assert result.environment["NAME"] == "value"
        assert policy(result) == sources.BUILT_IN

    @pytest.mark.parametrize("added", [True, False])
    def test_an_option_that_was_set_before_is_not_given_twice(self, spawner, added):
        """A server that gets it twice does not start."""
        c = Config()
        if added:
            c.Spawner.args.append("--ServerApp.terminals_enabled=False")
        else:
            c.Spawner.args = ["--ServerApp.terminals_enabled=False"]
        hub.configure(c)
        assert len([arg for arg in spawner(c).args if "terminals_enabled" in arg]) == 1
        assert policy(spawner(c)) == sources.BUILT_IN

    @pytest.mark.parametrize("arg", ["--ServerApp.terminals_enabled=True", "--ServerApp.terminals_enabled"])
    def test_an_option_that_contradicts_is_refused(self, arg):
        c = Config()
        c.Spawner.args = [arg, "True"]
        with refused(ConfigurationError, "--ServerApp.terminals_enabled", "hub.configure"):
            hub.configure(c)

    def test_only_extensions_that_are_known_or_named_are_allowed(self, spawner):
        c = Config()
        c.Spawner.args = ["--ServerApp.jpserver_extensions=mine=True"]
        hub.configure(c, extensions=["jupyterlab_git"])
        result = spawner(c)
        assert policy(result)
        server = ServerApp()
        server.parse_command_line(result.args)
        allowed = server.config.ConfinedOnlyKernelManager.allowed_extensions
        assert set(allowed) == {*confined_only.EXTENSIONS, "jupyterlab_git"}

    @pytest.mark.parametrize("wrong", ["jupyterlab_git", ["a-b"], [""], [3], ["a=True"]])
    def test_what_is_not_a_list_of_extensions_is_refused(self, wrong):
        with refused(ConfigurationError, "extension"):
            hub.configure(Config(), extensions=wrong)

    def test_args_of_a_kind_of_spawner_stop_its_servers(self, spawner):
        c = Config()
        hub.configure(c)
        c.SimpleLocalProcessSpawner.args = ["--debug"]
        with refused(ConfigurationError, "hub.configure"):
            policy(spawner(c, kind=SimpleLocalProcessSpawner))

    def test_args_that_are_set_afterwards_stop_the_servers(self, spawner):
        c = Config()
        hub.configure(c)
        c.Spawner.args = ["--debug"]
        with refused(ConfigurationError, "hub.configure", "jupyterhub_config.py"):
            policy(spawner(c))

    def test_user_configuration_that_is_allowed_again_stops_the_servers(self, spawner):
        c = Config()
        hub.configure(c)
        c.LocalProcessSpawner.disable_user_config = False
        with refused(ConfigurationError, "hub.configure"):
            policy(spawner(c))

    @pytest.mark.parametrize(("trait", "ask"), [("policy", policy), ("gpus", gpus)])
    def test_an_option_that_would_count_instead_of_the_users_own_stops_the_servers(self, spawner, trait, ask):
        c = Config()
        c.Spawner.args = [f"--OpenShellProvisioner.{trait}=/x"]
        hub.configure(c, gpus=ONE_GPU)
        with refused(ConfigurationError, f"--OpenShellProvisioner.{trait}"):
            ask(spawner(c))

    def test_an_environment_of_a_kind_of_spawner_is_refused(self):
        c = Config()
        c.KubeSpawner.environment = {"NAME": "value"}
        with refused(ConfigurationError, "c.KubeSpawner.environment", "c.Spawner.environment"):
            hub.configure(c)

    def test_settings_that_only_the_users_servers_read_are_refused_in_the_hubs_configuration(self):
        c = Config()
        c.OpenShellProvisioner.baseline_conflicts = {"mode": "reject_all"}
        with refused(ConfigurationError, "--OpenShellProvisioner.baseline_conflicts="):
            hub.configure(c)
