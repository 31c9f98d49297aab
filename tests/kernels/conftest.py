"""Every test here starts real kernels, as a user of its own."""

import pytest
from support.users import shared, user, write_policy

__all__ = ["shared", "user", "write_policy"]


@pytest.fixture(autouse=True)
def _confined(landlock_abi):
    """Every test here needs Landlock."""
