"""What one kernel needs, whatever its policy says: the trusted side finds it out, enrichment adds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openshell_kernel.policy.effective import Environment

if TYPE_CHECKING:
    from openshell_kernel.policy.baseline import Need
    from openshell_kernel.policy.effective import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is granted of a folder that holds something which must stay as it is.

    `kept` is that; `folders` may be read only, and `entries`, which lie in them beside it, written.
    """

    kept: tuple[str, ...]
    folders: tuple[str, ...]
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What this one kernel needs: the runtime baseline and its working directory.

    `workdir` is the folder to grant where the policy includes it; `workdir_refusal` says, instead, why none is safe.
    `workdir_parts` is what may be granted where the whole is not safe, and `kept` is what stays read-only in the whole.
    `refused` are paths, without symbolic links, that are named for the kernel and not granted to it, with sentences
    that say so unless the policy grants them all the same.
    `identity_applied` tells whether the kernel takes on the identity that the policy asks for. `exact` are the paths
    among the needs that were judged as they are named, so that no symbolic link may be on the way. `environment`,
    `home` and `notices` are recorded as they are.
    """

    needs: tuple[Need, ...]
    workdir: str
    workdir_refusal: str = ""
    workdir_parts: Beside | None = None
    kept: tuple[str, ...] = ()
    identity_applied: bool = False
    exact: frozenset[str] = frozenset()
    refused: tuple[tuple[str, str], ...] = ()
    environment: Environment = field(default_factory=Environment)
    home: Home | None = None
    notices: tuple[str, ...] = ()
