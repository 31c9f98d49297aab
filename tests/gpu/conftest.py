"""A fake driver for each test, and a fake tree for its device nodes."""

import shutil

import pytest
from fakes import nvml


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def library(compiled, tmp_path):
    """The folder of a driver library of this test's own; `nvml.configure` says what it answers."""
    folder = tmp_path / "library"
    shutil.copytree(compiled, folder)
    return folder


@pytest.fixture
def root(tmp_path):
    """A tree in which a driver with two GPUs made its nodes: minors 0 and 3."""
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    for name in ("nvidiactl", "nvidia0", "nvidia3", "nvidia-uvm"):
        (root / "dev" / name).touch()
    return root
