"""Fixtures for every test: what this machine offers, declared and not guessed, so that no test skips in silence."""

import gc
import os
from pathlib import Path

import hypothesis
import pytest

from openshell_kernel.sandbox import ruleset

# How long an example takes says nothing on a machine that does something else as well.
hypothesis.settings.register_profile("openshell", deadline=None)
hypothesis.settings.load_profile("openshell")

HERE = Path(__file__).parent

# What a test needs to run, by the folder that it lies in and by the fixtures that it asks for.
FOLDERS = {"around": "kernel", "browser": "browser", "driver": "kernel", "escapes": "kernel", "kernels": "kernel"}
FIXTURES = {"chromium": "browser", "proxy": "hub"}
SLOW = frozenset({"kernel", "browser", "hub"})

EXPECTED_ABI = "OPENSHELL_EXPECT_LANDLOCK_ABI"


@pytest.fixture(scope="session")
def landlock_abi() -> int:
    """The running kernel's Landlock ABI; where CI declares one, a mismatch fails instead of skipping."""
    support = ruleset.probe()
    expected = os.environ.get(EXPECTED_ABI)
    if expected is not None:
        assert str(support.abi) == expected, (
            f"{EXPECTED_ABI} is {expected}, the kernel has {support.abi}: {support.cause}"
        )
    if support.abi is None:
        pytest.skip(f"no Landlock: {support.cause}")
    return support.abi


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Give each process of `-n` neighbouring tests, which share servers and kernels, and the rest of a slower one's."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark each test with what it needs, before `-m` selects by that; whatever needs something is slow."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        fixtures = getattr(item, "fixturenames", ())
        needs = {FOLDERS.get(folder), *(FIXTURES.get(name) for name in fixtures)} - {None}
        for name in needs:
            item.add_marker(name)
        if SLOW & {mark.name for mark in item.iter_markers()}:
            item.add_marker("slow")


def pytest_collection_finish():
    """Leave thousands of collected tests out of garbage collection: each IPython shell that ends collects all else."""
    gc.freeze()
