"""A kernel's private folder is closed to others, short enough for sockets, and goes away whatever the kernel did to it."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from openshell_kernel.server.private import PrivateFolder, private_folders


@pytest.fixture
def folder():
    folder = PrivateFolder()
    yield folder
    folder.remove()


def test_only_its_owner_may_enter(folder):
    for path in (folder.path, folder.sockets, folder.temporary, folder.runtime):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.fixture
def elsewhere():
    """A folder for temporary files that is not in /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture
def made(monkeypatch):
    """Return a function that makes a private folder where TMPDIR is a certain folder."""
    folders = []

    def made(temporary):
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        folders.append(PrivateFolder())
        return folders[-1]

    yield made
    for folder in folders:
        folder.remove()


def test_a_long_tmpdir_is_left_for_a_shorter_one(elsewhere, made):
    long = elsewhere / ("x" * 100)
    long.mkdir()
    assert len(f"{made(long).temporary}/pymp-12345678/listener-12345678") <= 107
    assert list(long.iterdir()) == []


def test_it_is_where_tmpdir_leads_but_not_in_tmp_which_policies_grant(elsewhere, made):
    assert made(elsewhere).path.parent == elsewhere
    (elsewhere / "link").symlink_to("/tmp")
    for temporary in ("/tmp", elsewhere / "link", elsewhere / "missing"):
        assert made(temporary).path.parent == Path("/var/tmp")


def test_the_folders_of_all_kernels_are_known_wherever_they_are(elsewhere, made, tmp_path):
    folders = [made("/tmp"), made(elsewhere)]
    (elsewhere / "openshell-notmadeso").mkdir()
    (elsewhere / "openshell-linkaway").symlink_to(tmp_path)
    found = private_folders()
    assert {str(folder.path) for folder in folders} <= set(found)
    assert [path for path in found if path.startswith(str(elsewhere))] == [str(folders[1].path)]


def test_it_is_removed_with_folders_that_nobody_may_enter_and_links_are_not_followed(folder, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    closed = folder.temporary / "closed"
    (closed / "inner").mkdir(parents=True)
    (closed / "inner" / "file").write_text("x")
    (folder.temporary / "link").symlink_to(precious)
    os.chmod(closed / "inner", 0)
    os.chmod(closed, 0)
    folder.remove()
    assert not folder.path.exists()
    assert (precious / "file").exists()
