"""What the operator decides, for every policy: the provisioner's traits as checked values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.policy.model import Block, ConflictsPolicy, EnvironmentPolicy, Home

if TYPE_CHECKING:
    from collections.abc import Mapping

_Block = TypeVar("_Block", bound=Block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What the operator decides; see the traits of the provisioner for the meanings."""

    policy: str | None = None
    require_policy: bool = False
    require_landlock: bool = True
    require_seccomp: bool = True
    allow_root_proc: bool = False
    discovery_timeout: float = 5.0
    environment: EnvironmentPolicy = field(default_factory=EnvironmentPolicy)
    home: Home | None = None
    baseline_conflicts: ConflictsPolicy | None = None
    gpu_claims: str | None = None


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
