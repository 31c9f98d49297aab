"""What is configured becomes settings in one way, with a provisioner and without one."""

import pytest
from support.errors import refused

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.policy.effective import HomeKind
from openshell_kernel.server.provisioner import OpenShellProvisioner
from openshell_kernel.server.settings import Settings
from openshell_kernel.server.traits import IN_KERNELSPEC, SettingsTraits, kernelspec_settings


def test_nothing_configured_is_the_settings_of_their_own():
    assert kernelspec_settings({}) == Settings()


def test_a_kernelspecs_values_are_settings():
    made = kernelspec_settings({"home": "ephemeral", "required": {"seccomp": False}, "transport": "tcp"})
    assert (made.home, made.required) == (HomeKind.EPHEMERAL, {"seccomp": False})


@pytest.mark.parametrize("configuration", [{"hom": "project"}, {"home": "elsewhere"}, {"require_policy": "yes"}])
def test_what_is_wrong_in_a_kernelspec_is_refused_where_it_stands(configuration):
    with refused(ConfigurationError, *configuration, at=IN_KERNELSPEC):
        kernelspec_settings(configuration)


def test_the_provisioner_has_these_traits_and_no_others():
    own = set(OpenShellProvisioner.class_traits(config=True)) - {"log"}
    assert own == set(SettingsTraits.class_traits(config=True))
