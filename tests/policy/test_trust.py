"""Trust: a policy near the notebook counts if a person trusted its content, and nothing else makes it count."""

import hashlib
import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from support.errors import refused

from openshell_kernel.errors import PolicyError
from openshell_kernel.policy import sources, trust
from openshell_kernel.policy.loading import InvalidPolicyError
from openshell_kernel.policy.sources import NEARBY_NAME, Source, SourceKind, find, nearby_folders

TEXT = "version: 1\n"


@pytest.fixture
def machine(tmp_path):
    """A home with projects; links are resolved, because a test's own folder may be one."""
    root = Path(os.path.realpath(tmp_path))
    (root / "home" / "lab" / "deep").mkdir(parents=True)
    return root


@pytest.fixture
def store(machine):
    return trust.Store(trust.store_path({"XDG_DATA_HOME": str(machine / "home" / ".local" / "share")}))


@pytest.fixture
def policy(machine):
    path = machine / "home" / "lab" / NEARBY_NAME
    path.write_text(TEXT)
    return path


def trusting(store, path):
    store.add(trust.read(str(path)).trusted)


# Which folders are looked into


def folders(workdir, root, home="/home/ada", mounts=("/",)):
    def device(path):
        return max(i for i, mount in enumerate(mounts) if path == mount or path.startswith(mount.rstrip("/") + "/"))

    return nearby_folders(workdir, root=root, home=home, realpath=os.path.normpath, device=device)


@pytest.mark.parametrize(
    ("case", "arguments", "expected"),
    [
        (
            "up to the server's root",
            {"workdir": "/home/ada/lab/a/b", "root": "/home/ada/lab"},
            ["/home/ada/lab/a/b", "/home/ada/lab/a", "/home/ada/lab"],
        ),
        ("the root itself", {"workdir": "/home/ada/lab", "root": "/home/ada/lab"}, ["/home/ada/lab"]),
        ("without a root only the working directory", {"workdir": "/home/ada/lab/a", "root": None}, ["/home/ada/lab/a"]),
        ("outside the root too", {"workdir": "/srv/a/b", "root": "/home/ada"}, ["/srv/a/b"]),
        ("a folder that only begins like the root is outside", {"workdir": "/home/ada-2/x", "root": "/home/ada"}, ["/home/ada-2/x"]),
        (
            "never above the home directory",
            {"workdir": "/home/ada/a", "root": "/"},
            ["/home/ada/a", "/home/ada"],
        ),
        ("elsewhere up to the root", {"workdir": "/srv/a", "root": "/"}, ["/srv/a", "/srv", "/"]),
        (
            "never beyond the file system",
            {"workdir": "/mnt/disk/a/b", "root": "/", "mounts": ("/", "/mnt/disk")},
            ["/mnt/disk/a/b", "/mnt/disk/a", "/mnt/disk"],
        ),
    ],
)  # fmt: skip
def test_a_policy_is_looked_for_near_the_notebook_only(case, arguments, expected):
    assert list(folders(**arguments)) == expected, case


def test_links_in_the_working_directory_are_resolved_first(machine):
    (machine / "home" / "link").symlink_to("lab/deep")
    found = nearby_folders(str(machine / "home" / "link"), root=str(machine / "home"), home="/nowhere")
    assert found == tuple(str(machine / name) for name in ("home/lab/deep", "home/lab", "home"))


@pytest.mark.parametrize("moved", ["home/lab/deep", "home/lab"])
def test_a_folder_that_is_not_there_just_now_does_not_hide_the_policies_near_it(machine, moved):
    """A notebook that may write the folder above can move it away for the moment in which it is looked for."""

    def device(path):
        if path == str(machine / moved):
            raise FileNotFoundError(2, "No such file or directory", path)
        return 1

    with refused(PolicyError, machine / moved):
        nearby_folders(str(machine / "home/lab/deep"), root=str(machine / "home"), home="/nowhere", device=device)


