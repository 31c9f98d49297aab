"""A missing Landlock has several causes, and each message says which it is and what to do."""

import errno

import pytest

from openshell_kernel.errors import ConfinementError
from openshell_kernel.sandbox import landlock


def test_other_systems_are_told_to_use_linux():
    support = landlock.probe(platform="darwin", release="23.0")
    assert support.abi is None
    assert "only on Linux, and this is darwin" in support.cause


@pytest.mark.parametrize(
    ("code", "release", "words"),
    [
        (errno.ENOSYS, "5.10.0-28-amd64", "came with 5.13; update the kernel"),
        (errno.ENOSYS, "6.18.0+", "CONFIG_SECURITY_LANDLOCK"),
        (errno.ENOSYS, "strange", "update the kernel"),
        (errno.EOPNOTSUPP, "6.1.0", "disabled at boot"),
        (errno.EPERM, "6.1.0", "seccomp profile"),
        (errno.EIO, "6.1.0", "cannot be used"),
    ],
)
def test_each_cause_has_its_message(code, release, words):
    assert words in landlock.why_missing(code, release)


def test_nothing_is_prepared_without_landlock():
    with pytest.raises(ConfinementError, match="only on Linux"):
        landlock.prepare([], landlock.probe(platform="darwin", release="23.0"))
