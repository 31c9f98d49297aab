"""What a policy opens that hardly anybody means to open is told; what everybody opens is not."""

import pytest
from fakes import snapshots

from openshell_kernel.policy.effective import Access, Origin
from openshell_kernel.policy.explain import Guarded, exposures
from openshell_kernel.policy.protected_paths import ProtectedPath, why_exposing


@pytest.fixture
def home(tmp_path):
    """A home directory with credentials, and a project in it."""
    for folder in (".ssh", ".cache/huggingface/hub", "project"):
        (tmp_path / "ada" / folder).mkdir(parents=True)
    return tmp_path / "ada"


def exposed(home, path, *, access=Access.READ_ONLY, origin=Origin.POLICY, secrets=(), readable=True):
    """What a policy with this one rule exposes."""
    policy = snapshots.effective(snapshots.rule(str(path), access, origin))
    guarded = Guarded(home=str(home), places=tuple(_secret(home, name) for name in (".ssh", *secrets)))
    return exposures(policy, guarded, may_read=lambda _: readable)


def _secret(home, name):
    return ProtectedPath(path=str(home / name), what="credentials of your account", secret=True)


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("name", ["", ".ssh", ".ssh/id_ed25519", ".."])
def test_credentials_and_whole_homes_are_exposed_by_reading_and_by_writing(home, name, access):
    (found,) = exposed(home, home / name, access=access)
    assert found.access is access
    assert found.why


def test_the_root_folder_is_exposed(home):
    (found,) = exposed(home, "/")
    assert (found.path, bool(found.why)) == ("/", True)


@pytest.mark.parametrize("path", ["project", ".cache/huggingface/hub", "nothing"])
def test_projects_and_models_in_a_home_are_not(home, path):
    assert exposed(home, home / path, secrets=[".cache/huggingface"]) == ()


def test_the_folder_that_holds_the_token_beside_the_models_is_exposed(home):
    assert exposed(home, home / ".cache/huggingface", secrets=[".cache/huggingface"])


@pytest.mark.parametrize("origin", [Origin.RUNTIME_BASELINE, Origin.GPU_BASELINE])
def test_what_a_baseline_needs_is_not_the_policys_doing(home, origin):
    assert exposed(home, home / ".ssh", origin=origin) == ()


def test_what_file_permissions_keep_closed_is_not_exposed(home):
    assert exposed(home, home / ".ssh", readable=False) == ()
    guarded = Guarded(home=str(home))
    assert why_exposing("/etc", guarded, accounts=list, may_read=lambda _: False) == ""
    assert "/etc/shadow" in why_exposing("/etc", guarded, accounts=list, may_read=lambda _: True)
