"""By changing modes of its user's files, which no layer forbids, a notebook stops no other kernel."""

import os
import stat
import subprocess
import sys

import pytest
from support import kernels
from support.errors import refused

from openshell_kernel.errors import ConfinementError

POLICY = "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/usr]}\n"


@pytest.fixture
def trusted(user):
    """A folder with a policy of its own that its user has trusted."""
    folder = user / "trusted"
    folder.mkdir()
    (folder / "openshell-policy.yaml").write_text(POLICY)
    command = [sys.executable, "-m", "openshell_kernel.cli", "trust", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("mode", [0, 0o666, 0o777])
def test_the_record_of_trust_the_runtime_folder_and_the_users_policy(user, trusted, write_policy, mode):
    policy = write_policy("version: 1\n")
    runtime = user / ".local" / "share" / "jupyter" / "runtime"
    store = user / ".local" / "share" / "openshell" / "trust.json"
    with kernels.started(cwd=user / "notebooks") as kernel:
        for path in (store, store.parent, runtime, policy, policy.parent, policy.parent.parent):
            assert kernel.run(f"import os; os.chmod({str(path)!r}, {mode})").error == ""
        with kernels.started(cwd=trusted) as other:
            assert "openshell-policy.yaml" in other.run("%policy show").text
        with kernels.started(cwd=user / "notebooks") as other:
            assert str(policy) in other.run("%policy show").text
    for path in (store, store.parent, runtime):
        assert not stat.S_IMODE(os.stat(path).st_mode) & 0o022


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server cannot look into the folder either")
def test_a_folder_that_a_notebook_has_closed_to_itself_is_refused_with_what_opens_it(user):
    closed = user / "notebooks" / "closed"
    closed.mkdir()
    with kernels.started(cwd=closed) as kernel:
        assert kernel.run("import os; os.chmod('.', 0)").error == ""
    with refused(ConfinementError, "chmod u+rwx", at=closed), kernels.started(cwd=closed):
        pass
    closed.chmod(0o700)
    with kernels.started(cwd=closed) as kernel:
        assert kernel.value("1 + 1") == 2
