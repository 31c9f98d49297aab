"""Ways around the sandbox: most are tried in real kernels, as a user of the test's own."""

from support.users import shared, user, write_policy

__all__ = ["shared", "user", "write_policy"]
