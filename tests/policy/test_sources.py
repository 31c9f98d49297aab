"""Sources: the first that exists counts, a bad one is never passed over, and no sandbox can write its next policy."""

import os
from pathlib import Path

import pytest
from support.errors import refused

from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.loading import load
from openshell_kernel.policy.sources import (
    BUILT_IN_POLICY,
    Source,
    SourceKind,
    check_linked_source,
    check_writable_source,
    find,
)

TRAIT, VARIABLE, XDG = "/srv/trait.yaml", "/srv/variable.yaml", "/home/ada/xdg/openshell/policy.yaml"
HOME, SYSTEM = "/home/ada/.config/openshell/policy.yaml", "/etc/openshell/policy.yaml"
NEAR = "/near/openshell-policy.yaml"
ENVIRON = {"OPENSHELL_SANDBOX_POLICY": VARIABLE, "XDG_CONFIG_HOME": "/home/ada/xdg"}


def lookup(*present, failures=()):
    """An `lstat` of a machine that has these paths, and on which looking at some others fails."""

    def lstat(path):
        for failing, error in dict(failures).items():
            if path == failing:
                raise error
        if path not in present:
            raise FileNotFoundError(2, "No such file or directory", path)
        return path

    return lstat


def search(
    *present, configured=None, environ=(), nearby=(), required=False, home_config="/home/ada/.config", failures=()
):
    return find(
        configured=configured,
        nearby=nearby,
        required=required,
        environ=dict(environ),
        home_config=home_config,
        lstat=lookup(*present, failures=failures),
        expanduser=lambda path: path.replace("~", "/home/ada", 1) if path.startswith("~") else path,
    )


@pytest.mark.parametrize(
    ("case", "arguments", "kind", "path"),
    [
        (
            "the trait beats everything",
            {"configured": TRAIT, "environ": ENVIRON},
            SourceKind.CONFIGURED,
            TRAIT,
        ),
        ("then the variable", {"environ": ENVIRON}, SourceKind.ENVIRONMENT, VARIABLE),
        (
            "an empty trait is not set",
            {"configured": "", "environ": ENVIRON},
            SourceKind.ENVIRONMENT,
            VARIABLE,
        ),
        ("then the user's file", {"environ": {"XDG_CONFIG_HOME": "/home/ada/xdg"}}, SourceKind.USER, XDG),
        (
            "an empty variable is not set",
            {"environ": {**ENVIRON, "OPENSHELL_SANDBOX_POLICY": ""}},
            SourceKind.USER,
            XDG,
        ),
        ("~/.config stands for an unset XDG_CONFIG_HOME", {}, SourceKind.USER, HOME),
        ("and for a relative one", {"environ": {"XDG_CONFIG_HOME": "xdg"}}, SourceKind.USER, HOME),
        ("~/.config is found without being told", {"home_config": None}, SourceKind.USER, HOME),
        (
            "a set XDG_CONFIG_HOME hides ~/.config",
            {"environ": {"XDG_CONFIG_HOME": "/x"}},
            SourceKind.SYSTEM,
            SYSTEM,
        ),
        ("nobody's home has no user policy", {"home_config": ".config"}, SourceKind.SYSTEM, SYSTEM),
        (
            "~ in the trait is the home folder",
            {"configured": "~/.config/openshell/policy.yaml"},
            SourceKind.CONFIGURED,
            HOME,
        ),
    ],
)
def test_the_first_source_that_exists_counts(case, arguments, kind, path):
    source = search(TRAIT, VARIABLE, XDG, HOME, SYSTEM, **arguments)
    assert (source.kind, source.path) == (kind, path), case


def test_the_machines_policy_counts_where_the_user_has_none():
    source = search(SYSTEM)
    assert (source.kind, source.path) == (SourceKind.SYSTEM, SYSTEM)
    assert SYSTEM in source.describe()


def test_the_built_in_policy_counts_where_there_is_no_other_and_can_be_loaded():
    source = search()
    assert source.kind is SourceKind.BUILT_IN
    assert load(source.path).compatibility == "hard_requirement"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"configured": TRAIT}, SourceKind.CONFIGURED),
        ({"environ": {"OPENSHELL_SANDBOX_POLICY": VARIABLE}}, SourceKind.ENVIRONMENT),
        ({}, SourceKind.SYSTEM),
    ],
)
def test_where_a_policy_is_required_those_of_the_operator_count_and_no_others(arguments, kind):
    source = search(TRAIT, VARIABLE, NEAR, XDG, HOME, SYSTEM, nearby=["/near"], required=True, **arguments)
    assert source.kind is kind
    assert source.by_operator


def test_the_built_in_policy_can_be_named_wherever_it_is_installed_and_then_counts_for_every_notebook():
    environ = {"OPENSHELL_SANDBOX_POLICY": "built-in"}
    source = search(NEAR, XDG, HOME, SYSTEM, nearby=["/near"], required=True, environ=environ)
    assert (source.path, source.pinned) == (BUILT_IN_POLICY, True)
    # Installers make hard links between environments.
    check_linked_source(source, links=2)


def test_where_a_policy_is_required_and_none_is_there_nothing_starts():
    assert not search(XDG, HOME).by_operator
    assert not search().by_operator
    with refused(PolicyError, SYSTEM, "OPENSHELL_SANDBOX_POLICY", at="require_policy"):
        search(NEAR, XDG, HOME, nearby=["/near"], required=True)


