"""Btrfs makes subvolumes by commands that Landlock does not judge: none puts anything where a notebook may only read."""

import os
import shutil
import subprocess

import pytest
from support import kernels

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None, reason="to mount Btrfs takes root and mkfs.btrfs"
)
PLANT = """
import errno, fcntl, os, struct
BTRFS = 0x50009400
def command(number, folder, name, source=0):
    argument = struct.pack("q", source) + (bytes(48) if number in (23, 24) else b"") + name
    here = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(here, BTRFS | number, bytearray(argument.ljust(4096, bytes(1))))
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.close(here)
    return "ok"
def plant(target):
    made = command(14, ".", b"mine")
    os.makedirs("mine", exist_ok=True)
    open("mine/__init__.py", "w").write("import this")
    source = os.open("mine", os.O_RDONLY)
    return [made, command(1, target, b"first", source), command(23, target, b"second", source),
            command(14, target, b"third"), command(24, target, b"fourth"), command(15, target, b"theirs")]
"""


@pytest.fixture
def volume(user):
    """A file system with notebooks and packages that they may read, among which there is a subvolume."""
    image, place = user / "image", user / "volume"
    image.touch()
    os.truncate(image, 128 << 20)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, place], check=False, capture_output=True).returncode:
        pytest.skip("Btrfs cannot be mounted here")
    try:
        (place / "notebooks").mkdir()
        (place / "packages").mkdir()
        subprocess.run(["btrfs", "subvolume", "create", place / "packages" / "theirs"], check=True, capture_output=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def planted(name, volume):
    with kernels.started(name, cwd=volume / "notebooks") as kernel:
        assert kernel.run(PLANT).error == ""
        return kernel.value(f"plant({str(volume / 'packages')!r})"), sorted(os.listdir(volume / "packages"))


def test_without_the_sandbox_subvolumes_are_made_and_removed(volume):
    assert planted("python3", volume) == (["ok"] * 6, ["first", "fourth", "second", "third"])


def test_no_subvolume_is_made_or_removed(volume, write_policy):
    write_policy(
        f"version: 1\nfilesystem_policy: {{include_workdir: true, read_only: [/usr, /proc, {volume / 'packages'}]}}\n"
    )
    assert planted("openshell-gpu", volume) == (["EPERM"] * 6, ["theirs"])
