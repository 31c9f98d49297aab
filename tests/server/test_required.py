"""Which layers a kernel must have: one trait of the operator's, checked before anything is started."""

import pytest
from support.errors import refused

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.sandbox.layers.table import LAYERS
from openshell_kernel.server.planning.launch_plan import required
from openshell_kernel.server.provisioner import OpenShellProvisioner
from openshell_kernel.server.settings import FORMER_TRAITS, required_layers


def test_by_default_all_are_required_but_what_not_every_machine_can_do():
    assert set(required(LAYERS, {})) == LAYERS.keys() - {"processes", "keeper"}


def test_only_what_is_asked_for_is_required():
    assert required(["landlock", "keeper"], {}) == ("landlock",)


def test_an_operator_waives_one_and_requires_another():
    assert required(["landlock", "seccomp", "keeper"], {"seccomp": False, "keeper": True}) == ("landlock", "keeper")


def test_what_a_policy_requires_no_operator_waives():
    assert required(["landlock", "seccomp"], {"landlock": False}, policys=("landlock",)) == ("landlock", "seccomp")


@pytest.mark.parametrize(
    ("trait", "named"),
    [
        ({"firewall": True}, "firewall"),
        ({"seccomp": "no"}, "seccomp"),
        ({"seccomp": 0}, "seccomp"),
        ({"capabilities": False}, "capabilities"),
        ({"identity": False}, "identity"),
    ],
)
def test_what_cannot_be_is_refused(trait, named):
    with refused(ConfigurationError, "required", named):
        required_layers(trait)


def test_what_can_be_is_kept():
    assert required_layers({"landlock": False, "processes": True}) == {"landlock": False, "processes": True}


@pytest.mark.parametrize("name", FORMER_TRAITS)
def test_a_trait_of_before_is_answered_with_what_to_write_instead(name):
    with pytest.raises(ConfigurationError) as caught:
        OpenShellProvisioner(**{name: False})
    assert name in str(caught.value)
    assert "required = {" in str(caught.value)
