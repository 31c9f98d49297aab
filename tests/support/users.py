"""Fixtures: a user of the test's own, with home, configuration, temporary folder, and a key that no notebook may read."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def user(tmp_path_factory, monkeypatch):
    """A home directory, with everything that Jupyter and this package look up leading into it."""
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "IPYTHON", "XDG_", "OPENSHELL_SANDBOX"))]:
        monkeypatch.delenv(name)
    tmp_path_factory.getbasetemp()  # pytest makes it where TMPDIR leads when it is first asked
    # Not in /tmp, which many policies let the sandbox write: a policy of the user's would be refused there.
    home = Path(tempfile.mkdtemp(prefix="openshell-home-", dir="/var/tmp"))
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").write_text("SECRET")
    (home / "notebooks").mkdir()
    # Short, because names of sockets are made of it, and not in /tmp, where no private folder is made.
    temporary = tempfile.mkdtemp(prefix="t-", dir="/var/tmp")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", temporary)
    monkeypatch.setattr("tempfile.tempdir", None)
    yield home
    # A kernel that ends on its own removes its folder in its own time.
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(home)


@pytest.fixture
def write_policy(user):
    """Return a function that writes the user's policy."""
    path = user / ".config" / "openshell" / "policy.yaml"

    def write(text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def shared(user, monkeypatch):
    """A folder that every user can reach, with the folder of temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="o-", dir="/var/tmp"))
    folder.chmod(0o755)
    (folder / "t").mkdir()
    (folder / "t").chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder / "t"))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield folder
    shutil.rmtree(folder)