def test_the_nearest_file_counts_after_the_operators_and_before_the_users(machine, policy):
    deep = machine / "home" / "lab" / "deep"
    near = [str(deep), str(policy.parent)]
    config = machine / "home" / ".config"
    (config / "openshell").mkdir(parents=True)
    (config / "openshell" / "policy.yaml").write_text(TEXT)
    environ = {"XDG_CONFIG_HOME": str(config)}
    assert find(environ=environ, nearby=near) == Source(kind=SourceKind.NEARBY, path=str(policy))
    (deep / NEARBY_NAME).write_text(TEXT)
    assert find(environ=environ, nearby=near).path == str(deep / NEARBY_NAME)
    pinned = {**environ, sources.VARIABLE: str(policy)}
    assert find(environ=pinned, nearby=near).kind is SourceKind.ENVIRONMENT
    assert find(environ=environ, configured=str(policy), nearby=near).kind is SourceKind.CONFIGURED
    assert find(environ=environ).kind is SourceKind.USER


def test_where_the_operator_pins_a_policy_no_folder_is_even_looked_into(policy):
    looked = []
    find(environ={sources.VARIABLE: "/pinned"}, nearby=[str(policy.parent)], lstat=looked.append)
    assert looked == ["/pinned"]


def test_a_link_that_leads_nowhere_is_found_and_refused_instead_of_passed_over(machine, store):
    (machine / "home" / "lab" / NEARBY_NAME).symlink_to("gone")
    source = find(environ={"XDG_CONFIG_HOME": "/nowhere"}, nearby=[str(machine / "home" / "lab")])
    with refused(PolicyError, at=source.path):
        trust.load(source.path, store)


# What counts


def test_an_untrusted_policy_is_refused_with_the_command_that_trusts_it(policy, store):
    with refused(PolicyError, f"\njupyter openshell trust {policy}\n", at=policy):
        trust.load(str(policy), store)


def test_the_command_can_be_pasted_whatever_the_folder_is_called(machine, store):
    folder = machine / "home" / "a folder; rm -rf ~"
    folder.mkdir()
    (folder / NEARBY_NAME).write_text(TEXT)
    with refused(PolicyError, f"\njupyter openshell trust '{folder / NEARBY_NAME}'\n"):
        trust.load(str(folder / NEARBY_NAME), store)


def test_a_trusted_policy_is_loaded(policy, store):
    trusting(store, policy)
    assert trust.load(str(policy), store).version == 1


def test_any_change_makes_it_untrusted_and_the_old_content_trusted_again(policy, store):
    trusting(store, policy)
    policy.write_text(TEXT + "#\n")
    with refused(PolicyError, f"jupyter openshell trust {policy}", at=policy):
        trust.load(str(policy), store)
    policy.write_text(TEXT)
    assert trust.load(str(policy), store).version == 1


def test_trust_is_for_one_place(machine, policy, store):
    """A policy means another thing elsewhere: it grants the folder that it lies in."""
    trusting(store, policy)
    copy = machine / "home" / "lab" / "deep" / NEARBY_NAME
    copy.write_text(TEXT)
    with refused(PolicyError, f"jupyter openshell trust {copy}", at=copy):
        trust.load(str(copy), store)


def test_what_replaces_a_trusted_file_is_a_change_too(machine, policy, store):
    trusting(store, policy)
    other = machine / "home" / "other.yaml"
    other.write_text(TEXT)
    policy.unlink()
    policy.symlink_to(other)
    with refused(PolicyError, at=policy):
        trust.load(str(policy), store)


def test_a_trusted_policy_that_a_link_leads_to_is_not_that_of_the_folder(machine, policy, store):
    trusting(store, policy)
    (machine / "home" / "low").symlink_to(policy.parent)
    low = machine / "home" / "low" / NEARBY_NAME
    with refused(PolicyError, policy, at=low):
        trust.load(str(low), store)


USER = Source(kind=SourceKind.USER, path="/home/ada/.config/openshell/policy.yaml")


def test_a_trusted_policy_that_is_gone_is_missed_and_lets_nothing_farther_count(machine, policy, store):
    trusting(store, policy)
    nearby = [str(policy.parent / "deep"), str(policy.parent), str(machine)]
    near, above = (Source(kind=SourceKind.NEARBY, path=f"{nearby[i]}/{NEARBY_NAME}") for i in (0, 2))
    policy.unlink()
    for source in (USER, above):
        with refused(PolicyError, f"\njupyter openshell untrust {policy}", at=policy):
            trust.check_removed(source, nearby, store)
    trust.check_removed(near, nearby, store)
    trust.check_removed(USER, nearby[:1], store)
    trust.check_removed(Source(kind=SourceKind.CONFIGURED, path="/etc/pinned.yaml"), nearby, store)
    store.remove(str(policy))
    trust.check_removed(USER, nearby, store)


