"""Two kernels of one user: whatever OpenShell's policies grant one of them, the other's keys and files are its own."""

import os
import sys

import pytest
from support import kernels
from support.errors import check_message, refused

import openshell_kernel
from openshell_kernel.errors import ConfigurationError
from openshell_kernel.server.dirs import private_dir

grants_tmp = pytest.mark.skipif(
    any(os.path.realpath(path).startswith("/tmp/") for path in (sys.prefix, openshell_kernel.__file__)),
    reason="the tests' own Python lies in /tmp, and a policy that grants that is refused",
)
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
        snapshot = second.record()
    return eval(seen.text, {}), "\n".join(snapshot["effective"]["notices"])  # noqa: S307 - what our own code printed


@grants_tmp
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(
            "version: 1\nfilesystem_policy: {include_workdir: false, read_write: [/tmp]}\n", id="one that grants /tmp"
        ),
        pytest.param(NETWORK, id="one with network policies, which bring /tmp along"),
    ],
)
def test_a_kernel_that_may_write_tmp_reaches_no_other_kernel(user, first, write_policy, policy):
    write_policy(policy)
    seen, _ = neighbour(user, first)
    assert seen == ["PermissionError"] * 3


def test_a_policy_that_opens_another_kernels_folder_does_and_it_is_told(user, first, write_policy):
    write_policy("version: 1\nfilesystem_policy: {include_workdir: false, read_only: [/var/tmp]}\n")
    seen, notices = neighbour(user, first)
    assert "PermissionError" not in seen
    check_message(notices, "read_only", "/var/tmp")


@grants_tmp
def test_a_kernels_folder_in_tmp_is_told_where_network_policies_open_it(user, write_policy, monkeypatch):
    write_policy(NETWORK)
    with monkeypatch.context() as patch:
        # As where /var/tmp cannot be written. It is locked, so that no server of another test sweeps it away.
        patch.setattr(private_dir, "_bases", lambda: ["/tmp"])
        folder = private_dir.PrivateDir()
    try:
        with kernels.started(cwd=user / "notebooks") as kernel:
            notices = kernel.record()["effective"]["notices"]
    finally:
        folder.remove()
    assert [n for n in notices if all(name in n for name in ("proxy baseline", "read_write", str(folder.path)))]


def test_without_such_a_policy_there_is_nothing_to_tell(user, first):
    _, notices = neighbour(user, first)
    assert notices == ""


@pytest.mark.parametrize("folder", ["share/jupyter/runtime", "lib/runtime"])
def test_keys_of_jupyter_among_what_every_kernel_reads_refuse_the_start(user, monkeypatch, folder):
    runtime = os.path.join(sys.prefix, folder)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", runtime)
    try:
        with (
            refused(ConfigurationError, "JUPYTER_RUNTIME_DIR", at=runtime),
            kernels.started(cwd=user / "notebooks"),
        ):
            pass
    finally:
        os.rmdir(runtime)
