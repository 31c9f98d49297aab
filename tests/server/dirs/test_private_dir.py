"""A kernel's private folder is closed to others, short enough for sockets, and goes away whatever the kernel did to it."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.errors import refused

from openshell_kernel.errors import LaunchError
from openshell_kernel.server.dirs.private_dir import PrivateDir, private_dirs, remove_abandoned


@pytest.fixture
def folder():
    folder = PrivateDir()
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
        folders.append(PrivateDir())
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
    found = private_dirs()
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


MAKE = """
import sys, time
from openshell_kernel.server.dirs.private_dir import PrivateDir
folder = PrivateDir()
(folder.temporary / "left").write_text("by a kernel")
print(folder.path, flush=True)
time.sleep(600)
"""


def test_what_a_killed_server_left_is_removed_and_what_is_in_use_is_not(folder):
    with subprocess.Popen([sys.executable, "-c", MAKE], stdout=subprocess.PIPE, text=True) as process:
        other = Path(process.stdout.readline().strip())
        remove_abandoned()
        assert other.is_dir()
        process.send_signal(signal.SIGKILL)
    remove_abandoned()
    assert not other.exists()
    assert folder.temporary.is_dir()


@pytest.mark.parametrize("inside", [(), ("ipc", "tmp", "notes.txt")])
def test_a_folder_of_somebodys_that_is_merely_called_so_is_left_alone(made, elsewhere, inside):
    made(elsewhere)
    precious = elsewhere / "openshell-projects"
    precious.mkdir()
    for name in inside:
        (precious / name).mkdir()
    remove_abandoned()
    assert {path.name for path in precious.iterdir()} == set(inside)


def test_another_process_can_keep_a_folder_from_being_taken_for_abandoned(folder):
    code = "import time; print(flush=True); time.sleep(600)"
    kept = folder.descriptor()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=(kept,)) as process:
        os.close(kept)
        process.stdout.readline()
        os.close(folder._lock)  # noqa: SLF001 - as if this process had ended
        folder._lock = -1  # noqa: SLF001
        remove_abandoned()
        assert folder.path.is_dir()
        process.kill()
    remove_abandoned()
    assert not folder.path.exists()


def inodes(folder):
    return {path.stat().st_ino for path in (folder.sockets, folder.temporary, folder.runtime)}


def test_what_an_earlier_kernel_was_given_is_replaced_and_gone(folder):
    (folder.temporary / "left").write_text("by a kernel")
    held = os.open(folder.temporary, os.O_RDONLY)
    before = inodes(folder)
    folder.renew()
    assert not before & inodes(folder)
    assert list(folder.temporary.iterdir()) == os.listdir(held) == []
    assert sorted(path.name for path in folder.path.iterdir()) == ["ipc", "run", "tmp"]
    with pytest.raises(FileNotFoundError):
        os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=held)
    os.close(held)


def test_a_home_in_it_is_replaced_and_keeps_what_is_in_it(folder):
    home = folder.path / "home"
    (home / ".local" / "lib").mkdir(parents=True)
    (home / ".bash_history").symlink_to("/etc/passwd")
    before = home.stat().st_ino
    folder.renew()
    assert home.stat().st_ino != before
    assert sorted(path.name for path in home.iterdir()) == [".bash_history", ".local"]
    assert (home / ".local" / "lib").is_dir()


def test_modes_that_a_notebook_has_changed_are_mended(folder):
    (folder.path / "home").mkdir()
    for path in (folder.temporary, folder.sockets, folder.path / "home", folder.path):
        path.chmod(0)
    folder.renew()
    for path in (folder.path, folder.temporary, folder.sockets, folder.path / "home"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_folder_that_is_gone_is_refused_with_the_remedy(folder):
    folder.remove()
    with refused(LaunchError, folder.path):
        folder.renew()
