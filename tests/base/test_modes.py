"""What a notebook has done to modes is undone for its user, and nothing becomes more open than it was for others."""

import os
import stat
import subprocess
import sys
import tempfile

import pytest

from openshell_kernel.base.modes import mend


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize(("before", "after"), [(0, 0o700), (0o777, 0o755), (0o500, 0o700), (0o750, 0o750)])
def test_a_private_folder_is_usable_and_nobody_else_writes_in_it(folder, before, after):
    folder.chmod(before)
    mend(str(folder), private=True)
    assert mode(folder) == after


@pytest.mark.parametrize(("before", "after"), [(0, 0o400), (0o444, 0o444), (0o200, 0o600), (0o664, 0o664)])
def test_a_file_is_readable_and_otherwise_as_it_was(folder, before, after):
    file = folder / "policy.yaml"
    file.write_text("x")
    file.chmod(before)
    mend(str(file))
    assert mode(file) == after


def test_the_way_to_it_is_open_to_its_owner_and_to_nobody_else(folder):
    file = folder / "policy.yaml"
    file.write_text("x")
    for path in (file, folder, folder.parent):
        path.chmod(0)
    mend(str(file))
    assert [mode(path) for path in (folder.parent, folder, file)] == [0o100, 0o100, 0o400]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_user_who_is_not_root_reaches_it_again():
    code = (
        "import os, sys; from openshell_kernel.base.modes import mend\n"
        "os.setgid(54321); os.setuid(54321)\n"
        "top, file = sys.argv[1:]; os.makedirs(os.path.dirname(file)); open(file, 'w').write('read')\n"
        "for path in (file, os.path.dirname(file), top): os.chmod(path, 0)\n"
        "try: open(file)\n"
        "except PermissionError: print('closed')\n"
        "mend(file); print(open(file).read())"
    )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as top:
        os.chown(top, 54321, 54321)
        command = [sys.executable, "-c", code, f"{top}/x", f"{top}/x/y/policy.yaml"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "closed\nread\n"


def test_a_link_in_a_private_place_is_not_followed(folder, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o500)
    (folder / "link").symlink_to(precious)
    mend(str(folder / "link"), private=True)
    mend(str(folder / "missing"), private=True)
    assert mode(precious) == 0o500
