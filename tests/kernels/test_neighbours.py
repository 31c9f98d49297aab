"""Two kernels of one user: whatever OpenShell's policies grant one of them, the other's keys and files are its own."""

import json
import os
import sys

import pytest
from support import kernels

import openshell_kernel

NETWORK = (
    "version: 1\nnetwork_policies:\n  api:\n    name: api\n    endpoints: [{host: example.org, port: 443}]\n"
    "    binaries: [{path: /usr/bin/curl}]\n"
)
LOOK = """
import os
def names(folder):
    try:
        return os.listdir(folder)
    except OSError as error:
        return type(error).__name__
print([names(folder) for folder in FOLDERS])
"""


@pytest.fixture
def first(user, monkeypatch):
    """A kernel whose server knows no other folder for temporary files than the machine's."""
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr("tempfile.tempdir", None)
    (user / "notebooks" / "first").mkdir()
    (user / "notebooks" / "second").mkdir()
    with kernels.started(cwd=user / "notebooks" / "first") as kernel:
        yield kernel


def neighbour(user, first):
    """Start another kernel, and return what it sees of the first one's folders and its notices."""
    temporary = first.value("__import__('os').environ['TMPDIR']")
    sockets = os.path.dirname(first.manager.ip)
    folders = [temporary, sockets, os.path.dirname(sockets)]
    with kernels.started(cwd=user / "notebooks" / "second") as second:
        seen = second.run(f"FOLDERS = {folders!r}\n{LOOK}")
        assert seen.error == ""
        snapshot = json.loads(second.run("%policy show --json").text)
    return eval(seen.text, {}), "\n".join(snapshot["effective"]["notices"])  # noqa: S307 - what our own code printed


@pytest.mark.skipif(
    any(os.path.realpath(path).startswith("/tmp/") for path in (sys.prefix, openshell_kernel.__file__)),
    reason="the tests' own Python lies in /tmp, and a policy that grants that is refused",
)
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("version: 1\nfilesystem_policy: {read_write: [/tmp]}\n", id="one that grants /tmp"),
        pytest.param(NETWORK, id="one with network policies, which bring /tmp along"),
    ],
)
def test_a_kernel_that_may_write_tmp_reaches_no_other_kernel(user, first, write_policy, policy):
    write_policy(policy)
    seen, _ = neighbour(user, first)
    assert seen == ["PermissionError"] * 3
