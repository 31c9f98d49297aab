"""The effective policy: what one kernel was given, with the origin of every right, as values and as JSON.

Written by the trusted side, read inside the sandbox by `%policy`: imports the ground floor only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from openshell_kernel.base import rights, wire
from openshell_kernel.base.claims import Holder  # noqa: TC001 - the codec reads the types
from openshell_kernel.base.enums import StrEnum
from openshell_kernel.base.hardware import Extra, Family, Hardware  # noqa: TC001 - as above
from openshell_kernel.base.rules import Access, Origin, Rule, Unenforced
from openshell_kernel.errors import SnapshotError

__all__ = ["Access", "Origin", "Rule", "Unenforced", "decode"]

MAX_PATHS = 256
"""How many paths OpenShell lets a policy list, read_only and read_write together."""

READ_RIGHTS, WRITE_RIGHTS, DEVICE_RIGHTS = rights.READ, rights.WRITE, rights.DEVICE
PROC_READ_RIGHTS, PROC_WRITE_RIGHTS = rights.PROC_READ, rights.PROC_WRITE


class Compatibility(StrEnum):
    """What to do where Landlock cannot do all that is asked for."""

    BEST_EFFORT = "best_effort"
    HARD_REQUIREMENT = "hard_requirement"


class HomeKind(StrEnum):
    """How long a kernel's private home is kept: for the notebooks of one folder, or as long as the kernel runs."""

    PROJECT = "project"
    EPHEMERAL = "ephemeral"


class GpuRequest(StrEnum):
    """Whether a kernel is to have GPUs: what is there, nothing, or no start without."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A path that the policy lists read-only and a baseline made read-write, as the conflict settings allow."""

    path: str
    origin: Origin
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A path that a baseline wants read-write and that stays read-only, because the policy says so."""

    path: str
    origin: Origin
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A rule that was not applied, and why."""

    path: str
    access: Access
    origin: Origin
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSelection:
    """Which GPUs a kernel is given.

    `granted` tells whether it is given any, and with them the GPU baseline. `devices` are the GPUs and MIG devices by
    index, as "0" or "1:2"; `visible` is the value of CUDA_VISIBLE_DEVICES, None where that is left as it was. `nodes`
    are the GPUs' own device nodes, `capabilities` those of MIG. `hold` are the UUIDs that the kernel holds while it
    runs, so that none that counts GPUs is given them, `held` what others held when it started, and `records` the
    folders that tell who holds what by now.
    """

    request: GpuRequest = GpuRequest.AUTO
    granted: bool = False
    devices: tuple[str, ...] = ()
    visible: str | None = None
    nodes: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    extras: tuple[Family, ...] = ()
    hold: tuple[str, ...] = ()
    held: tuple[Holder, ...] = ()
    records: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def own_nodes(self) -> tuple[str, ...]:
        """The device nodes that belong to the selected GPUs and MIG devices alone."""
        return (*self.nodes, *self.capabilities)

    def includes(self, extra: Extra) -> bool:
        """Return whether devices of a family are given."""
        return any(family.name == extra for family in self.extras)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The names of environment variables, never their values.

    `passed` came from the server, `added` were set for this kernel, and `withheld` are what the server has besides.
    """

    passed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The kernel's private home, and how long it is kept."""

    kind: HomeKind
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePolicy:
    """What a kernel is allowed, and everything that was decided on the way there.

    `source` says where the policy came from;
    `declared` is the policy as its author wrote it, in OpenShell's schema, without the values of variables. `kept` is
    what stays read-only by mounts, although a rule makes a folder around it writable.
    """

    source: str
    compatibility: Compatibility
    rules: tuple[Rule, ...]
    promotions: tuple[Promotion, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notices: tuple[str, ...] = ()
    unenforced: tuple[Unenforced, ...] = ()
    hardware: Hardware
    selection: GpuSelection = field(default_factory=GpuSelection)
    declared: dict[str, Any]
    environment: Environment = field(default_factory=Environment)
    home: Home | None = None
    kept: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return this policy as JSON values; `decode` gives it back."""
        return wire.encode(self)  # type: ignore[no-any-return]


T = TypeVar("T")


def decode(kind: type[T], data: object) -> T:
    """Build a value of this module's kind from JSON values; strict about names and types.

    Raises:
        SnapshotError: with the path of the offending value.
    """
    try:
        return wire.decode(kind, data)
    except wire.WrongKeysError as error:
        raise SnapshotError(
            f"{error}: another version of openshell_kernel wrote it; restart Jupyter's server, if it was upgraded "
            "since that was started, and then the kernel"
        ) from None
    except wire.WireError as error:
        raise SnapshotError(f"{error}; restart the kernel to record it anew") from None
