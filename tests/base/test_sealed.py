"""What is sealed can be read by whoever is given it, and changed by nobody."""

import mmap
import os

import pytest

from openshell_kernel.base.sealed import is_sealed, sealed


@pytest.fixture
def fd():
    fd = sealed("test", b"content")
    yield fd
    os.close(fd)


def test_it_holds_the_content_and_is_inherited(fd):
    assert os.pread(fd, 100, 0) == b"content"
    assert os.get_inheritable(fd)
    assert is_sealed(fd)


def test_nobody_can_change_it(fd):
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    for attempt in (
        lambda: os.write(again, b"x"),
        lambda: os.ftruncate(again, 0),
        lambda: os.ftruncate(again, 100),
        lambda: mmap.mmap(again, 0, mmap.MAP_SHARED, mmap.PROT_WRITE),
    ):
        with pytest.raises(PermissionError):
            attempt()
    os.close(again)


def test_what_is_not_sealed_is_told_apart(tmp_path):
    loose = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    assert not is_sealed(loose)
    os.close(loose)
    with open(tmp_path / "file", "w") as file, pytest.raises(OSError, match="Invalid argument"):
        is_sealed(file.fileno())
