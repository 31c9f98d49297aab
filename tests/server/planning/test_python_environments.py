"""What is kept, pinned or granted beside an environment is decided by where it lies in what a policy makes writable."""

import asyncio
import os

import pytest

from openshell_kernel.policy.model import Policy
from openshell_kernel.server.planning import python_environments
from openshell_kernel.server.planning.protected_paths import ProtectedPath
from openshell_kernel.server.planning.python_environments import Kept, beside, keep


@pytest.fixture
def project(tmp_path):
    """A project with an environment in it and one deeper, data, and a link."""
    for name in (".venv/bin", "tools/deep/env", "data", "other"):
        (tmp_path / "project" / name).mkdir(parents=True)
    (tmp_path / "project" / "notes.txt").touch()
    (tmp_path / "project" / "tools" / "script.py").touch()
    (tmp_path / "project" / "link").symlink_to("data")
    return tmp_path / "project"


def place(path, **changes):
    return ProtectedPath(path=str(path), what="an environment", environment=True, **changes)


def kept(workdir, protected, *, writable=(), include=True):
    policy = {"version": 1, "filesystem_policy": {"include_workdir": include, "read_write": list(map(str, writable))}}
    return asyncio.run(keep(Policy.model_validate(policy), str(workdir), protected, {}))


@pytest.fixture(autouse=True)
def possible(monkeypatch):
    """As on a machine that allows mounts."""
    monkeypatch.setattr(python_environments, "_why_not", lambda *_: "")


def test_an_environment_in_the_folder_is_kept_and_what_is_above_it_pinned(project):
    found = kept(project, [place(project / ".venv"), place(project / "tools/deep/env")])
    assert found.paths == (str(project / ".venv"), str(project / "tools/deep/env"))
    assert found.pinned == (str(project / "tools"), str(project / "tools/deep"))
    assert found.holds(str(project / ".venv/bin/python"))
    assert not found.holds(str(project / ".venv-other"))


def test_it_is_pinned_up_to_the_topmost_folder_that_is_writable(project):
    found = kept(project, [place(project / ".venv")], writable=[project.parent])
    assert found.pinned == (str(project),)


@pytest.mark.parametrize("name", ["project", "elsewhere", "project/gone", "project/link-to-env"])
def test_nothing_is_kept_that_is_the_folder_itself_or_lies_elsewhere_or_is_not_there_or_a_link(project, name):
    (project.parent / "elsewhere").mkdir()
    (project / "link-to-env").symlink_to(project.parent / "elsewhere")
    assert kept(project, [place(project.parent / name)]) == Kept()


def test_nothing_is_kept_in_a_folder_that_the_policy_does_not_make_writable(project):
    assert kept(project, [place(project / ".venv")], include=False) == Kept()


def test_the_parts_of_one_are_kept_with_it(project):
    assert kept(project, [place(project / ".venv"), place(project / ".venv/bin")]).paths == (str(project / ".venv"),)


def test_beside_it_all_files_and_folders_are_granted_and_no_link(project):
    parts = beside(str(project), [place(project / ".venv"), place(project / "tools/deep/env")])
    assert parts.folders == tuple(str(project / name) for name in ("", "tools", "tools/deep"))
    assert parts.entries == tuple(str(project / name) for name in ("data", "notes.txt", "other", "tools/script.py"))


def test_a_link_to_one_is_kept_by_granting_what_is_beside_it(project):
    os.rename(project / ".venv", project.parent / "venv")
    (project / ".venv").symlink_to(project.parent / "venv")
    parts = beside(str(project), [place(project / ".venv")])
    assert parts.kept == (str(project / ".venv"),)
    assert str(project / ".venv") not in parts.entries


@pytest.mark.parametrize("count", [500, 501])
def test_a_folder_of_very_many_things_is_not_granted_one_by_one(tmp_path, count):
    (tmp_path / ".venv").mkdir()
    for number in range(count):
        (tmp_path / str(number)).touch()
    assert (beside(str(tmp_path), [place(tmp_path / ".venv")]) is None) is (count > 500)


def test_where_there_is_none_nothing_needs_to_be_divided(project):
    assert beside(str(project), [place(project), place(project.parent / "elsewhere")]) is None
