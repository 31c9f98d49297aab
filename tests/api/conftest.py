"""A folder to run programs in, and a policy beside it that includes it."""

import os

import pytest
from support.users import user

__all__ = ["user"]

POLICY = """\
version: 1
filesystem_policy: {include_workdir: true, read_only: [/usr]}
"""


@pytest.fixture
def folder(user, monkeypatch):
    """The working directory of this process: a user's folder, as notebooks lie in."""
    monkeypatch.chdir(user / "notebooks")
    return user / "notebooks"


@pytest.fixture
def policy(user):
    path = user / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def secret(user):
    path = user / ".ssh" / "id_ed25519"
    assert os.path.exists(path)
    return str(path)
