"""No file is emptied that the sandbox may not write, also where Landlock is too old to decide about truncation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from openshell_kernel.sandbox.layers.landlock import before_abi
from openshell_kernel.server.planning import seccomp_filter

pytestmark = pytest.mark.usefixtures("landlock_abi")
PROGRAM = Path(__file__).with_name("old_landlock.py")
CONTENT = "precious"
# What each of these ABIs leaves to the filter.
TOO_OLD = (1, 2)


@pytest.fixture
def place(tmp_path):
    """A folder that may be written, one that may be read, and one that may not."""
    for name in ("written", "read", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(CONTENT)
    return tmp_path


def attempt(place, name, folder, *, abi, filtered=True):
    """Try it with this Landlock and its filter; return the outcome and whether the file is still whole."""
    request = {
        "abi": abi,
        "readable": ["/usr", "/proc", sys.prefix, sys.base_prefix, str(place / "read")],
        "writable": [str(place / "written")],
        "program": seccomp_filter.build(abi=abi).program.hex() if filtered else "",
        "attempt": name,
        "path": str(place / folder / "file"),
    }
    process = subprocess.run([sys.executable, PROGRAM], input=json.dumps(request), capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    told = json.loads(process.stdout)
    return told["outcome"], told["left"] == len(CONTENT)


@pytest.mark.parametrize("abi", TOO_OLD)
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("truncate", "closed"),
        ("truncate", "read"),
        ("truncate through a descriptor's name", "closed"),
        ("open to read", "read"),
        ("open to neither", "closed"),
    ],
)
def test_an_old_landlock_lets_files_be_emptied_and_the_filter_does_not(place, abi, name, folder):
    assert attempt(place, name, folder, abi=abi) == ("EPERM", True)
    assert attempt(place, name, folder, abi=abi, filtered=False) == ("ok", False)


@pytest.mark.parametrize("abi", TOO_OLD)
@pytest.mark.parametrize("name", ["open to write", "creat", "ftruncate"])
def test_what_needs_the_right_to_write_is_left_to_landlock(place, abi, name):
    assert attempt(place, name, "closed", abi=abi) == ("EACCES", True)
    assert attempt(place, name, "written", abi=abi) == ("ok", False)


@pytest.mark.parametrize("name", ["truncate", "open to read"])
def test_a_newer_landlock_decides_itself_and_grants_it_where_writing_is_granted(place, landlock_abi, name):
    if landlock_abi < 3:
        pytest.skip(f"Landlock ABI {landlock_abi} does not decide about truncation")
    assert attempt(place, name, "read", abi=landlock_abi) == ("EACCES", True)
    assert attempt(place, name, "written", abi=landlock_abi) == ("ok", False)


def test_no_file_is_opened_past_landlock_by_asking_neither_to_read_nor_to_write(place, landlock_abi):
    name = "open to neither, without emptying"
    assert attempt(place, name, "closed", abi=landlock_abi) == ("EPERM", True)
    assert attempt(place, name, "closed", abi=landlock_abi, filtered=False) == ("ok", True)


def test_what_a_landlock_lacks_is_told_for_each_abi():
    lacking = {abi: [item.what for item in before_abi(abi)] for abi in range(1, 8)}
    assert lacking == {
        1: ["moving files between folders", *lacking[2]],
        2: ["truncating files", *lacking[3]],
        3: lacking[4],
        4: ["commands to devices (ioctl)", *lacking[5]],
        5: ["signals and abstract Unix sockets"],
        6: [],
        7: [],
    }
