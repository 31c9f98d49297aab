"""What no sandbox is given, whatever its policy says. All checks stand in one list, which every start runs."""

import dataclasses
import inspect
import os

import pytest
from support.errors import refused
from support.interpreters import python_in

import openshell_kernel
from openshell_kernel.base.rules import Access, Origin, Rule
from openshell_kernel.errors import ConfigurationError, PolicyError
from openshell_kernel.policy.sources import Source, SourceKind
from openshell_kernel.server.planning import checks
from openshell_kernel.server.planning.checks import CHECKS, Granted, check_granted
from openshell_kernel.server.planning.python_environments import Kept

OWN_PACKAGE = os.path.dirname(os.path.realpath(openshell_kernel.__file__))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's folders, with a Python in one of them."""
    for name in ("venv/bin", "venv/lib", "keys", "policies", "data/openshell", "config/openshell", "notebooks"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "keys"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def granted(place, path, *, write=True, origin=Origin.POLICY, kept=()):
    python = python_in(place, "venv/lib")
    rule = Rule(
        path=str(path),
        access=Access.READ_WRITE if write else Access.READ_ONLY,
        rights=("read_file", "write_file") if write else ("read_file",),
        origin=origin,
        reason="it is needed",
    )
    return Granted(
        source=Source(kind=SourceKind.USER, path=str(place / "policies" / "policy.yaml")),
        rules=(rule,),
        kept=Kept(paths=tuple(map(str, kept))),
        pythons=(python,),
    )


def test_every_check_stands_in_the_list_and_returns_nothing_that_could_be_ignored():
    functions = inspect.getmembers(checks, inspect.isfunction)
    ours = {function for _, function in functions if function.__module__ == checks.__name__}
    there = {function for function in ours if function.__name__.startswith("check_")} - {check_granted}
    assert there == set(CHECKS)
    assert {function.__annotations__["return"] for function in there} == {"None"}


def test_a_folder_of_the_notebooks_own_is_fit_to_be_granted(place):
    check_granted(granted(place, place / "notebooks"))


@pytest.mark.parametrize(
    ("folder", "named"),
    [
        pytest.param("policies", "policies", id="the folder of the policy that counts"),
        pytest.param("config", "config", id="a folder in which a policy would count for other notebooks"),
        pytest.param("data", "data", id="what says which policies are trusted"),
        pytest.param("venv", "venv", id="the Python environment"),
        pytest.param("venv/bin/sub", "venv/bin", id="a folder among the programs of the Python"),
        pytest.param("", "venv", id="a folder above all of it"),
    ],
)
def test_a_sandbox_may_not_write(place, folder, named):
    with refused(PolicyError, place / named, f"{place}/policies/policy.yaml"):
        check_granted(granted(place, place / folder))


def test_it_may_read_all_that(place):
    check_granted(granted(place, place, write=False))


def test_a_link_to_the_python_environment_is_looked_through(place):
    (place / "link").symlink_to("venv")
    with refused(PolicyError, place / "venv"):
        check_granted(granted(place, place / "link"))


def test_its_own_package_is_out_of_reach_where_no_python_imports_it(place):
    alone = dataclasses.replace(granted(place, OWN_PACKAGE), pythons=())
    with refused(PolicyError, OWN_PACKAGE):
        check_granted(alone)


def test_an_environment_that_stays_read_only_may_lie_in_a_writable_folder(place):
    (place / "notebooks" / "venv").mkdir()
    inside = granted(place, place / "notebooks", kept=[place / "notebooks" / "venv"])
    python = dataclasses.replace(inside.pythons[0], prefixes=(f"{place}/notebooks/venv",))
    check_granted(dataclasses.replace(inside, pythons=(python,)))
    with refused(PolicyError, f"{place}/notebooks/venv"):
        check_granted(dataclasses.replace(inside, pythons=(python,), kept=Kept()))


def test_only_a_policy_gives_the_keys_of_jupyters_servers(place):
    check_granted(granted(place, place / "keys", write=False))
    with refused(ConfigurationError, "JUPYTER_RUNTIME_DIR", at=place / "keys"):
        check_granted(granted(place, place / "keys", write=False, origin=Origin.RUNTIME_BASELINE))
