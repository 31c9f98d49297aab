"""Whatever tree a kernel has made is walked and removed, and nothing outside of it is touched."""

import os
import stat

import pytest

from openshell_kernel.server.dirs.untrusted_tree import remove_tree, walk

DEEP = 3000


def deepen(path, name="d", depth=DEEP):
    """Make folders in folders, with names that no path could hold, and a file in each."""
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "tree"
    path.mkdir()
    yield path
    remove_tree(str(path))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
def test_a_tree_deeper_than_any_path_and_than_python_recurses_is_removed(tree):
    deepen(tree)
    before = descriptors()
    remove_tree(str(tree))
    assert not tree.exists()
    assert descriptors() == before


def test_every_entry_is_walked_once_and_a_folder_after_what_is_in_it(tree):
    for name in ("a/b", "a/c", "e"):
        (tree / name).mkdir(parents=True)
    for name in ("a/b/1", "a/2", "3"):
        (tree / name).touch()
    found = [os.readlink(f"/proc/self/fd/{folder}") + "/" + name for folder, name in walk(str(tree))]
    assert sorted(found) == sorted(str(tree / name) for name in ("a", "a/b", "a/b/1", "a/2", "a/c", "e", "3"))
    for path in found:
        assert not [other for other in found[found.index(path) :] if other.startswith(f"{path}/")]


def test_a_folder_that_is_moved_away_meanwhile_ends_the_walk_where_it_is(tree, tmp_path):
    deepen(tree, depth=3)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    walked = walk(str(tree))
    folder, _ = next(walked)
    while os.readlink(f"/proc/self/fd/{folder}") != str(tree / "d" / "d"):
        folder, _ = next(walked)
    (tree / "d" / "d").rename(tmp_path / "outside" / "d")
    for folder, name in walked:
        assert not os.readlink(f"/proc/self/fd/{folder}").endswith("/outside"), name


def test_folders_that_nobody_may_enter_are_removed_and_links_are_not_followed(tree, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "inner" / "file").touch()
    (tree / "closed" / "link").symlink_to(tmp_path / "precious")
    os.mkfifo(tree / "closed" / "pipe")
    (tree / "closed" / "inner").chmod(0)
    (tree / "closed").chmod(0)
    remove_tree(str(tree))
    assert not tree.exists()
    assert (tmp_path / "precious" / "file").exists()


def test_the_folder_around_it_keeps_its_permissions_whatever_fails(tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o755)
    remove_tree(str(parent / "gone-already"))
    assert stat.S_IMODE(parent.stat().st_mode) == 0o755


def test_a_link_or_a_file_in_its_place_is_left_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("link", "folder/file"):
        remove_tree(str(tmp_path / name))
        assert (tmp_path / name).exists()