@pytest.mark.parametrize(
    ("case", "key", "path"),
    [
        ("a trait that names nothing", "policy", "/nowhere"),
        ("a variable that names nothing", "OPENSHELL_SANDBOX_POLICY", "/nowhere"),
        ("a relative trait", "policy", "p.yaml"),
        ("a relative variable", "OPENSHELL_SANDBOX_POLICY", "p.yaml"),
        ("a tilde in the variable, which no shell expanded", "OPENSHELL_SANDBOX_POLICY", "~/p.yaml"),
    ],
)
def test_a_named_source_that_is_not_there_is_an_error_and_never_passed_over(case, key, path):
    arguments = {"configured": path} if key == "policy" else {"environ": {key: path}}
    with refused(PolicyError, key, path):
        search(HOME, SYSTEM, **arguments)


@pytest.mark.parametrize("path", [HOME, SYSTEM])
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_folder_that_cannot_be_searched_is_an_error_because_it_may_hold_a_stricter_policy(path, error):
    with refused(PolicyError, path, error.strerror):
        search(failures={path: error})


def test_a_file_where_a_folder_was_expected_holds_no_policy():
    assert search(failures={HOME: NotADirectoryError(20, "Not a directory")}).kind is SourceKind.BUILT_IN


def test_a_link_that_leads_nowhere_is_a_source_that_cannot_be_read(tmp_path):
    (tmp_path / "openshell").mkdir()
    (tmp_path / "openshell" / "policy.yaml").symlink_to(tmp_path / "gone")
    source = find(environ={"XDG_CONFIG_HOME": str(tmp_path)})
    assert source.kind is SourceKind.USER
    with refused(PolicyError, at=source.path):
        load(source.path)


def test_a_trait_that_no_file_can_have_is_an_ordinary_error():
    with refused(PolicyError, "policy"):
        find(configured="/a\0b", environ={})


# Trust


@pytest.mark.parametrize("kind", SourceKind)
def test_a_file_with_a_second_name_is_no_source_but_where_content_is_trusted_or_installers_make_links(kind):
    source = Source(kind=kind, path="/srv/my policy.yaml")
    check_linked_source(source, 1)
    if kind in (SourceKind.NEARBY, SourceKind.BUILT_IN, SourceKind.PINNED_BUILT_IN):
        check_linked_source(source, 2)
        return
    with refused(PolicyError, source.path):
        check_linked_source(source, 2)


@pytest.fixture
def machine(tmp_path):
    """Two folders, of which the sandbox may write one; links are resolved, because a test's own folder may be one."""
    root = Path(os.path.realpath(tmp_path))
    for name in ("safe", "work", "work-2"):
        (root / name).mkdir()
        (root / name / "policy.yaml").write_text("version: 1\n")
    return root


def is_refused(path, *writable):
    """Whether a policy is refused; then the message names the policy and what may be written."""
    source = Source(kind=SourceKind.USER, path=str(path))
    try:
        check_writable_source(source, [str(item) for item in writable])
    except PolicyError as error:
        message = str(error)
    else:
        return False
    assert str(path) in message
    assert any(str(item) in message for item in writable)
    return True


def test_a_policy_outside_what_is_writable_is_trusted(machine):
    assert not is_refused(machine / "safe" / "policy.yaml", machine / "work")
    assert not is_refused(machine / "safe" / "policy.yaml")


def test_a_sibling_that_only_begins_alike_is_another_folder(machine):
    assert not is_refused(machine / "work-2" / "policy.yaml", machine / "work")


def test_a_policy_in_a_writable_folder_is_refused_at_any_depth(machine):
    deep = machine / "work" / "a" / "b"
    deep.mkdir(parents=True)
    assert is_refused(machine / "work" / "policy.yaml", machine / "safe", machine / "work")
    assert is_refused(deep / "policy.yaml", machine / "work")
    assert is_refused(deep / "policy.yaml", "/")


def test_a_policy_that_is_itself_writable_is_refused(machine):
    assert is_refused(machine / "safe" / "policy.yaml", machine / "safe" / "policy.yaml")


def test_a_writable_folder_is_recognised_behind_a_link(machine):
    (machine / "alias").symlink_to("work")
    assert is_refused(machine / "work" / "policy.yaml", machine / "alias")
    assert is_refused(machine / "alias" / "policy.yaml", machine / "work")


def test_a_link_out_of_a_writable_folder_is_refused_because_it_can_be_replaced(machine):
    (machine / "work" / "link.yaml").symlink_to(machine / "safe" / "policy.yaml")
    assert is_refused(machine / "work" / "link.yaml", machine / "work")


def test_a_link_on_the_way_through_a_writable_folder_is_refused(machine):
    (machine / "work" / "folder").symlink_to("../safe")
    (machine / "outer").symlink_to("work/folder")
    assert is_refused(machine / "outer" / "policy.yaml", machine / "work")
    assert is_refused(machine / "work" / "folder" / ".." / "safe" / "policy.yaml", machine / "work")


def test_links_in_a_circle_end_the_search(machine):
    (machine / "safe" / "circle").symlink_to("circle")
    assert not is_refused(machine / "safe" / "circle", machine / "work")