def test_the_path_is_that_of_the_file_that_was_read(machine, policy):
    """However it was reached: through a link to its folder it is the same file."""
    (machine / "alias").symlink_to("home/lab")
    candidate = trust.read(str(machine / "alias" / NEARBY_NAME))
    assert candidate.path == str(policy)
    assert candidate.trusted.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()


def test_a_trusted_policy_that_is_wrong_is_an_error(policy, store):
    policy.write_text("version: 2\n")
    trusting(store, policy)
    with refused(InvalidPolicyError, at=f"{policy}:1:10"):
        trust.load(str(policy), store)


def test_a_pipe_in_a_policys_place_does_not_hang_the_start(machine, store):
    pipe = machine / "home" / "lab" / NEARBY_NAME
    os.mkfifo(pipe)
    with refused(PolicyError, at=pipe):
        trust.load(str(pipe), store)


def test_a_name_that_could_rewrite_a_terminal_cannot_be_trusted(machine):
    folder = machine / "home" / "a\x1b[2J"
    folder.mkdir()
    (folder / NEARBY_NAME).write_text(TEXT)
    with refused(PolicyError, "a\\x1b[2J"):
        trust.read(str(folder / NEARBY_NAME))


def test_a_sandbox_may_write_a_trusted_policy_because_that_makes_it_untrusted(policy):
    sources.check_writable_source(Source(kind=SourceKind.NEARBY, path=str(policy)), [str(policy.parent)])


# The store


def test_the_store_lies_in_the_users_data_folder():
    home = "/home/ada".join
    assert trust.store_path({"XDG_DATA_HOME": "/data/"}) == "/data/openshell/trust.json"
    for environ in ({}, {"XDG_DATA_HOME": "relative"}, {"XDG_DATA_HOME": ""}):
        path = trust.store_path(environ, expanduser=lambda path: home(path.split("~")))
        assert path == "/home/ada/.local/share/openshell/trust.json"
    with refused(PolicyError, "HOME"):
        trust.store_path({}, expanduser=lambda path: path)


def test_a_store_that_does_not_exist_trusts_nothing_and_is_not_made_by_reading(store):
    assert store.read() == ()
    assert not os.path.exists(os.path.dirname(store.path))


def test_only_the_user_may_read_and_write_it_whatever_the_umask(policy, store):
    before = os.umask(0)
    try:
        trusting(store, policy)
    finally:
        os.umask(before)
    folder = os.path.dirname(store.path)
    modes = {name: oct(os.stat(os.path.join(folder, name)).st_mode)[-3:] for name in ("", *os.listdir(folder))}
    assert modes == {"": "700", "trust.json": "600", "trust.json.lock": "600"}


def test_one_content_a_path_is_remembered_and_forgotten(policy, store):
    trusting(store, policy)
    policy.write_text(TEXT + "#\n")
    trusting(store, policy)
    assert store.read() == (trust.read(str(policy)).trusted,)
    assert store.remove(str(policy))
    assert not store.remove(str(policy))
    assert store.read() == ()


