"""The provisioner's traits, and how their values become `Settings`: for Jupyter, and for who has only a kernelspec."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Enum, Float, HasTraits, TraitError, Unicode

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.policy.effective import HomeKind
from openshell_kernel.policy.model import ConflictsPolicy, EnvironmentPolicy
from openshell_kernel.server.process.connecting import Transport
from openshell_kernel.server.settings import FORMER_TRAITS, Settings, checked, requested_gpus, required_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

IN_KERNELSPEC = "kernel.json, metadata.kernel_provisioner.config"
IN_CONFIGURATION = "c.OpenShellProvisioner, in Jupyter's configuration"


class SettingsTraits(HasTraits):
    """What can be configured, for one kernelspec or for all."""

    policy = Unicode(
        None,
        allow_none=True,
        help=(
            "Absolute path of the policy file for all notebooks. If it is empty, the first of these counts: "
            "OPENSHELL_SANDBOX_POLICY, a trusted openshell-policy.yaml near the notebook, the user's "
            "openshell/policy.yaml, /etc/openshell/policy.yaml, the built-in policy."
        ),
    ).tag(config=True)
    require_policy = Bool(
        False,
        help=(
            "Start no kernel without a policy of the operator: this trait `policy`, OPENSHELL_SANDBOX_POLICY "
            "or /etc/openshell/policy.yaml. The policies of users, those near notebooks and the built-in one "
            "do not count."
        ),
    ).tag(config=True)
    required = Dict(
        help=(
            "Which layers of protection a kernel must have. {'seccomp': False} starts one even if seccomp "
            "cannot be enforced, and says what stays open. {'processes': True} refuses if other processes "
            "cannot be hidden. Landlock, seccomp, and what protects the machine from a kernel that runs as "
            "root are required by default. A policy with hard_requirement always requires Landlock."
        ),
    ).tag(config=True)
    discovery_timeout = Float(
        5.0,
        help=(
            "How many seconds the search for GPUs may take, before the kernel starts without their names. The "
            "driver goes on, and a kernel that starts later has the answer."
        ),
    ).tag(config=True)
    required_discovery_timeout = Float(
        45.0,
        help=(
            "The same if the policy requires GPUs: then the start is refused without an answer. Without "
            "persistence mode a driver takes 5 to 30 seconds."
        ),
    ).tag(config=True)
    environment = Dict(
        help=(
            "Environment variables for every kernel, as in the policy's jupyter.environment: "
            "{'pass': ['WANDB_*'], 'set': {'HF_HUB_OFFLINE': '1'}}. What is set here overrides the policy. The "
            "`env` of kernel.json passes too."
        ),
    ).tag(config=True)
    home = Enum(
        [kind.value for kind in HomeKind],
        None,
        allow_none=True,
        help=(
            "Which home every kernel gets, whatever the policy's jupyter.home says: project keeps one for the "
            "notebooks of a folder, ephemeral deletes it with the kernel."
        ),
    ).tag(config=True)
    baseline_conflicts = Dict(
        help=(
            "What happens if a policy lists a path read-only that a baseline needs read-write, as in the policy's "
            "jupyter.baseline_conflicts: {'mode': 'reject_unlisted', 'allow_promotion': ['/proc']}. A policy can "
            "be stricter than this, never looser. If this is empty, only the policy decides."
        ),
    ).tag(config=True)
    gpus = Dict(
        help=(
            "Which GPUs every kernel asks for, instead of the policy's jupyter.gpu: "
            "{'count': 1, 'request': 'required'}. If this is empty, the server's variable OPENSHELL_SANDBOX_GPUS "
            "decides, which has the same as JSON, and then the policy."
        ),
    ).tag(config=True)
    gpu_claims = Unicode(
        None,
        allow_none=True,
        help=(
            "Absolute path of the folder that records which running kernel holds which GPU. By default all "
            "users of the machine share one, in /run/lock or /var/tmp. If users' servers run in containers, "
            "name one that is mounted into all of them. Everybody must be able to write it, with the sticky "
            "bit (mode 1777)."
        ),
    ).tag(config=True)
    transport = Enum(
        [transport.value for transport in Transport],
        Transport.IPC.value,
        help=(
            "How Jupyter talks to the kernel: ipc uses Unix sockets in a private folder, tcp uses ports of the "
            "loopback interface."
        ),
    ).tag(config=True)

    @classmethod
    def check_keys(cls, keys: Iterable[str]) -> None:
        """Make sure that there are traits of these names: traitlets only warns of a key that it does not know.

        Raises:
            ConfigurationError: there is none of a name.
        """
        known = SettingsTraits.class_traits(config=True)
        unknown = sorted(set(keys) - set(known))
        if unknown and unknown[0] in FORMER_TRAITS:
            raise ConfigurationError(f"{unknown[0]} was removed: {FORMER_TRAITS[unknown[0]]}")
        if unknown:
            raise ConfigurationError(f"unknown key {unknown[0]!r}; the keys are {', '.join(sorted(known))}")

    def settings(self) -> Settings:
        """Return the traits as the planner takes them.

        Raises:
            ConfigurationError: `required`, `environment`, `baseline_conflicts`, `gpus` or `gpu_claims` is wrong.
        """
        return Settings(
            policy=self.policy,
            require_policy=self.require_policy,
            required=required_layers(self.required),
            discovery_timeout=self.discovery_timeout,
            required_discovery_timeout=self.required_discovery_timeout,
            environment=checked("environment", EnvironmentPolicy, self.environment),
            home=HomeKind(self.home) if self.home else None,
            baseline_conflicts=checked("baseline_conflicts", ConflictsPolicy, self.baseline_conflicts)
            if self.baseline_conflicts
            else None,
            gpus=requested_gpus(self.gpus, os.environ),
            gpu_claims=_absolute("gpu_claims", self.gpu_claims),
        )


def kernelspec_settings(configuration: Mapping[str, Any]) -> Settings:
    """Return the settings in a kernelspec's `metadata.kernel_provisioner.config`, for a start without a provisioner.

    Raises:
        ConfigurationError: a key is unknown, or a value is wrong.
    """
    with located(IN_KERNELSPEC):
        SettingsTraits.check_keys(configuration)
        traits = SettingsTraits(**configuration)
    return traits.settings()


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Let errors of the configuration say where it stands.

    Raises:
        ConfigurationError: something in it is wrong.
    """
    try:
        yield
    except (ConfigurationError, TraitError) as error:
        raise ConfigurationError(f"{place}: {error}") from None


def _absolute(trait: str, path: str | None) -> str | None:
    if path is not None and not os.path.isabs(path):
        raise ConfigurationError(f"OpenShellProvisioner.{trait}: {path!r} is a relative path; write an absolute one")
    return path
