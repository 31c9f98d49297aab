"""A private home is closed to others, the same for the same folder, and whatever a notebook left in it misleads nobody."""

import os
import stat
import subprocess
import sys

import pytest
from support.errors import refused

from openshell_kernel.errors import LaunchError
from openshell_kernel.policy.effective import HomeKind
from openshell_kernel.server.dirs import home
from openshell_kernel.server.dirs.private_dir import PrivateDir


@pytest.fixture
def private():
    folder = PrivateDir()
    yield folder
    folder.remove()


@pytest.fixture
def place(tmp_path):
    """A folder for data that does not exist yet, and the folder of a notebook."""
    (tmp_path / "work").mkdir()
    return tmp_path / "data" / "openshell" / "homes", tmp_path / "work"


def settled(place, private, kind=HomeKind.PROJECT):
    return home.settle(kind, workdir=str(place[1]), private=private, root=place[0])


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_it_is_closed_to_others_and_so_is_every_folder_of_ours_above_it(place, private):
    old = os.umask(0)
    try:
        made = settled(place, private)
    finally:
        os.umask(old)
    assert made.kind == "project"
    assert [mode(path) for path in (made.path, place[0], place[0].parent)] == [0o700] * 3


def test_a_folder_has_one_home_and_a_link_put_in_its_place_leads_to_no_other(place, private, tmp_path):
    (tmp_path / "other" / "work").mkdir(parents=True)
    first = settled(place, private).path
    assert settled(place, private).path == first
    place[1].rename(tmp_path / "away")
    place[1].symlink_to(tmp_path / "other" / "work")
    assert settled(place, private).path == first
    assert settled((place[0], tmp_path / "other" / "work"), private).path != first
    assert os.path.basename(first).startswith("work-")


def test_behind_a_link_no_home_is_kept_and_the_reason_is_told(place, private):
    made = home.settle(
        HomeKind.PROJECT, workdir=str(place[1]), private=private, link="a link leads there", root=place[0]
    )
    assert made.kind == "ephemeral"
    assert made.path.startswith(f"{private.path}/")
    assert "a link leads there" in made.notices[0]
    assert not place[0].exists()


@pytest.mark.parametrize("name", ["…", "a" * 200, "with space\n", "-rf", ".."])
def test_its_name_is_one_that_can_be_typed(name):
    assert home.name_of(f"/data/x/{name}").replace("-", "").replace(".", "").isalnum()
    assert not home.name_of(f"/data/x/{name}").startswith(("-", "."))
    assert len(home.name_of(f"/data/x/{name}")) < 64


def test_what_is_in_it_is_kept(place, private):
    path = settled(place, private).path
    with open(f"{path}/cache", "w") as stream:
        stream.write("warm")
    assert settled(place, private).path == path
    assert os.path.exists(f"{path}/cache")


@pytest.mark.parametrize("closed", [0o000, 0o777, 0o4755])
def test_a_home_that_a_notebook_opened_or_closed_is_put_right(place, private, closed):
    path = settled(place, private).path
    os.chmod(path, closed)
    settled(place, private)
    assert mode(path) == 0o700


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_something_else_in_its_place_is_refused(place, private, tmp_path, level, kind):
    path = settled(place, private).path
    for _ in range(level):
        path = os.path.dirname(path)
    os.rename(path, tmp_path / "moved")
    if kind == "link":
        os.symlink(tmp_path / "moved", path)
    else:
        open(path, "w").close()
    with refused(LaunchError, at=path):
        settled(place, private)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(place, private):
    path = settled(place, private).path
    os.chown(path, 65534, 65534)
    with refused(LaunchError, 65534, at=path):
        settled(place, private)


def test_a_user_may_keep_data_behind_a_link(place, private, tmp_path):
    (tmp_path / "disk").mkdir()
    place[0].parent.parent.symlink_to(tmp_path / "disk")
    assert settled(place, private).path.startswith(f"{tmp_path}/disk/openshell/homes/")


def test_where_none_can_be_kept_it_goes_away_with_the_kernel_and_says_so(place, private):
    place[0].parent.parent.write_text("not a folder")
    made = settled(place, private)
    assert (made.kind, made.path) == ("ephemeral", str(private.path / "home"))
    assert made.notices


def test_one_that_is_not_to_be_kept_goes_away_with_the_private_folder(place, private):
    made = settled(place, private, HomeKind.EPHEMERAL)
    assert (made.kind, made.notices, mode(made.path)) == ("ephemeral", (), 0o700)
    assert not place[0].exists()
    assert settled(place, private, HomeKind.EPHEMERAL).path == made.path
    private.remove()
    assert not os.path.exists(made.path)


def test_the_servers_data_folder_counts_if_it_is_absolute(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(home.homes({"XDG_DATA_HOME": "/srv/data"})) == "/srv/data/openshell/homes"
    assert str(home.homes({"XDG_DATA_HOME": "data"})) == "/home/ada/.local/share/openshell/homes"
    assert str(home.homes({})) == "/home/ada/.local/share/openshell/homes"


@pytest.fixture
def users(tmp_path):
    """The user's own packages: one that lies there, and one that a .pth file leads to; and a private home."""
    version = "python{}.{}".format(*sys.version_info)
    site = tmp_path / "own" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "of_the_user.py").touch()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "editable.py").touch()
    (site / "editable.pth").write_text(f"{tmp_path}/source\n")
    (tmp_path / "home").mkdir(mode=0o700)
    return str(tmp_path / "home"), str(site)


def imports(private_home, *names):
    base = os.path.realpath(sys.executable)
    return subprocess.run(
        [base, "-B", "-c", f"import {', '.join(names)}"], env={"HOME": private_home}, capture_output=True
    )


def test_packages_of_the_user_can_be_imported_and_so_can_those_of_the_home(users):
    assert home.show_packages(*users) == ""
    assert home.show_packages(*users) == ""
    site = os.path.join(users[0], ".local", *users[1].split("/")[-3:])
    open(f"{site}/of_the_home.py", "w").close()
    assert imports(users[0], "of_the_user", "editable", "of_the_home").returncode == 0
    assert sorted(os.listdir(site)) == ["of_the_home.py", "openshell_user_packages.pth"]


@pytest.mark.parametrize("link", [".local", ".local/lib"])
def test_a_link_that_a_notebook_left_leads_nothing_out_of_the_home(users, tmp_path, link):
    (tmp_path / "target").mkdir()
    path = os.path.join(users[0], link)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(tmp_path / "target", path)
    assert "cannot be imported" in home.show_packages(*users)
    assert os.listdir(tmp_path / "target") == []


def test_a_file_that_a_notebook_left_is_replaced_and_never_written_to(users, tmp_path):
    home.show_packages(*users)
    (tmp_path / "precious").write_text("precious")
    file = os.path.join(users[0], ".local", *users[1].split("/")[-3:], "openshell_user_packages.pth")
    for left in (os.symlink, os.link):
        os.unlink(file)
        left(tmp_path / "precious", file)
        assert home.show_packages(*users) == ""
    assert (tmp_path / "precious").read_text() == "precious"
    assert not os.path.islink(file)
