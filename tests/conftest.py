"""Fixtures for every test: what this machine offers, declared and not guessed, so that no test skips in silence."""

import os

import hypothesis
import pytest

from openshell_kernel.sandbox import landlock

# How long an example takes says nothing on a machine that does something else as well.
hypothesis.settings.register_profile("openshell", deadline=None)
hypothesis.settings.load_profile("openshell")

EXPECTED_ABI = "OPENSHELL_EXPECT_LANDLOCK_ABI"


@pytest.fixture(scope="session")
def landlock_abi() -> int:
    """The running kernel's Landlock ABI; where CI declares one, a mismatch fails instead of skipping."""
    support = landlock.probe()
    expected = os.environ.get(EXPECTED_ABI)
    if expected is not None:
        assert str(support.abi) == expected, (
            f"{EXPECTED_ABI} is {expected}, the kernel has {support.abi}: {support.cause}"
        )
    if support.abi is None:
        pytest.skip(f"no Landlock: {support.cause}")
    return support.abi
