"""What the operator decides, for every policy: the provisioner's traits as checked values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.policy.model import Block, ConflictsPolicy, EnvironmentPolicy, GpuPolicy

if TYPE_CHECKING:
    from openshell_kernel.policy.effective import HomeKind

GPUS_VARIABLE = "OPENSHELL_SANDBOX_GPUS"
"""Names, in the environment of the server, what its kernels ask of GPUs; JSON. How a hub decides for each user."""

_Block = TypeVar("_Block", bound=Block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decides; see the traits of the provisioner for the meanings."""

    policy: str | None = None
    require_policy: bool = False
    require_landlock: bool = True
    require_seccomp: bool = True
    allow_root_proc: bool = False
    discovery_timeout: float = 5.0
    required_discovery_timeout: float = 45.0
    environment: EnvironmentPolicy = field(default_factory=EnvironmentPolicy)
    home: HomeKind | None = None
    baseline_conflicts: ConflictsPolicy | None = None
    gpus: GpuPolicy | None = None
    gpu_claims: str | None = None


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