ENTRY = {"path": "/a", "sha256": "0" * 64}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="half written"),
        pytest.param("[" * 100_000, id="deeply nested"),
        pytest.param("[]", id="not an object"),
        pytest.param(json.dumps({"format": 2, "trusted": []}), id="of a later version"),
        pytest.param(json.dumps({"format": True, "trusted": []}), id="with a format that only equals 1"),
        pytest.param(json.dumps({"format": 1}), id="without its entries"),
        pytest.param(json.dumps({"format": 1, "trusted": {}}), id="with entries of another kind"),
        pytest.param(json.dumps({"format": 1, "trusted": ["/a"]}), id="with an entry that is no object"),
        pytest.param(json.dumps({"format": 1, "trusted": [{**ENTRY, "by": "x"}]}), id="with an unknown key"),
        pytest.param(json.dumps({"format": 1, "trusted": [{**ENTRY, "path": "a"}]}), id="with a relative path"),
        pytest.param(json.dumps({"format": 1, "trusted": [{**ENTRY, "sha256": ""}]}), id="with a hash that is none"),
        pytest.param(json.dumps({"format": 1, "trusted": [ENTRY, ENTRY]}), id="with a path twice"),
    ],
)
def test_a_damaged_store_is_an_error_with_a_remedy_and_never_taken_for_an_empty_one(policy, store, content):
    os.makedirs(os.path.dirname(store.path))
    Path(store.path).write_text(content)
    for use in (store.read, lambda: trust.load(str(policy), store), lambda: trusting(store, policy)):
        with refused(PolicyError, at=store.path):
            use()
    assert Path(store.path).read_text() == content


@pytest.mark.parametrize("mode", [0o666, 0o620, 0])
def test_modes_of_the_store_that_a_notebook_has_changed_are_mended(policy, store, mode):
    """Landlock does not restrict chmod: a notebook could stop all kernels, or have its user start the record anew."""
    trusting(store, policy)
    folder = os.path.dirname(store.path)
    os.chmod(store.path, mode)
    os.chmod(folder, mode)
    trust.load(str(policy), store)
    assert [stat.S_IMODE(os.stat(path).st_mode) & 0o722 for path in (folder, store.path)] == [
        0o700,
        0o600 & mode | 0o400,
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's file needs root to make")
def test_a_store_of_somebody_else_is_not_used_and_no_advice_widens_what_is_trusted(policy, store):
    trusting(store, policy)
    os.chown(store.path, 54321, 54321)
    with refused(PolicyError, 54321, at=store.path):
        trust.load(str(policy), store)


def test_a_link_in_the_stores_place_is_not_followed(machine, policy, store):
    trusting(store, policy)
    os.rename(store.path, machine / "elsewhere.json")
    os.symlink(machine / "elsewhere.json", store.path)
    with refused(PolicyError, at=store.path):
        store.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder needs root to make")
def test_a_folder_of_somebody_else_keeps_no_trust(policy, store):
    os.makedirs(os.path.dirname(store.path))
    os.chown(os.path.dirname(store.path), 54321, 54321)
    with refused(PolicyError, 54321, at=os.path.dirname(store.path)):
        trusting(store, policy)


def _add(path, number):
    trust.Store(path).add(trust.Trusted(path=f"/{number}", sha256="0" * 64))


@pytest.mark.slow
def test_processes_that_trust_at_the_same_time_lose_nothing(store):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(store.path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [trusted.path for trusted in store.read()] == ["/0", "/1", "/2", "/3"]


@pytest.mark.parametrize("kind", [SourceKind.NEARBY, SourceKind.USER, SourceKind.SYSTEM, SourceKind.BUILT_IN])
def test_a_sandbox_that_could_trust_in_the_users_name_is_not_started(machine, store, kind):
    source = Source(kind=kind, path="/etc/policy.yaml")
    trust.check_writable_store(store.path, source, [str(machine / "home" / "lab")])
    for writable in (machine / "home", Path(store.path).parent, Path(store.path), Path("/")):
        with refused(PolicyError, writable, store.path):
            trust.check_writable_store(store.path, source, [str(writable)])


def test_a_link_on_the_way_to_the_store_is_guarded_too(machine):
    (machine / "home" / "lab" / "data").mkdir()
    (machine / "home" / ".local").symlink_to("lab/deep")
    store = trust.store_path({"XDG_DATA_HOME": str(machine / "home" / ".local")})
    source = Source(kind=SourceKind.USER, path="/etc/policy.yaml")
    with refused(PolicyError, machine / "home" / "lab", store):
        trust.check_writable_store(store, source, [str(machine / "home" / "lab")])


def test_where_the_operator_pins_a_policy_the_store_decides_nothing(machine, store):
    """So that OpenShell's own policies, which grant the home folder of their containers, can be used."""
    for kind in (SourceKind.CONFIGURED, SourceKind.ENVIRONMENT):
        trust.check_writable_store(store.path, Source(kind=kind, path="/etc/policy.yaml"), [str(machine)])
