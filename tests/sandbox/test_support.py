"""A missing Landlock has several causes, and each message says which it is and what to do."""

import errno
import os

import pytest

from openshell_kernel.sandbox import ruleset
from openshell_kernel.sandbox.layers.contract import Context
from openshell_kernel.sandbox.layers.landlock import Landlock
from openshell_kernel.sandbox.report import LayerStatus


def test_other_systems_are_told_to_use_linux():
    support = ruleset.probe(platform="darwin", release="23.0")
    assert support.abi is None
    assert "darwin" in support.cause


@pytest.mark.parametrize(
    ("code", "release", "named"),
    [
        (errno.ENOSYS, "5.10.0-28-amd64", "5.13"),
        (errno.ENOSYS, "6.18.0+", "CONFIG_SECURITY_LANDLOCK"),
        (errno.ENOSYS, "strange", "5.13"),
        (errno.EOPNOTSUPP, "6.1.0", "lsm="),
        (errno.EPERM, "6.1.0", "seccomp"),
        (errno.EIO, "6.1.0", os.strerror(errno.EIO)),
    ],
)
def test_each_cause_is_told_apart(code, release, named):
    assert named in ruleset.why_missing(code, release)


def test_nothing_is_prepared_without_landlock():
    support = ruleset.probe(platform="darwin", release="23.0")
    layer = Landlock(Landlock.takes(rules=()), Context(support=support, rules=()))
    report = layer.prepare()
    assert report is not None
    assert report.status is LayerStatus.ABSENT
    assert "darwin" in report.detail
