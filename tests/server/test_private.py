"""A kernel's private folder is closed to others, short enough for sockets, and goes away whatever the kernel did to it."""

import os
import stat

import pytest

from openshell_kernel.server.private import PrivateFolder, remove_tree


@pytest.fixture
def folder():
    folder = PrivateFolder()
    yield folder
    folder.remove()


def test_only_its_owner_may_enter(folder):
    for path in (folder.path, folder.sockets, folder.temporary, folder.runtime):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_long_tmpdir_is_left_for_a_shorter_one(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = PrivateFolder()
    try:
        assert len(f"{folder.temporary}/pymp-12345678/listener-12345678") <= 107
        assert list(long.iterdir()) == []
    finally:
        folder.remove()


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


def test_the_folder_around_it_keeps_its_permissions_whatever_fails(tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o755)
    remove_tree(str(parent / "gone-already"))
    assert stat.S_IMODE(parent.stat().st_mode) == 0o755
