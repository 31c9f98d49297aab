"""What the operator decides, for every policy: the provisioner's traits as checked values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.policy.model import Block, ConflictsPolicy, EnvironmentPolicy, GpuPolicy
from openshell_kernel.sandbox.layers.contract import Need
from openshell_kernel.sandbox.layers.table import LAYERS

if TYPE_CHECKING:
    from openshell_kernel.policy.effective import HomeKind

GPUS_VARIABLE = "OPENSHELL_SANDBOX_GPUS"
"""Names, in the environment of the server, what its kernels ask of GPUs; JSON. How a hub decides for each user."""

FORMER_TRAITS = {
    "require_landlock": "write required = {'landlock': False} for require_landlock = False",
    "require_seccomp": "write required = {'seccomp': False} for require_seccomp = False",
    "allow_root_proc": "write required = {'tunables': False} for allow_root_proc = True",
}
"""Traits that there are no longer, and what says the same now."""

_Block = TypeVar("_Block", bound=Block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decides; see the traits of the provisioner for the meanings."""

    policy: str | None = None
    require_policy: bool = False
    required: Mapping[str, bool] = field(default_factory=dict)
    discovery_timeout: float = 5.0
    required_discovery_timeout: float = 45.0
    environment: EnvironmentPolicy = field(default_factory=EnvironmentPolicy)
    home: HomeKind | None = None
    baseline_conflicts: ConflictsPolicy | None = None
    gpus: GpuPolicy | None = None
    gpu_claims: str | None = None


def required_layers(trait: Mapping[str, object]) -> dict[str, bool]:
    """Check what the operator says of layers: that a start is refused without one, or that it is not.

    Raises:
        ConfigurationError: there is no such layer, or no kernel goes without it.
    """
    checked_layers = {}
    for name, value in trait.items():
        if name not in LAYERS:
            raise ConfigurationError(f"required: there is no layer {name!r}; the layers are {', '.join(LAYERS)}")
        if not isinstance(value, bool):
            raise ConfigurationError(f"required: {name}: {value!r} is neither True nor False; write one of these")
        if not value and LAYERS[name].need is Need.ALWAYS:
            raise ConfigurationError(f"required: {name}: no kernel starts without this layer; remove it from here")
        checked_layers[name] = value
    return checked_layers


def requested_gpus(trait: Mapping[str, object], environ: Mapping[str, str]) -> GpuPolicy | None:
    """Return what the operator has every kernel ask of GPUs, by the trait `gpus` or the variable; None for nothing.

    Raises:
        ConfigurationError: it is wrong.
    """
    value: object = trait
    if not trait:
        try:
            value = json.loads(environ.get(GPUS_VARIABLE) or "{}")
        except (ValueError, RecursionError):
            raise ConfigurationError(f"{GPUS_VARIABLE}: not JSON; write {{}} for nothing") from None
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{GPUS_VARIABLE}: not a mapping; write {{}} for nothing")
    return checked("gpus", GpuPolicy, value) if value else None


def checked(trait: str, block: type[_Block], value: Mapping[str, object]) -> _Block:
    """Check a trait that is written like a block of the policy.

    Raises:
        ConfigurationError: a key, a name or a value is wrong.
    """
    try:
        return block.model_validate(value)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, (trait, *line['loc'])))}: {line['ctx']['problem']}; {line['ctx']['remedy']}"
            for line in error.errors(include_url=False)
        ]
        raise ConfigurationError(f"OpenShellProvisioner.{problems[0]}") from None
